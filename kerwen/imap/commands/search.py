"""SEARCH, SORT, THREAD, and their forms with UIDs."""

# RFC 9051 §6.4.4; RFC 5256; RFC 4731 (ESEARCH), RFC 5182 ($), RFC 5267 (ESORT), RFC 9394 (PARTIAL)

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol import responses, sequence
from kerwen.imap.replies import Ending
from kerwen.mail import match as m
from kerwen.mail.actions.order import By

if TYPE_CHECKING:
    from kerwen.imap.session import Session

_OLD_FORM: Final = c.Returns(all=True)
_NOTHING: Final = m.Not(m.All())


async def search(session: Session, command: c.Search) -> Ending:
    """SEARCH, UID SEARCH"""
    places = await _found(session, command.key)
    returns = command.returns
    _save(session, places, returns)
    if returns is None and not session.rev2:
        numbers = _numbers(session, places, uid=command.uid)
        session.line.say(responses.search(numbers, _greatest_modseq(session, command.key, places)))
        return Ending("SEARCH completed")
    results = _results(session, command, places, returns or _OLD_FORM, ordered=False)
    _say_esearch(session, command, results, returns)
    return Ending("SEARCH completed")


async def sort(session: Session, command: c.Sort) -> Ending:
    """SORT, UID SORT"""
    places: Sequence[int] = await _found(session, command.key)
    criteria = [(By(key.value), reverse) for key, reverse in command.criteria]
    deeds, view = session.deeds, session.mailbox.view
    places = await deeds.order.sort(session.unlocked, view, places, criteria)
    returns = command.returns
    if returns is None:
        numbers = _numbers(session, places, uid=command.uid)
        session.line.say(responses.sort(numbers, _greatest_modseq(session, command.key, places)))
        return Ending("SORT completed")
    _save(session, places, returns)
    results = _results(session, command, places, returns, ordered=True)
    _say_esearch(session, command, results, returns)
    return Ending("SORT completed")


async def thread(session: Session, command: c.Thread) -> Ending:
    """THREAD, UID THREAD"""
    places = await _found(session, command.key)
    nodes = await session.deeds.order.thread(
        session.unlocked,
        session.mailbox.view,
        places,
        references=command.algorithm == "REFERENCES",
        uid=command.uid,
    )
    session.line.say(responses.thread(nodes))
    return Ending("THREAD completed")


# --- what is found -----------------------------------------------------------------------------


async def _found(session: Session, key: m.Key) -> list[int]:
    """The places of the messages that a key finds."""
    if _names_modseq(key):
        session.condstore = True
    view = session.mailbox.view
    return await session.deeds.search.run(session.unlocked, view, resolve(session, key))


def resolve(session: Session, key: m.Key) -> m.Key:
    """The key with its sets of numbers resolved against the mailbox."""
    if isinstance(key, c.SetKey):
        return _numbers_key(session, key)
    if isinstance(key, m.And):
        return m.And(tuple(resolve(session, one) for one in key.keys))
    if isinstance(key, m.Or):
        return m.Or(resolve(session, key.left), resolve(session, key.right))
    if isinstance(key, m.Not):
        return m.Not(resolve(session, key.key))
    return key


def _numbers_key(session: Session, key: c.SetKey) -> m.Key:
    if key.numbers.saved:
        saved = session.mailbox.saved
        return m.Numbers(tuple(sequence.runs(saved)), uid=True) if saved else _NOTHING
    uids = session.mailbox.view.uids
    greatest = (uids[-1] if key.uid else len(uids)) if len(uids) else 0
    if not greatest:
        return _NOTHING
    return m.Numbers(sequence.resolved(key.numbers.ranges, greatest), uid=key.uid)


def _names_modseq(key: m.Key) -> bool:
    if isinstance(key, m.And):
        return any(map(_names_modseq, key.keys))
    if isinstance(key, m.Or):
        return _names_modseq(key.left) or _names_modseq(key.right)
    if isinstance(key, m.Not):
        return _names_modseq(key.key)
    return isinstance(key, m.Changed)


def _greatest_modseq(session: Session, key: m.Key, places: Sequence[int]) -> int | None:
    """RFC 7162 §3.1.6: told where MODSEQ was searched for."""
    if not places or not _names_modseq(key):
        return None
    modseqs = session.mailbox.view.modseqs
    return max(modseqs[at] for at in places)


# --- what is told ------------------------------------------------------------------------------


def _numbers(session: Session, places: Sequence[int], *, uid: bool) -> list[int]:
    if not uid:
        return [at + 1 for at in places]
    uids = session.mailbox.view.uids
    return [uids[at] for at in places]


def _save(session: Session, places: Sequence[int], returns: c.Returns | None) -> None:
    """`$` from now on.  # RFC 5182 §2.1, §2.4"""
    if returns is None or not returns.save:
        return
    uids = session.mailbox.view.uids
    chosen = places
    if (returns.least or returns.most) and not (returns.all or returns.count or returns.partial):
        ends = []
        if places and returns.least:
            ends.append(min(places))
        if places and returns.most:
            ends.append(max(places))
        chosen = ends
    elif returns.partial is not None:
        chosen = returns.partial.of(places)
    session.mailbox.saved = array("I", sorted({uids[at] for at in chosen}))


def _results(
    session: Session,
    command: c.Search | c.Sort,
    places: Sequence[int],
    returns: c.Returns,
    *,
    ordered: bool,
) -> list[bytes]:
    """The items of an ESEARCH.  # RFC 4731 §3.1"""
    numbers = _numbers(session, places, uid=command.uid)
    encode = sequence.encode_in_order if ordered else sequence.encode
    found = []
    told: list[int] = []
    if numbers and returns.least:
        found.append(b"MIN %d" % numbers[0])
        told.append(places[0])
    if numbers and returns.most:
        found.append(b"MAX %d" % numbers[-1])
        told.append(places[-1])
    if returns.count:
        found.append(b"COUNT %d" % len(numbers))
    if numbers and returns.all:
        found.append(b"ALL " + encode(numbers))
    if returns.partial is not None:
        found.append(responses.partial_result(returns.partial, encode(returns.partial.of(numbers))))
    if returns.all or returns.count or returns.partial is not None:
        told = list(places)
    modseq = _greatest_modseq(session, command.key, told)
    if modseq is not None:
        found.append(b"MODSEQ %d" % modseq)
    return found


def _say_esearch(
    session: Session,
    command: c.Search | c.Sort,
    results: list[bytes],
    returns: c.Returns | None,
) -> None:
    only_saved = returns is not None and returns == c.Returns(save=True)
    if not only_saved:  # RFC 5182 §2.1
        session.line.say(responses.esearch(command.tag, uid=command.uid, results=results))
