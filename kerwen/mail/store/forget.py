"""Removes all that is kept of an account's mail; its blobs are orphans then, and the sweep
removes them.
"""

from __future__ import annotations

from kerwen.storage.database import Tx
from kerwen.storage.sql import sql

_BOXES = sql(
    "delete from mail_page_boxes where page_no in"
    " (select page_no from mail_pages where account_no = :account_no)"
)
_TABLES = tuple(
    sql(f"delete from {table} where account_no = :account_no")
    for table in (
        "mail_pages",
        "mail_loose",
        "mail_segments",
        "mail_vanished",
        "mail_blobs",
        "mail_tags",
        "mail_delivered",
        "mail_imported",
        "mail_import_places",
        "mail_open_keys",
        "mail_masks",
        "mail_metadata",
        "mail_tastes",
        "mail_subscriptions",
        "mail_orders",
        "mail_uploads",
        "mail_objects",
        "mail_submissions",
        "mail_mailboxes_gone",
        "mail_mailboxes",
        "mail_keywords",
        "mail_filters",
        "mail_scripts",
        "mail_remembered",
        "mail_accounts",
    )
)


async def forget_account(tx: Tx, account_no: int) -> None:
    """All rows of an account's mail. What it has in the queue is sent all the same."""
    await tx.run(_BOXES, account_no=account_no)
    for statement in _TABLES:
        await tx.run(statement, account_no=account_no)
