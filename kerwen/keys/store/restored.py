"""What must be done to keys when a backup was put back.

Between the backup and its return the lost server gave one-time keys, took new devices and made
key backups. What it gave must not be given again, and what clients learnt of it is to be asked
again.
"""

from __future__ import annotations

from kerwen.keys.store.one_time_keys import spend_all
from kerwen.storage.database import Kind, Tx
from kerwen.storage.sql import sql

_VERSIONS_LEFT = 1_000  # numbers of key backups that may have been given meanwhile
_ETAGS_LEFT = 2**20

_USE = sql("update fallback_keys set used = 1 where used = 0")
_LISTS = sql("update device_lists set pos = :pos")
_SIGNATURES = sql("update signature_lists set pos = :pos")
_VERSIONS = sql(
    "insert into backup_versions (account_no, version, algorithm, auth_data, deleted)"
    " select a.account_no, :left + coalesce((select max(b.version) from backup_versions b"
    " where b.account_no = a.account_no), 0), '', :nothing, 1 from accounts a"
)
_ETAGS = sql("update backup_versions set etag = etag + :left")


async def renew_after_restore(tx: Tx) -> None:
    """Spends all one-time keys, so that devices bring fresh ones and none is given twice; has
    everybody's devices looked at again; leaves out the numbers of key backups that may be taken.
    """
    await spend_all(tx)
    await tx.run(_USE)
    await tx.run(_VERSIONS, left=_VERSIONS_LEFT, nothing=b"{}")
    await tx.run(_ETAGS, left=_ETAGS_LEFT)
    tx.at_end(_LISTS)
    tx.at_end(_SIGNATURES)
    tx.change(Kind.ACCOUNT, 0)
