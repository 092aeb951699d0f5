"""State resolution: one room state out of several, the same on every server.

`resolve` is a generator: it yields questions (`Events`, `AuthLinks`) and is sent the answers,
so that it needs no store. `base/ask.py` runs it. The outcome depends on the states and the
events alone, never on the order of anything. Nothing recurses; `EVENTS_MAX` bounds all walks.
"""

# RV2 #state-resolution, RV12 #state-resolution

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.auth import CREATE, POWER_LEVELS, auth_types_of, check_auth
from kerwen.rooms.event import Event, StateKey
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.versions import RoomVersion, StateResolution

EVENTS_MAX: Final = 200_000  # events one resolution looks at


@dataclass(frozen=True, slots=True)
class Events:
    """Question: these events. The answer maps ID to event and leaves out those not there."""

    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class AuthLinks:
    """Question: what these events name as auth events. The answer maps ID to IDs."""

    ids: frozenset[str]


Question: TypeAlias = Events | AuthLinks
Answer: TypeAlias = Mapping[str, Event] | Mapping[str, Sequence[str]]
StateIds: TypeAlias = Mapping[StateKey, str]
Asking: TypeAlias = Generator[Question, Answer, None]


def resolve(
    version: RoomVersion, states: Sequence[StateIds]
) -> Generator[Question, Answer, dict[StateKey, str]]:
    """The resolution of room states, each a map of (type, state_key) to event ID."""
    unconflicted, conflicted = _separate(states)
    if not conflicted:
        return unconflicted
    pool = _Pool(version)
    yield from pool.load_chains(conflicted)
    yield from pool.load_create(conflicted, unconflicted)
    full = yield from _full_conflicted_set(pool, states, unconflicted, conflicted)

    if version.state_resolution is StateResolution.V2_1:
        partial: dict[StateKey, str] = {}
    else:
        partial = dict(unconflicted)
        yield from pool.load(_needed(pool, full, unconflicted))
    power = _power_set(pool, full)
    _iterative_auth_checks(pool, partial, _power_ordering(pool, power))
    yield from pool.load_mainline(partial.get(POWER_LEVELS))
    rest = _mainline_ordering(pool, full - power, partial.get(POWER_LEVELS))
    _iterative_auth_checks(pool, partial, rest)
    partial.update(unconflicted)
    return partial


def answer_from(events: Mapping[str, Event]) -> Callable[[Question], Answer]:
    """What answers the questions out of events that are all at hand."""

    def answer(question: Question) -> Answer:
        found = {i: events[i] for i in question.ids if i in events}
        if isinstance(question, Events):
            return found
        return {i: event.auth_events for i, event in found.items()}

    return answer


class _Pool:
    """The events that the resolution has seen so far."""

    __slots__ = ("_seen", "create", "events", "version")

    def __init__(self, version: RoomVersion) -> None:
        self.version = version
        self.events: dict[str, Event] = {}
        self.create: Event | None = None
        self._seen: set[str] = set()  # asked for, found or not

    def load(self, ids: Iterable[str]) -> Asking:
        """Ask for those of the events not asked for yet."""
        missing = frozenset(ids) - self._seen
        if not missing:
            return
        self._seen |= missing
        if len(self._seen) > EVENTS_MAX:
            raise Refused(Reason.TOO_LARGE, "The room's history is too large to resolve")
        # the answer to `Events` is events; a generator's type cannot say so
        self.events.update(cast("Mapping[str, Event]", (yield Events(missing))))

    def load_chains(self, ids: Collection[str]) -> Asking:
        """Load the events and their whole auth chains."""
        while ids:
            ids = [i for i in ids if i not in self._seen]
            yield from self.load(ids)
            ids = {a for i in ids if i in self.events for a in self.events[i].auth_events}

    def load_create(self, conflicted: Collection[str], unconflicted: StateIds) -> Asking:
        """Load the create event, which no event of version 12 on has among its auth events."""
        if self.version.create_in_auth_events:
            return
        rooms = {self.events[i].room_id for i in conflicted if i in self.events}
        create_id = unconflicted.get(CREATE) or ("$" + min(rooms)[1:] if rooms else "")
        yield from self.load([create_id])
        self.create = self.events.get(create_id)

    def load_mainline(self, power_levels: str | None) -> Asking:
        """Load the power levels events that stand behind this one, with their neighbours."""
        while power_levels is not None:
            yield from self.load([power_levels])
            event = self.events.get(power_levels)
            if event is not None:
                yield from self.load(event.auth_events)
            power_levels = self.power_levels_of(power_levels)

    def auth_events(self, event: Event) -> Iterable[Event]:
        """The auth events of an event, as far as they are there."""
        return (self.events[i] for i in event.auth_events if i in self.events)

    def power_levels_of(self, event_id: str) -> str | None:
        """The ID of the power levels event among the auth events of an event."""
        event = self.events.get(event_id)
        if event is None:
            return None
        for auth in self.auth_events(event):
            if auth.type == POWER_LEVELS[0] and auth.state_key == "":
                return auth.event_id
        return None

    def reachable(self, ids: Iterable[str]) -> set[str]:
        """The events and all that are in their auth chains."""
        reached: set[str] = set()
        stack = [i for i in ids if i in self.events]
        while stack:
            event_id = stack.pop()
            if event_id not in reached:
                reached.add(event_id)
                stack += (a for a in self.events[event_id].auth_events if a in self.events)
        return reached


# --- what is in conflict ------------------------------------------------------------------


def _separate(states: Sequence[StateIds]) -> tuple[dict[StateKey, str], set[str]]:
    """The unconflicted state map, and the conflicted state set."""
    if not states:
        return {}, set()
    common = set(states[0].items()).intersection(*(state.items() for state in states[1:]))
    unconflicted = dict(common)
    conflicted: set[str] = set()
    for state in states:
        if len(state) > len(unconflicted):
            conflicted.update(i for key, i in state.items() if key not in unconflicted)
    return unconflicted, conflicted


def _full_conflicted_set(
    pool: _Pool, states: Sequence[StateIds], unconflicted: StateIds, conflicted: set[str]
) -> Generator[Question, Answer, set[str]]:
    """The conflicted state set with the auth difference and, in v2.1, the subgraph."""
    chains = [
        pool.reachable(i for key, i in state.items() if key not in unconflicted) for state in states
    ]
    everything = chains[0].union(*chains)
    full = {i for i in conflicted if i in pool.events}
    difference = everything.difference(chains[0].intersection(*chains), full)
    yield from _discard_reached(pool, difference, set(unconflicted.values()))
    if pool.version.state_resolution is StateResolution.V2_1:
        full |= _conflicted_subgraph(pool, everything, full)
    return full | difference


def _discard_reached(pool: _Pool, ids: set[str], start: set[str]) -> Asking:
    """Take out of `ids` all that is in `start` or in its auth chains.

    What stands in every state, or is reached from there, is in every full auth chain. An
    event counts as part of its own chain: so do the servers that are in use, though the
    specification's definition can be read either way. Only links are asked for, for this may
    walk over the whole state of a large room; mostly nothing is left before it begins.
    """
    seen: set[str] = set()
    while ids and start:
        ids -= start
        if not ids:
            return
        seen |= start
        if len(seen) > EVENTS_MAX:
            raise Refused(Reason.TOO_LARGE, "The room's history is too large to resolve")
        known = [pool.events[i].auth_events for i in start if i in pool.events]
        unknown = frozenset(i for i in start if i not in pool.events)
        if unknown:
            # the answer to `AuthLinks` is IDs; a generator's type cannot say so
            links = cast("Mapping[str, Sequence[str]]", (yield AuthLinks(unknown)))
            known += (tuple(links[i]) for i in unknown if i in links)
        start = {a for auth_events in known for a in auth_events} - seen


def _conflicted_subgraph(pool: _Pool, everything: set[str], conflicted: set[str]) -> set[str]:
    """All events on paths of auth links from one conflicted event to another."""
    named_by: dict[str, list[str]] = {}
    for event_id in everything:
        for auth_id in pool.events[event_id].auth_events:
            named_by.setdefault(auth_id, []).append(event_id)
    # `everything` is what conflicted events reach: what reaches them too lies on such a path
    reached: set[str] = set()
    stack = list(conflicted)
    while stack:
        event_id = stack.pop()
        if event_id not in reached:
            reached.add(event_id)
            stack += named_by.get(event_id, ())
    return reached


def _needed(pool: _Pool, full: set[str], unconflicted: StateIds) -> set[str]:
    """The unconflicted events that authorizing the conflicted ones can ask for."""
    keys = {key for i in full for key in auth_types_of(pool.events[i])}
    return {unconflicted[key] for key in keys if key in unconflicted}


# --- in which order they are replayed -----------------------------------------------------


def _is_power_event(event: Event) -> bool:
    """Whether the event might take away somebody's ability to do something."""
    # Servers in use count the create event in, and only the empty state key.
    if event.type in ("m.room.power_levels", "m.room.join_rules", "m.room.create"):
        return event.state_key == ""
    if event.type == "m.room.member" and event.sender != event.state_key:
        return event.membership in ("leave", "ban")
    return False


def _power_set(pool: _Pool, full: set[str]) -> set[str]:
    """The power events and what of their auth chains is in conflict too."""
    chosen: set[str] = set()
    stack = [i for i in full if _is_power_event(pool.events[i])]
    while stack:
        event_id = stack.pop()
        if event_id not in chosen:
            chosen.add(event_id)
            stack += (a for a in pool.events[event_id].auth_events if a in full)
    return chosen


def _power_ordering(pool: _Pool, ids: set[str]) -> list[str]:
    """The reverse topological power ordering, by Kahn's algorithm with a heap."""
    waits_for: dict[str, int] = {}
    named_by: dict[str, list[str]] = {}
    for event_id in ids:
        parents = {a for a in pool.events[event_id].auth_events if a in ids}
        waits_for[event_id] = len(parents)
        for parent in parents:
            named_by.setdefault(parent, []).append(event_id)
    ready = [_power_key(pool, i) for i in ids if waits_for[i] == 0]
    heapq.heapify(ready)
    ordered: list[str] = []
    while ready:
        event_id = heapq.heappop(ready)[2]
        ordered.append(event_id)
        for child in named_by.get(event_id, ()):
            waits_for[child] -= 1
            if waits_for[child] == 0:
                heapq.heappush(ready, _power_key(pool, child))
    return ordered


def _power_key(pool: _Pool, event_id: str) -> tuple[int, int, str]:
    """Greater power first, then the earlier, then the smaller ID."""
    event = pool.events[event_id]
    create, levels = pool.create, None
    for auth in pool.auth_events(event):
        if auth.type == "m.room.create":
            create = auth
        elif auth.type == "m.room.power_levels" and auth.state_key == "":
            levels = auth
    power = PowerLevels(create, levels, pool.version).user(event.sender)
    return (-power, event.origin_server_ts, event_id)


def _mainline_ordering(pool: _Pool, ids: set[str], power_levels: str | None) -> list[str]:
    """The order by the power levels event that each event stands on, the oldest first."""
    position: dict[str, int] = {}
    while power_levels is not None:
        position[power_levels] = len(position)
        power_levels = pool.power_levels_of(power_levels)
    beyond = len(position)  # for events that stand on none of the mainline

    def key(event_id: str) -> tuple[int, int, str]:
        path: list[str] = []
        at = pool.power_levels_of(event_id)
        while at is not None and at not in position:
            path.append(at)
            at = pool.power_levels_of(at)
        found = beyond if at is None else position[at]
        position.update((i, found) for i in path)
        return (-found, pool.events[event_id].origin_server_ts, event_id)

    return sorted(ids, key=key)


# --- the replay ---------------------------------------------------------------------------


def _iterative_auth_checks(pool: _Pool, partial: dict[StateKey, str], ids: list[str]) -> None:
    """Add to the state `partial` each event that it authorizes, in their order."""
    events = pool.events
    for event_id in ids:
        event = events[event_id]
        if event.state_key is None or event.rejected:
            # QUIRK: what failed by the state at it only might be let in here; our verdict does
            # not tell that from failing by its auth chain, and servers in use keep both out.
            continue
        state = {a.key: a for a in pool.auth_events(event) if a.is_state and not a.rejected}
        for key in auth_types_of(event):
            current = events.get(partial.get(key, ""))
            if current is not None and not current.rejected:
                state[key] = current
        if pool.create is not None:
            state[CREATE] = pool.create
        try:
            check_auth(event, state)
        except Refused:
            continue
        partial[event.key] = event_id
