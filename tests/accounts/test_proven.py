"""Passwords proved of late: no second Argon2id, nothing for wrong ones, and an end."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.password import CHEAP, PasswordKeys, stored, stretch
from kerwen.accounts.proven import LIFE_MS, Proven
from tests.accounts.world import V3, World, password_auth

SALT = b"0123456789abcdef"
KEYS = stretch("correct horse", SALT, CHEAP)
KEPT = stored(KEYS, SALT, CHEAP)
OTHER = stored(KEYS, b"another salt ...", CHEAP)


def test_it_knows_what_was_proved_and_nothing_else() -> None:
    proven = Proven()
    assert proven.find("correct horse", KEPT, 0) is None
    proven.keep("correct horse", KEPT, KEYS, 0)
    assert proven.find("correct horse", KEPT, 1) == KEYS
    assert proven.find("wrong horse", KEPT, 1) is None
    assert proven.find("correct horse", OTHER, 1) is None, "a password was set anew"


def test_two_processes_give_the_same_keys_other_entries() -> None:
    kept = [Proven(), Proven()]
    for one in kept:
        one.keep("correct horse", KEPT, KEYS, 0)
    names = [next(iter(one._found.items())) for one in kept]
    assert names[0][0] != names[1][0]
    assert names[0][1][0] != names[1][1][0]
    for _, (entry, _) in names:
        assert KEYS.slot not in bytes(entry), "what is in memory opens nothing by itself"
        assert KEYS.proof not in bytes(entry)


def test_what_is_not_used_is_overwritten() -> None:
    proven = Proven()
    proven.keep("correct horse", KEPT, KEYS, 0)
    proven.keep("correct horse", OTHER, KEYS, 10)
    entry = proven._found[next(iter(proven._found))][0]
    assert proven.sweep(5) == LIFE_MS - 5
    assert proven.find("correct horse", OTHER, 100) == KEYS, "a use makes it live longer"
    assert proven.find("correct horse", KEPT, LIFE_MS) is None
    assert proven.sweep(LIFE_MS) == 100
    assert not any(entry)
    assert len(proven) == 1
    proven.clear()
    assert proven.sweep(0) is None


def test_the_one_unused_for_longest_makes_room() -> None:
    proven = Proven(most=2)
    kept = [stored(KEYS, bytes([n]) * 16, CHEAP) for n in range(3)]
    for at, one in enumerate(kept[:2]):
        proven.keep("correct horse", one, KEYS, at)
    assert proven.find("correct horse", kept[0], 2) == KEYS
    proven.keep("correct horse", kept[2], KEYS, 3)
    found = [proven.find("correct horse", one, 4) is not None for one in kept]
    assert found == [True, False, True]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that cost an Argon2id."""
    stretched: list[str] = []
    run = Stretcher._run

    async def counted(self: Stretcher, password: str, *more: Any) -> PasswordKeys:
        stretched.append(password)
        return await run(self, password, *more)

    monkeypatch.setattr(Stretcher, "_run", counted)
    return stretched


async def test_a_program_that_logs_in_again_costs_one(world: World, runs: list[str]) -> None:
    await world.sign_up("ayna")
    runs.clear()
    for _ in range(3):
        assert (await world.sign_in("ayna")).status == 200
    assert runs == ["correct horse"]
    world.clock.ms += LIFE_MS
    assert (await world.sign_in("ayna")).status == 200
    assert runs == ["correct horse"] * 2
    for _ in range(2):
        (await world.sign_in("ayna", "wrong horse")).refused(403, "M_FORBIDDEN")
    assert runs[2:] == ["wrong horse"] * 2, "who guesses pays each time"


async def test_an_old_password_is_worth_nothing(world: World, runs: list[str]) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    assert (await world.sign_in("ayna")).status == 200
    body = {"new_password": "battery staple", "auth": password_auth("ayna")}
    answer = await world.ask("POST", V3 + "/account/password", body, token)
    assert answer.status == 200, answer.raw
    runs.clear()
    (await world.sign_in("ayna")).refused(403, "M_FORBIDDEN")
    assert (await world.sign_in("ayna", "battery staple")).status == 200
    assert runs == ["correct horse", "battery staple"]
    world.accounts.close()
    assert not len(world.accounts.stretcher._proven)
