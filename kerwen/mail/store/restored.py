"""What must be done to mail when a backup was put back.

Between the backup and its return the lost server gave UIDs, MODSEQs and message numbers to
messages that are not here any more. No client may take another message for one of those.
"""

from __future__ import annotations

from kerwen.storage.database import Tx
from kerwen.storage.sql import sql

_NUMBERS_LEFT = 2**20

# every UIDVALIDITY is a fresh one, so programs fetch their lists anew; times only rise
_MAILBOXES = sql(
    "update mail_mailboxes set uidvalidity = :now_s + mailbox_no, modseq = (select a.modseq"
    " from mail_accounts a where a.account_no = mail_mailboxes.account_no) + :left"
)
_ACCOUNTS = sql(
    "update mail_accounts set modseq = modseq + :left, listed = modseq + :left,"
    " forgot = modseq + :left, uidvalidity = :now_s + next_mailbox"
)
_IDS = sql("update ids set next = next + :left where name {in_texts:names}")
_LEASES = sql("update mail_queue_recipients set lease = 0")


async def renew_after_restore(tx: Tx, now_ms: int) -> None:
    """Gives mailboxes new UIDVALIDITYs, leaves out numbers that may be taken, and forgets what
    vanished: whoever asks what changed is told to start over.
    """
    now_s = now_ms // 1000
    await tx.run(_MAILBOXES, now_s=now_s, left=_NUMBERS_LEFT)
    await tx.run(_ACCOUNTS, now_s=now_s, left=_NUMBERS_LEFT)
    series = ["mail_message", "mail_page", "mail_queue", "mail_queue_recipient"]
    series += ["mail_upload", "mail_object", "mail_submission"]
    await tx.run(_IDS, left=_NUMBERS_LEFT, names=series)
    await tx.run(_LEASES)
