"""State resolution: told stories, random histories against a plain version, and time."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base.ask import ask, ask_now
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import resolve as res
from kerwen.rooms.auth import JOIN_RULES, POWER_LEVELS, check_auth
from kerwen.rooms.build import sign_template
from kerwen.rooms.event import stored_event
from kerwen.rooms.resolve import AuthLinks, Events, answer_from, resolve

from .forge import ALICE, BOB, CAROL, MOD, Forge, key_of
from .plain_resolve import plain_resolve

TOPIC = ("m.room.topic", "")
VERSIONS = ["3", "9", "11", "12"]
every_version = pytest.mark.parametrize("version", VERSIONS)


def ids(state):
    return {key: event.event_id for key, event in state.items()}


def resolved(room, *states):
    """The outcome, as events; the same in every order of the states."""
    maps = [ids(state) for state in states]
    outcomes = [
        ask_now(resolve(room.version, order), answer_from(room.events))
        for order in (maps, maps[::-1], [*maps, maps[0]])
    ]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0] == plain_resolve(room.version, maps, room.events, room.create)
    return {key: room.events[i] for key, i in outcomes[0].items()}


def talk(version, **levels):
    """Alice, Mod, Bob and Carol are in a public room."""
    room = Forge(version).furnish("public", **levels)
    for user in (BOB, CAROL):
        room.member(user, "join")
    return room


def users(room, **levels):
    base = {} if room.version.id == "12" else {ALICE: 100}
    return {
        "users": base | {{"mod": MOD, "bob": BOB, "carol": CAROL}[k]: v for k, v in levels.items()}
    }


# --- stories ------------------------------------------------------------------------------


@every_version
def test_no_conflict(version):
    room = talk(version)
    assert resolved(room, room.state) == room.state
    assert resolved(room, room.state, room.state) == room.state
    assert ask_now(resolve(room.version, []), answer_from({})) == {}
    with pytest.raises(StopIteration):
        next(resolve(room.version, [ids(room.state)] * 3))  # without a question


@every_version
def test_the_later_topic_wins(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    first = room.on(one, ALICE, *TOPIC[:1], {"topic": "1"})
    second = room.on(two, MOD, *TOPIC[:1], {"topic": "2"})
    assert second.origin_server_ts > first.origin_server_ts
    assert resolved(room, one, two)[TOPIC] == second


@every_version
def test_the_larger_id_wins_at_the_same_time(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    events = [
        room.on(one, ALICE, "m.room.topic", {"topic": "1"}, ts=5),
        room.on(two, MOD, "m.room.topic", {"topic": "2"}, ts=5),
    ]
    assert resolved(room, one, two)[TOPIC] == max(events, key=lambda e: e.event_id)


@every_version
def test_a_ban_beats_what_the_banned_did_at_the_same_time(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    ban = room.on(one, ALICE, "m.room.member", {"membership": "ban"}, MOD)
    room.on(two, MOD, "m.room.topic", {"topic": "mutiny"})
    outcome = resolved(room, one, two)
    assert outcome[("m.room.member", MOD)] == ban
    assert TOPIC not in outcome


@every_version
def test_the_mightier_takes_levels_away_first(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    down = room.on(one, ALICE, "m.room.power_levels", users(room, mod=0))
    room.on(two, MOD, "m.room.power_levels", users(room, mod=50, bob=50), ts=1)
    bobs = room.on(two, BOB, "m.room.topic", {"topic": "Bob's"})
    outcome = resolved(room, one, two)
    assert outcome[POWER_LEVELS] == down
    assert outcome.get(TOPIC) != bobs


@every_version
def test_the_mightier_goes_first_though_later(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    ban = room.on(one, ALICE, "m.room.member", {"membership": "ban"}, MOD, ts=20)
    room.on(two, MOD, "m.room.member", {"membership": "ban"}, BOB, ts=10)
    outcome = resolved(room, one, two)
    assert outcome[("m.room.member", MOD)] == ban
    assert outcome[("m.room.member", BOB)] == room.state[("m.room.member", BOB)]


@every_version
@pytest.mark.parametrize(("ban_ts", "kick_ts"), [(10, 20), (20, 10)])
def test_among_equals_the_later_has_the_last_word(version, ban_ts, kick_ts):
    room = talk(version)
    room.put(ALICE, "m.room.power_levels", users(room, mod=50, bob=50))
    one, two = dict(room.state), dict(room.state)
    ban = room.on(one, MOD, "m.room.member", {"membership": "ban"}, CAROL, ts=ban_ts)
    kick = room.on(two, BOB, "m.room.member", {"membership": "leave"}, CAROL, ts=kick_ts)
    last = ban if ban_ts > kick_ts else kick
    assert resolved(room, one, two)[("m.room.member", CAROL)] == last


@every_version
def test_a_join_that_crosses_the_closing_of_the_room(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    closed = room.on(one, ALICE, "m.room.join_rules", {"join_rule": "invite"})
    dan = "@dan:d.test"
    join = room.on(two, dan, "m.room.member", {"membership": "join"}, dan)
    assert join.origin_server_ts > closed.origin_server_ts
    outcome = resolved(room, one, two)
    assert outcome[JOIN_RULES] == closed
    assert ("m.room.member", dan) not in outcome


@every_version
def test_topics_of_both_sides_of_a_change_of_levels(version):
    """A topic that stands on newer levels goes last, whatever its clock says."""
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    room.on(one, ALICE, "m.room.power_levels", users(room, mod=50, carol=50))
    new = room.on(one, CAROL, "m.room.topic", {"topic": "new"}, ts=1)
    room.on(two, MOD, "m.room.topic", {"topic": "old"}, ts=2_000_000_000_000)
    assert resolved(room, one, two)[TOPIC] == new


@every_version
def test_three_states_and_keys_that_only_one_has(version):
    room = talk(version)
    states = [dict(room.state) for _ in range(3)]
    name = room.on(states[0], MOD, "m.room.name", {"name": "n"})
    avatar = room.on(states[1], MOD, "m.room.avatar", {"url": "mxc://a/b"})
    outcome = resolved(room, *states)
    assert outcome == {**room.state, name.key: name, avatar.key: avatar}


def test_state_reset_of_version_2_is_gone_in_2_1():
    """A user who left in both states must not come back through an older fork's auth chain.

    One server has a stale view in which Bob's leave is missing; what counts is that neither
    algorithm changes what all states agree on.
    """
    for version in ("11", "12"):
        room = talk(version)
        left = room.member(BOB, "leave")
        one, two = dict(room.state), dict(room.state)
        room.on(one, ALICE, "m.room.power_levels", users(room, mod=60))
        room.on(two, ALICE, "m.room.power_levels", users(room, mod=70))
        assert resolved(room, one, two)[("m.room.member", BOB)] == left


def test_replay_starts_from_nothing_in_2_1():
    """Version 12 authorizes power events against their own history, not today's state.

    Carol, an admin then, set a join rule; today all states agree that she has left. In v2 her
    event is judged by today's membership and lost; in v2.1 by that of its time.
    """
    outcomes = {}
    for version in ("11", "12"):
        room = talk(version)
        room.put(ALICE, "m.room.power_levels", users(room, mod=50, carol=90))
        old = dict(room.state)
        rule = room.on(old, CAROL, "m.room.join_rules", {"join_rule": "invite"})
        room.member(CAROL, "leave")
        now = dict(room.state)
        stale = {**now, JOIN_RULES: rule}
        outcomes[version] = resolved(room, now, stale)[JOIN_RULES] == rule
    assert outcomes == {"11": False, "12": True}


def reject(room, event):
    room.events[event.event_id] = stored_event(event.raw, event.event_id, room.version, True)


@every_version
def test_rejected_auth_events_do_not_authorize(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    dan = "@dan:d.test"
    join = room.on(two, dan, "m.room.member", {"membership": "join"}, dan)
    assert resolved(room, one, two)[join.key] == join
    reject(room, room.state[JOIN_RULES])
    outcome = ask_now(resolve(room.version, [ids(one), ids(two)]), answer_from(room.events))
    assert join.key not in outcome


@every_version
def test_rejected_events_stay_out(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    topic = room.on(two, MOD, "m.room.topic", {"topic": "x"})
    assert resolved(room, one, two)[TOPIC] == topic
    reject(room, topic)
    outcome = ask_now(resolve(room.version, [ids(one), ids(two)]), answer_from(room.events))
    assert outcome == ids(one)


def test_todays_levels_do_not_judge_yesterday_in_2_1():
    """All agree that Carol has no power now; when she set the rule, she had."""
    outcomes = {}
    for version in ("11", "12"):
        room = talk(version)
        room.put(ALICE, "m.room.power_levels", users(room, mod=50, carol=90))
        stale = dict(room.state)
        hers = room.on(stale, CAROL, "m.room.join_rules", {"join_rule": "knock"})
        room.put(ALICE, "m.room.power_levels", users(room, mod=50))
        now = dict(room.state)
        room.on(now, ALICE, "m.room.join_rules", {"join_rule": "invite"})
        outcomes[version] = resolved(room, now, {**now, JOIN_RULES: hers})[JOIN_RULES] == hers
    assert outcomes == {"11": False, "12": True}


@every_version
def test_events_that_nobody_has(version):
    room = talk(version)
    one, two = ids(room.state), ids(room.state) | {TOPIC: "$missing"}
    assert ask_now(resolve(room.version, [one, two]), answer_from(room.events)) == one
    one, two = {("x", ""): "$a"}, {("x", ""): "$b"}
    assert ask_now(resolve(room.version, [one, two]), answer_from({})) == {}


@pytest.mark.parametrize("version", ["11", "12"])
def test_unconflicted_levels_that_nobody_has(version):
    room = talk(version)
    one, two = ids(room.state), ids(room.state)
    one[POWER_LEVELS] = two[POWER_LEVELS] = "$gone"
    topic = room.make(ALICE, "m.room.topic", {}, "")
    room.events[topic.event_id] = topic
    two[TOPIC] = topic.event_id
    outcome = ask_now(resolve(room.version, [one, two]), answer_from(room.events))
    assert outcome == two


@every_version
def test_a_message_among_the_auth_events(version):
    """What a hostile server can write: an event that is no state in an auth chain."""
    room = talk(version)
    message = room.make(BOB, "m.room.message", {})
    honest = room.make(BOB, "m.room.member", {"membership": "join", "displayname": "B"}, BOB)
    pdu = {**honest.pdu(), "auth_events": [*honest.auth_events, message.event_id]}
    hostile = sign_template(pdu, room.version, key_of("b.test"), "b.test")
    room.events |= {e.event_id: e for e in (message, hostile)}
    two = ids(room.state) | {hostile.key: hostile.event_id}
    maps = [ids(room.state), two]
    assert ask_now(resolve(room.version, maps), answer_from(room.events)) == two


# --- questions ----------------------------------------------------------------------------


def questions(room, *states):
    asked = []
    answer = answer_from(room.events)

    def note(question):
        asked.append(question)
        return answer(question)

    ask_now(resolve(room.version, [ids(s) for s in states]), note)
    return asked


@every_version
def test_a_common_conflict_does_not_walk_over_the_members(version):
    room = talk(version)
    for n in range(30):
        room.member(f"@u{n}:b.test", "join")
    one, two = dict(room.state), dict(room.state)
    room.on(one, ALICE, "m.room.topic", {"topic": "1"})
    room.on(two, ALICE, "m.room.member", {"membership": "join", "displayname": "A"}, ALICE)
    asked = questions(room, one, two)
    assert len({i for q in asked for i in q.ids}) < 12
    assert not any(isinstance(q, AuthLinks) for q in asked)
    seen = [i for q in asked if isinstance(q, Events) for i in q.ids]
    assert len(seen) == len(set(seen))  # never twice


@every_version
def test_links_are_asked_for_when_a_middle_event_is_in_doubt(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    for n in range(3):
        room.on(one, BOB, "m.room.member", {"membership": "join", "displayname": f"{n}"}, BOB)
    assert any(isinstance(q, AuthLinks) for q in questions(room, one, two))
    resolved(room, one, two)


async def test_with_answers_that_are_awaited():
    room = talk("12")
    one, two = dict(room.state), dict(room.state)
    room.on(one, ALICE, "m.room.topic", {"topic": "1"})
    topic = room.on(two, ALICE, "m.room.topic", {"topic": "2"})

    async def answer(question):
        return answer_from(room.events)(question)

    outcome = await ask(resolve(room.version, [ids(one), ids(two)]), answer)
    assert outcome[TOPIC] == topic.event_id


@every_version
@pytest.mark.parametrize("most", [3, 12])
def test_bounded(version, most, monkeypatch):
    room = talk(version)
    for n in range(10):
        room.member(f"@u{n}:b.test", "join")
    one, two = dict(room.state), dict(room.state)
    for n in range(3):
        room.on(one, BOB, "m.room.member", {"membership": "join", "displayname": f"{n}"}, BOB)
    monkeypatch.setattr(res, "EVENTS_MAX", most)
    with pytest.raises(Refused) as caught:
        resolved(room, one, two)
    assert caught.value.reason is Reason.TOO_LARGE


# --- random histories ---------------------------------------------------------------------

PEOPLE = [ALICE, MOD, BOB, CAROL, "@dan:d.test"]


def random_step(room, state, chance):
    """One event that the branch's own state allows, if the dice find one."""
    actor, other = chance.choice(PEOPLE), chance.choice(PEOPLE)
    levels = users(room, mod=chance.choice([0, 50, 60]), bob=chance.choice([0, 50]))
    type_, content, state_key = chance.choice(
        [
            ("m.room.topic", {"topic": str(chance.random())}, ""),
            ("m.room.name", {"name": str(chance.random())}, ""),
            ("m.room.power_levels", levels, ""),
            ("m.room.join_rules", {"join_rule": chance.choice(["public", "invite"])}, ""),
            ("m.room.member", {"membership": "join", "displayname": actor}, actor),
            ("m.room.member", {"membership": "leave"}, actor),
            ("m.room.member", {"membership": "leave"}, other),
            ("m.room.member", {"membership": "ban"}, other),
            ("m.room.member", {"membership": "invite"}, other),
        ]
    )
    ts = room.clock + chance.randrange(-20, 20)
    event = room.make(actor, type_, content, state_key, state=state, ts=ts)
    try:
        check_auth(event, state)
    except Refused:
        return
    room.events[event.event_id] = event
    state[event.key] = event


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(VERSIONS), st.integers(0, 2**32), st.integers(2, 4), st.integers(1, 25))
def test_random_histories(version, seed, branches, steps):
    chance = random.Random(seed)
    room = talk(version)
    states = [dict(room.state) for _ in range(branches)]
    for _ in range(steps * branches):
        state = chance.choice(states)
        random_step(room, state, chance)
        if chance.random() < 0.1:  # a branch that saw another one
            merged = resolved(room, state, chance.choice(states))
            state.clear()
            state.update(merged)
    outcome = resolved(room, *states)
    # the order in which facts arrive changes nothing
    answer = answer_from(dict(chance.sample(list(room.events.items()), len(room.events))))
    for _ in range(3):
        maps = [dict(chance.sample(list(ids(s).items()), len(s))) for s in states]
        chance.shuffle(maps)
        assert ask_now(resolve(room.version, maps), answer) == ids(outcome)
    # what all agree on stays
    for key, event in states[0].items():
        if all(state.get(key) == event for state in states):
            assert outcome[key] == event
    assert resolved(room, outcome, outcome) == outcome


# --- time ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["11", "12"])
def crowd(request):
    """Two halves of a room of 10,000, each of which saw its own joins only."""
    room = talk(request.param)
    one, two = dict(room.state), dict(room.state)
    for n in range(10_000):
        user = f"@u{n}:b.test"
        room.on(one if n % 2 else two, user, "m.room.member", {"membership": "join"}, user)
    return room, ids(one), ids(two)


def test_ten_thousand_conflicted_events(crowd):
    room, one, two = crowd
    begun = time.process_time()
    outcome = ask_now(resolve(room.version, [one, two]), answer_from(room.events))
    taken = time.process_time() - begun
    assert len(outcome) == 10_000 + len(room.state)
    assert taken < 2, f"{taken:.2f} s"


@pytest.mark.parametrize("version", ["11", "12"])
def test_a_long_chain_of_levels_costs_no_stack_and_little_time(version):
    room = talk(version)
    one, two = dict(room.state), dict(room.state)
    for n in range(3000):
        room.on(one, ALICE, "m.room.power_levels", {**users(room, mod=50), "ban": n % 100})
    topic = room.on(two, MOD, "m.room.topic", {"topic": "x"})
    begun = time.process_time()
    outcome = ask_now(resolve(room.version, [ids(one), ids(two)]), answer_from(room.events))
    assert time.process_time() - begun < 2
    assert outcome == ids(one) | {TOPIC: topic.event_id}
