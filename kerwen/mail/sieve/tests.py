"""What the tests of a script say of a message."""

# RFC 5228 §5; RFC 5173, 5229 §5, 5231, 5232 §4, 5260, 5490, 7352, 8579

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from kerwen.base import limits
from kerwen.mail.dates import Date
from kerwen.mail.sieve import compare, fitness
from kerwen.mail.sieve.compare import Pattern
from kerwen.mail.sieve.mail import Line, date_in, date_part, listed, part_of
from kerwen.mail.sieve.outcome import Fault, Remember
from kerwen.mail.sieve.script import Step
from kerwen.mail.sieve.state import Asked, State
from kerwen.mail.sieve.strings import Text

_T = TypeVar("_T")
_WEEK_S: Final = 7 * 86_400
_EXPRESSION: Final = 20  # steps that making a regular expression costs
_CHEAP: Final = 16  # letters that a search passes over in the time of one step of other work


def holds(state: State, step: Step) -> bool:
    """Whether a test is true."""
    state.spend(step)
    return _TESTS[step.name](state, step)


class Match:
    """The comparison that a test asks for."""

    def __init__(
        self, state: State, step: Step, keys: Sequence[Text], *, remembers: bool = True
    ) -> None:
        self._state = state
        self._how = step.tag("match") or "is"
        self._relation: str = step.value("match") or ""
        self._comparator: str = step.value("comparator") or compare.DEFAULT
        self._keys = state.texts(keys)
        self._remembers = remembers
        self._patterns: list[Pattern] = []
        self._folded: list[str] = []
        if self._how == "matches":
            self._patterns = [Pattern(key, self._comparator) for key in self._keys]
            state.spend_more(sum(_EXPRESSION for one in self._patterns if one.cost))
        elif self._how in ("is", "contains"):
            self._folded = [compare.folded(key, self._comparator) for key in self._keys]

    @property
    def counts(self) -> bool:
        """Whether it is not texts that are compared but their number."""
        return self._how == "count"

    def count(self, number: int) -> bool:
        """`:count` of so many."""
        return any(
            compare.related(self._relation, str(number), key, compare.NUMERIC) for key in self._keys
        )

    def all_of(self, values: Iterable[str]) -> bool:
        """Whether one of the texts, or their number, is what was asked for."""
        if self.counts:
            return self.count(len(list(values)))
        return any(self.any((value,)) for value in values)

    def any(self, values: Sequence[str]) -> bool:
        """Whether one of the texts fits one of the keys."""
        for value in values:
            self._state.spend_more(len(self._keys))
            if self._one(value):
                return True
        return False

    def _one(self, value: str) -> bool:
        how, comparator = self._how, self._comparator
        if how == "matches":
            return self._matches(value)
        self._state.charge(len(value) * (1 + len(self._keys)) // _CHEAP)
        if how == "value":
            return any(compare.related(self._relation, value, k, comparator) for k in self._keys)
        if comparator == compare.NUMERIC:
            return any(compare.equal(value, key, comparator) for key in self._keys)
        seen = compare.folded(value, comparator)
        if how == "contains":
            return any(key in seen for key in self._folded)
        return seen in self._folded

    def _matches(self, value: str) -> bool:
        for pattern in self._patterns:
            self._state.charge(len(value) // _CHEAP + len(value) * pattern.cost)
            found = pattern.match(value, self._comparator)
            if found is not None:
                if self._remembers:
                    self._state.matched(found)
                return True
        return False


def at_index(step: Step, found: list[_T]) -> list[_T]:
    """The one that `:index` names, or all.  # RFC 5260 §6"""
    index = step.value("index")
    if index is None:
        return found
    if index > len(found):
        return []
    return [found[-index] if step.tag("last") else found[index - 1]]


def _fields(state: State, step: Step) -> Iterable[Line]:
    for name in state.texts(step.places["headers"]):
        yield from at_index(step, state.mail.named(name))


def _not(state: State, step: Step) -> bool:
    return not holds(state, step.tests[0])


def _allof(state: State, step: Step) -> bool:
    return all(holds(state, test) for test in step.tests)


def _anyof(state: State, step: Step) -> bool:
    return any(holds(state, test) for test in step.tests)


def _exists(state: State, step: Step) -> bool:
    return all(state.mail.named(name) for name in state.texts(step.places["headers"]))


def _size(state: State, step: Step) -> bool:
    size, limit = len(state.mail.raw), step.places["n"]
    return bool(size > limit if step.tag("size") == "over" else size < limit)


def _header(state: State, step: Step) -> bool:
    match = Match(state, step, step.places["keys"])
    return match.all_of(line.text for line in _fields(state, step))


def _address(state: State, step: Step) -> bool:
    match, part = Match(state, step, step.places["keys"]), step.tag("part")
    found: Iterable[str]
    if step.tag("index"):  # of addresses, not of fields (RFC 5260 §6)
        found = []
        for name in state.texts(step.places["headers"]):
            every = [one for line in state.mail.named(name) for one in listed(line)]
            found += at_index(step, every)
    else:
        found = (one for line in _fields(state, step) for one in listed(line))
    parts = (part_of(one, part) for one in found)
    return match.all_of(one for one in parts if one is not None)


def _envelope(state: State, step: Step) -> bool:
    match, part = Match(state, step, step.places["keys"]), step.tag("part")
    found: list[str] = []
    for name in state.texts(step.places["parts"]):
        small = name.lower()
        if small == "from":
            found.append(state.mail.sender)
        elif small == "to":
            found.append(state.mail.recipient)
        else:
            raise Fault(f"the envelope has no part {name[:80]!r}", step.line)
    if match.counts:
        return match.count(sum(bool(one) for one in found))
    parts = (part_of(one, part) if one else "" for one in found)
    return match.all_of(one for one in parts if one is not None)


def _body(state: State, step: Step) -> bool:
    how = step.tag("transform") or "text"
    types = state.texts(step.value("transform") or ())
    state.charge(len(state.mail.raw) // _CHEAP)
    match = Match(state, step, step.places["keys"], remembers=False)
    return match.all_of(state.mail.body(how, types))


def _string(state: State, step: Step) -> bool:
    match = Match(state, step, step.places["keys"])
    found = state.texts(step.places["sources"])
    if match.counts:  # empty strings do not count (RFC 5229 §5)
        return match.count(sum(bool(one) for one in found))
    return match.any(found)


def _hasflag(state: State, step: Step) -> bool:
    names = step.places.get("variables")
    if names is None:
        found = state.flags()
    else:
        found = tuple(flag for name in state.texts(names) for flag in state.flags(name))
    match = Match(state, step, step.places["flags"])
    if step.tag("match") in ("", "is", "contains", "matches"):
        match = Match(state, step, state.flag_list(state.texts(step.places["flags"])))
    return match.count(len(found)) if match.counts else match.any(found)


def _zoned(state: State, step: Step, moment: Date) -> Date:
    """A moment in the zone that a test names: ours is UTC."""
    how = step.tag("zone")
    if how == "originalzone":
        return moment
    zone = 0
    if how == "zone":
        told = fitness.zone_minutes(state.text(step.value("zone")))
        if told is None:
            raise Fault("there is no such time zone", step.line)
        zone = told
    return Date(moment.ms, zone)


def _date(state: State, step: Step) -> bool:
    lines = at_index(step, state.mail.named(state.text(step.places["header"])))
    match = Match(state, step, step.places["keys"])
    part = state.text(step.places["part"]).lower()
    found = [moment for line in lines if (moment := date_in(line)) is not None]
    return match.all_of(date_part(_zoned(state, step, moment), part) for moment in found)


def _currentdate(state: State, step: Step) -> bool:
    match = Match(state, step, step.places["keys"])
    moment = _zoned(state, step, Date(state.facts.now_ms, 0))
    return match.all_of((date_part(moment, state.text(step.places["part"]).lower()),))


def mailbox_known(mailboxes: Iterable[str], name: str) -> bool:
    """Whether there is a mailbox; INBOX is one in any capitals."""
    return name.upper() == "INBOX" or name.removesuffix("/") in mailboxes


def _mailboxexists(state: State, step: Step) -> bool:
    known = state.facts.mailboxes
    return all(mailbox_known(known, name) for name in state.texts(step.places["mailboxes"]))


def _specialuse(state: State, step: Step) -> bool:
    """# RFC 8579 §3"""
    known = state.facts.mailboxes
    uses = [use.lower().removeprefix("\\") for use in state.texts(step.places["uses"])]
    if "mailbox" in step.places:
        own = known.get(state.text(step.places["mailbox"]).removesuffix("/"))
        return own is not None and all(use == own for use in uses)
    there = set(known.values())
    return all(use in there for use in uses)


def _duplicate(state: State, step: Step) -> bool:
    """# RFC 7352 §3"""
    state.duplicates += 1
    if state.duplicates > limits.SIEVE_DUPLICATES_MAX:
        raise Fault("too many duplicate tests", step.line)
    if step.tag("id") == "uniqueid":
        mark = state.text(step.value("id"))
    else:
        name = state.text(step.value("id")) if step.tag("id") else "message-id"
        lines = state.mail.named(name)
        mark = lines[0].value.decode("utf-8", "replace") if lines else ""
    if not mark:
        return False
    handle = state.text(step.value("handle") or "")
    key = hashlib.blake2b(
        b"%d %b %b" % (len(handle), handle.encode(errors="replace"), mark.encode(errors="replace")),
        digest_size=16,
    ).digest()
    if key in state.remember:  # asked twice in one run: the answer stays
        return state.facts.seen.get(key, False)
    if key not in state.facts.seen:
        raise Asked(key)
    seconds = step.value("seconds")
    seconds = min(_WEEK_S if seconds is None else seconds, fitness.SECONDS_MAX)
    state.remember[key] = Remember(key, seconds, bool(step.tag("last")))
    return state.facts.seen[key]


_TESTS: Final[dict[str, Callable[[State, Step], bool]]] = {
    "true": lambda state, step: True,
    "false": lambda state, step: False,
    "not": _not,
    "allof": _allof,
    "anyof": _anyof,
    "exists": _exists,
    "size": _size,
    "header": _header,
    "address": _address,
    "envelope": _envelope,
    "body": _body,
    "string": _string,
    "hasflag": _hasflag,
    "date": _date,
    "currentdate": _currentdate,
    "mailboxexists": _mailboxexists,
    "specialuse_exists": _specialuse,
    "duplicate": _duplicate,
}
