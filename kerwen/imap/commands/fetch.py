"""FETCH, UID FETCH."""

# RFC 9051 §6.4.5; RFC 7162 §3.1.4, §3.2.6; RFC 9394 §3.2

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from kerwen.base import limits
from kerwen.base.errors import Reason
from kerwen.imap.commands.rule import Sync
from kerwen.imap.commands.select import vanished_since
from kerwen.imap.commands.store import NO_SUCH_NUMBER, uids_at
from kerwen.imap.fetch_items import NOTHING_SEEN, Plan, Reading, Seen, plan_of
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses
from kerwen.imap.protocol.commands import Kind
from kerwen.imap.replies import Ending
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.actions.views import View
from kerwen.mail.section import UnknownEncoding
from kerwen.mail.store import uid_ranges
from kerwen.mail.store.segment import Flag

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_LISTED_AT_ONCE: Final = 1_000
_READ_AT_ONCE: Final = 100
_READ_BYTES: Final = 4 * limits.MIB
_MODSEQ: Final = c.Attribute(Kind.MODSEQ, b"MODSEQ")
_FLAGS: Final = c.Attribute(Kind.FLAGS, b"FLAGS")
_UID: Final = c.Attribute(Kind.UID, b"UID")


async def fetch(session: Session, command: c.Fetch) -> Ending:
    """FETCH, UID FETCH"""
    if not command.uid and not session.numbers_fit(command.numbers):
        return NO_SUCH_NUMBER
    if command.vanished and not session.qresync:
        return Ending("QRESYNC is not enabled", status="BAD")
    kinds = {one.kind for one in command.attributes}
    if command.changed_since is not None or Kind.MODSEQ in kinds:
        session.condstore = True  # RFC 7162 §3.1
    places = await _places(session, command)
    attributes = _attributes(session, command, kinds)
    seen = NOTHING_SEEN
    if plan_of(attributes).sets_seen and not session.mailbox.read_only:
        places, seen = await _set_seen(session, command, places)
        attributes = _with_flags(session, attributes, seen)
    return await send(session, places, plan_of(attributes), seen)


async def _places(session: Session, command: c.Fetch) -> Sequence[int]:
    places: Sequence[int] = session.places_of(command.numbers, uid=command.uid)
    view, since = session.mailbox.view, command.changed_since
    if since is not None:
        modseqs = view.modseqs
        places = [at for at in places if modseqs[at] > since]
        if command.vanished:
            known = None if command.numbers.saved else command.numbers
            gone = await vanished_since(session, view, since, known)
            session.line.say(responses.vanished(gone, earlier=True))
    if command.partial is not None:
        places = command.partial.of(places)
    return places


def _attributes(session: Session, command: c.Fetch, kinds: set[Kind]) -> tuple[c.Attribute, ...]:
    """What was asked for, and what must be told with it."""
    found = list(dict.fromkeys(command.attributes))
    if command.uid and Kind.UID not in kinds:
        found.insert(0, _UID)
    wants_modseq = command.changed_since is not None or (
        session.condstore and Kind.FLAGS in kinds  # RFC 7162 §3.1.4.1 lets us
    )
    if wants_modseq and Kind.MODSEQ not in kinds:
        found.append(_MODSEQ)
    return tuple(found)


def _with_flags(
    session: Session, attributes: tuple[c.Attribute, ...], seen: Seen
) -> tuple[c.Attribute, ...]:
    """The flags are told with what changed them."""
    if not seen.uids or _FLAGS in attributes:
        return attributes
    extra = (_FLAGS, _MODSEQ) if session.condstore else (_FLAGS,)
    return attributes + tuple(one for one in extra if one not in attributes)


async def _set_seen(
    session: Session, command: c.Fetch, places: Sequence[int]
) -> tuple[Sequence[int], Seen]:
    """Reading a message marks it \\Seen. The messages' places now, and which were marked."""
    view = session.mailbox.view
    flags = view.flags
    unseen = [at for at in places if not flags[at] & Flag.SEEN]
    if not unseen:
        return places, NOTHING_SEEN
    uids = uids_at(session, places)
    done = await session.deeds.store_flags.run(
        session.account_no,
        view.mailbox.mailbox_no,
        uid_ranges.of(view.uids[at] for at in unseen),
        Wanted(How.ADD, Flag.SEEN),
    )
    seen = Seen(frozenset(done.changed), done.modseq)
    how = Sync.FULL if command.uid else Sync.SAFE
    await session.sync(how, mute=seen.uids)
    new = session.mailbox.view
    if new is not view:
        places = [at for uid in uids if (at := new.place(uid)) is not None]
    return places, seen


async def send(
    session: Session, places: Sequence[int], plan: Plan, seen: Seen = NOTHING_SEEN
) -> Ending:
    """Sends what a plan says of messages, some at a time."""
    view = session.mailbox.view
    if plan.tells_flags:
        await session.learn_keywords(view)
    gone = damaged = False
    for at, some in enumerate(_batches(view, places, plan)):
        if at:
            await session.line.flush()  # the last goes with the answer behind it
        reading = Reading(session.deeds, session.unlocked, view, some, seen)
        await reading.read(plan)
        try:
            session.line.say(plan.answers(reading, session.flag_names.render))
        except UnknownEncoding:
            return Ending("This encoding is not known", b"UNKNOWN-CTE", "NO")
        for uid, refused in reading.refused:
            if refused.reason is Reason.MESSAGE_GONE:
                gone = True
            else:
                damaged = True
                text = f"UID {uid}: {refused.public_text}"
                session.line.say(responses.untagged("NO", text))
    if damaged:
        return Ending("Some messages cannot be read", b"CORRUPTION", "NO")
    return Ending("FETCH completed", b"EXPUNGEISSUED" if gone else b"")


def _batches(view: View, places: Sequence[int], plan: Plan) -> Iterator[Sequence[int]]:
    if not plan.reads_messages:
        for start in range(0, len(places), _LISTED_AT_ONCE):
            yield places[start : start + _LISTED_AT_ONCE]
        return
    sizes = view.sizes
    some: list[int] = []
    size = 0
    for at in places:
        if some and (len(some) >= _READ_AT_ONCE or size + sizes[at] > _READ_BYTES):
            yield some
            some, size = [], 0
        some.append(at)
        size += sizes[at]
    if some:
        yield some
