"""NOTIFY: what a client asked to be told of unasked, and who tells it."""

# RFC 5465

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from kerwen.imap.commands import fetch
from kerwen.imap.commands.list import status_line
from kerwen.imap.fetch_items import plan_of
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.commands import Event, Filter, Kind, StatusItem
from kerwen.imap.replies import Ending
from kerwen.mail.actions.mailboxes import INBOX, Listed
from kerwen.mail.actions.views import View
from kerwen.mail.store.mailboxes import Mailbox

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_SUPPORTED: Final = (
    Event.MESSAGE_NEW, Event.MESSAGE_EXPUNGE, Event.FLAG_CHANGE, Event.MAILBOX_NAME,
    Event.SUBSCRIPTION_CHANGE,
)  # fmt: skip
_BAD_EVENT: Final = Ending(
    "Some of these events are not supported",
    b"BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)",
    "NO",
)
_OF_SELECTED: Final = (Filter.SELECTED, Filter.SELECTED_DELAYED)
_UID: Final = c.Attribute(Kind.UID, b"UID")


class Known(msgspec.Struct, frozen=True, gc=False):
    """What a client was told of a mailbox."""

    name: str
    subscribed: bool
    uidnext: int
    messages: int
    unseen: int
    modseq: int


class Notifier:
    """What one client is to be told, and what it was told last."""

    __slots__ = ("_groups", "_head", "_known", "_selected")

    def __init__(self, groups: tuple[c.EventGroup, ...]) -> None:
        self._groups = tuple(one for one in groups if one.filter not in _OF_SELECTED)
        self._selected = next((one for one in groups if one.filter in _OF_SELECTED), None)
        self._known: dict[int, Known] = {}
        self._head = 0

    @classmethod
    def of(cls, command: c.Notify) -> Notifier | Ending:
        """Of a command; or why it is refused.  # RFC 5465 §3.1, §5"""
        for group in command.groups:
            if not group.events.issubset(_SUPPORTED):
                return _BAD_EVENT
            pair = {Event.MESSAGE_NEW, Event.MESSAGE_EXPUNGE} & group.events
            if len(pair) == 1 or (Event.FLAG_CHANGE in group.events and not pair):
                return Ending("MessageNew and MessageExpunge belong together", status="BAD")
            if group.attributes and group.filter not in _OF_SELECTED:
                return Ending("Only the selected mailbox can be fetched from", status="BAD")
        if sum(one.filter in _OF_SELECTED for one in command.groups) > 1:
            return Ending("The selected mailbox is named twice", status="BAD")
        return cls(command.groups)

    @property
    def selected_at_once(self) -> bool:
        """Whether the client is told at once what happens in the mailbox that it has open."""
        selected = self._selected
        return (
            selected is not None
            and selected.filter is Filter.SELECTED
            and Event.MESSAGE_NEW in selected.events
        )

    async def begin(self, session: Session, *, with_status: bool) -> None:
        """Notes what is there now; `with_status` tells it too."""
        listed = await session.deeds.mailboxes.listing(session.account_no)
        self._head = listed.account.modseq
        for mailbox in listed.mailboxes:
            subscribed = mailbox.name in listed.subscribed
            self._known[mailbox.mailbox_no] = _known(mailbox, subscribed)
            events = self._events(mailbox.name, subscribed)
            if with_status and Event.MESSAGE_NEW in events and not _is_open(session, mailbox):
                session.line.say(_status(session, mailbox, events))

    async def tell(self, session: Session) -> None:
        """Tells of all mailboxes but the one that is open."""
        watch = session.watch
        if not self._groups or watch is None or watch.head <= self._head:
            return
        listed = await session.deeds.mailboxes.listing(session.account_no)
        self._head = listed.account.modseq
        left = dict(self._known)
        for mailbox in listed.mailboxes:
            before = left.pop(mailbox.mailbox_no, None)
            self._compare(session, mailbox, before, mailbox.name in listed.subscribed)
        for mailbox_no, gone in left.items():
            del self._known[mailbox_no]
            self._gone(session, gone, listed)

    def _compare(
        self, session: Session, mailbox: Mailbox, before: Known | None, subscribed: bool
    ) -> None:
        now = _known(mailbox, subscribed)
        if now == before:
            return
        self._known[mailbox.mailbox_no] = now
        events = self._events(mailbox.name, subscribed)
        renamed = before is None or before.name != now.name
        if (renamed and Event.MAILBOX_NAME in events) or (
            before is not None
            and before.subscribed != subscribed
            and Event.SUBSCRIPTION_CHANGE in events
        ):
            session.line.say(_list(session, now, before))
        if _is_open(session, mailbox):
            return
        came = before is None or (before.uidnext, before.messages) != (now.uidnext, now.messages)
        touched = before is not None and before.modseq != now.modseq
        if (came and Event.MESSAGE_NEW in events and (before or now.messages)) or (
            touched and Event.FLAG_CHANGE in events
        ):
            session.line.say(_status(session, mailbox, events))

    def _gone(self, session: Session, gone: Known, listed: Listed) -> None:
        subscribed = gone.name in listed.subscribed
        if Event.MAILBOX_NAME in self._events(gone.name, subscribed):
            name = responses.mailbox(gone.name, utf8=session.utf8)
            session.line.say(responses.list_([b"\\NonExistent"], name))

    def _events(self, name: str, subscribed: bool) -> frozenset[Event]:
        """What the first group that speaks of a mailbox wants to hear."""
        for group in self._groups:
            if _speaks_of(group, name, subscribed):
                return group.events
        return frozenset()

    async def arrived(self, session: Session, view: View, count: int) -> None:
        """New messages in the open mailbox: what the client wants to know of each."""
        selected = self._selected
        if selected is None or not selected.attributes:
            return
        attributes = selected.attributes
        if not any(one.kind is Kind.UID for one in attributes):
            attributes = (_UID, *attributes)
        places = range(len(view) - count, len(view))
        await fetch.send(session, places, plan_of(attributes))


def _speaks_of(group: c.EventGroup, name: str, subscribed: bool) -> bool:
    if group.filter is Filter.INBOXES:
        return name == INBOX
    if group.filter is Filter.PERSONAL:
        return True
    if group.filter is Filter.SUBSCRIBED:
        return subscribed
    if group.filter is Filter.MAILBOXES:
        return name in group.mailboxes
    return any(name == one or name.startswith(one + "/") for one in group.mailboxes)


def _known(mailbox: Mailbox, subscribed: bool) -> Known:
    return Known(
        mailbox.name,
        subscribed,
        mailbox.uidnext,
        mailbox.messages,
        mailbox.unseen,
        mailbox.modseq,
    )


def _is_open(session: Session, mailbox: Mailbox) -> bool:
    selected = session.selected
    return selected is not None and selected.view.mailbox.mailbox_no == mailbox.mailbox_no


def _status(session: Session, mailbox: Mailbox, events: frozenset[Event]) -> bytes:
    items = [StatusItem.MESSAGES, StatusItem.UIDNEXT, StatusItem.UIDVALIDITY]
    if Event.FLAG_CHANGE in events:
        items.append(StatusItem.UNSEEN)
    if session.condstore:
        items.append(StatusItem.HIGHESTMODSEQ)
    return status_line(session, mailbox, tuple(items))


def _list(session: Session, now: Known, before: Known | None) -> bytes:
    name = responses.mailbox(now.name, utf8=session.utf8)
    old = None
    if before is not None and before.name != now.name:
        old = responses.mailbox(before.name, utf8=session.utf8)
    return responses.list_([b"\\Subscribed"] if now.subscribed else [], name, old_name=old)
