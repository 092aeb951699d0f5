"""The mail capability: which methods it has, and what it tells of an account. # RFC 8621 §1.3"""

from __future__ import annotations

from typing import Final

from kerwen.api.jmap import email_set, emails, mail_changes, mailbox_set, mailboxes, more
from kerwen.api.jmap.registry import Capability
from kerwen.base import limits
from kerwen.mail.jmap import filters

MAIL: Final = "urn:ietf:params:jmap:mail"


def capability() -> Capability:
    """Mailboxes, threads, Emails."""
    return Capability(
        MAIL,
        {
            "Mailbox/get": mailboxes.get,
            "Mailbox/query": mailboxes.query,
            "Thread/get": emails.thread_get,
            "Email/get": emails.get,
            "Email/query": emails.query,
            "Mailbox/changes": mail_changes.mailbox_changes,
            "Mailbox/queryChanges": mail_changes.mailbox_query_changes,
            "Mailbox/set": mailbox_set.set_,
            "Thread/changes": mail_changes.thread_changes,
            "Email/changes": mail_changes.email_changes,
            "Email/queryChanges": mail_changes.email_query_changes,
            "Email/set": email_set.set_,
            "Email/import": email_set.import_,
            "Email/parse": email_set.parse,
            "Email/copy": email_set.copy,
            "SearchSnippet/get": more.snippet_get,
        },
        account={
            "maxMailboxesPerEmail": None,
            "maxMailboxDepth": limits.MAILBOX_DEPTH_MAX,
            "maxSizeMailboxName": limits.MAILBOX_NAME_MAX,
            "maxSizeAttachmentsPerEmail": limits.MESSAGE_BYTES_MAX * 3 // 4,
            "emailQuerySortOptions": list(filters.SORTS),
            "mayCreateTopLevelMailbox": True,
        },
    )
