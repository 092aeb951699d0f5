"""State resolution written down word for word from the specification, slow and recursive.

The tests compare `rooms/resolve.py` with it. The auth chain of an event counts the event.
"""

from __future__ import annotations

import functools

from kerwen.base.errors import Refused
from kerwen.rooms.auth import auth_types_of, check_auth
from kerwen.rooms.power import PowerLevels

LEVELS = ("m.room.power_levels", "")
CREATE = ("m.room.create", "")


def plain_resolve(version, states, events, create):
    keys = {key for state in states for key in state}
    unconflicted, conflicted = {}, set()
    for key in keys:
        values = {state.get(key) for state in states}
        if len(values) == 1:
            unconflicted[key] = values.pop()
        else:
            conflicted |= values - {None}
    if not conflicted:
        return unconflicted

    @functools.cache
    def chain(event_id):
        found = {event_id}
        for auth in events[event_id].auth_events:
            found |= chain(auth)
        return frozenset(found)

    chains = [frozenset().union(*(chain(i) for i in s.values())) for s in states]
    difference = frozenset().union(*chains) - chains[0].intersection(*chains)
    full = conflicted | difference
    if version.id == "12":
        full |= {
            i
            for start in conflicted
            for i in chain(start)
            if any(end in chain(i) for end in conflicted)
        }

    def is_power(i):
        e = events[i]
        if e.type in ("m.room.power_levels", "m.room.join_rules", "m.room.create"):
            return True
        away = e.content.get("membership") in ("leave", "ban")
        return e.type == "m.room.member" and away and e.sender != e.state_key

    def levels_before(i):
        found = [a for a in events[i].auth_events if events[a].key == LEVELS]
        return found[0] if found else None

    def power_key(i):
        before = levels_before(i)
        maker = create if version.id == "12" else None
        for a in events[i].auth_events:
            if events[a].key == CREATE:
                maker = events[a]
        levels = PowerLevels(maker, events[before] if before else None, version)
        return (-levels.user(events[i].sender), events[i].origin_server_ts, i)

    chosen = {i for i in full if is_power(i)}
    grown = None
    while grown != chosen:
        grown = set(chosen)
        chosen |= {a for i in grown for a in events[i].auth_events if a in full}
    ordered = []
    left = set(chosen)
    while left:
        free = [i for i in left if not set(events[i].auth_events) & left]
        ordered.append(min(free, key=power_key))
        left.remove(ordered[-1])

    def replay(state, order):
        for i in order:
            auth = {events[a].key: events[a] for a in events[i].auth_events}
            auth |= {k: events[state[k]] for k in auth_types_of(events[i]) if k in state}
            if version.id == "12":
                auth[CREATE] = create
            try:
                check_auth(events[i], auth)
            except Refused:
                continue
            state[events[i].key] = i

    partial = {} if version.id == "12" else dict(unconflicted)
    replay(partial, ordered)
    mainline = []
    at = partial.get(LEVELS)
    while at:
        mainline.append(at)
        at = levels_before(at)

    def mainline_key(i):
        at = levels_before(i)
        while at and at not in mainline:
            at = levels_before(at)
        position = mainline.index(at) if at else len(mainline)
        return (-position, events[i].origin_server_ts, i)

    replay(partial, sorted(full - chosen, key=mainline_key))
    return partial | unconflicted
