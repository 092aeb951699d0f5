"""The compiled push rules of people, in bounded memory: what events are held to."""

# CS #push-rules

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kerwen.accounts import account_data_store as store
from kerwen.rooms import push_rules, push_ruleset
from kerwen.rooms.push_ruleset import Ruleset
from kerwen.storage.database import Change, Database, Kind, Tx
from kerwen.storage.feed import Feed

COMPILED_MAX: Final = 50_000  # people whose rules stay in memory


@dataclass(frozen=True, slots=True)
class Rules:
    """A person's compiled rules. `rooms`: where they differ from the default ones in what they
    count; None: everywhere, empty: nowhere.
    """

    compiled: push_rules.Compiled
    rooms: frozenset[str] | None

    def individual_in(self, room_id: str) -> bool:
        """Whether events of a room must be evaluated for this person alone."""
        return self.rooms is None or room_id in self.rooms


class PushRules:
    """Compiled rules by account, in bounded memory; a tell of account data drops them."""

    __slots__ = ("_db", "_kept", "_reading", "_stale", "_times_told", "epoch")

    def __init__(self, db: Database, feed: Feed) -> None:
        self._db = db
        self._kept: OrderedDict[int, Rules] = OrderedDict()
        self._reading = 0
        self.epoch = 0  # rises whenever somebody's rules may have changed
        self._stale: set[int] = set()  # told while somebody reads: the read may be old
        self._times_told = 0
        feed.follow(self._told, Kind.ACCOUNT_DATA)

    async def of(self, account_no: int) -> Rules:
        """The rules of one account."""
        found = self._kept.get(account_no)
        if found is not None:
            self._kept.move_to_end(account_no)
            return found
        return (await self.of_many((account_no,)))[account_no]

    async def within(self, tx: Tx, account_no: int) -> Rules:
        """The rules of an account, read in a transaction that is open already.

        They are kept once it is on disk, unless account data was told meanwhile: then what was
        read here may be old.
        """
        found = self._kept.get(account_no)
        if found is not None:
            return found
        rows = await store.push_rulesets(tx, (account_no,))
        rules, told = _compiled(rows[0][1], rows[0][2]), self._times_told

        def keep() -> None:
            if told == self._times_told:
                self._keep({account_no: rules})

        tx.after(keep)
        return rules

    async def of_many(self, account_nos: Iterable[int]) -> dict[int, Rules]:
        """The rules of many; one statement for all that memory does not hold."""
        found: dict[int, Rules] = {}
        missing = []
        kept = self._kept
        for account_no in account_nos:
            rules = kept.get(account_no)
            if rules is None:
                missing.append(account_no)
            else:
                found[account_no] = rules
        if missing:
            found.update(await self._read(missing))
        return found

    async def individual(self, room_id: str, account_nos: Iterable[int]) -> dict[int, Rules]:
        """Those of a room's members whose own rules matter there; all others hear what
        `push_rules.for_everyone` says, unless the event singles them out.
        """
        everyone = await self.of_many(account_nos)
        return {no: rules for no, rules in everyone.items() if rules.individual_in(room_id)}

    async def _read(self, missing: Sequence[int]) -> dict[int, Rules]:
        self._reading += 1
        try:
            async with self._db.read() as snap:
                rows = await store.push_rulesets(snap, missing)
        finally:
            self._reading -= 1
        found = {no: _compiled(user_id, ruleset) for no, user_id, ruleset in rows}
        self._keep({no: rules for no, rules in found.items() if no not in self._stale})
        if not self._reading:
            self._stale.clear()
        return found

    def _keep(self, found: dict[int, Rules]) -> None:
        self._kept.update(found)
        while len(self._kept) > COMPILED_MAX:
            self._kept.popitem(last=False)

    def _told(self, pos: int, changes: Sequence[Change]) -> None:
        for kind, subject, _ in changes:
            if kind == Kind.JUMP:
                self._kept.clear()
            elif kind == Kind.ACCOUNT_DATA:
                self.epoch += 1
                self._times_told += 1
                self._kept.pop(subject, None)
                if self._reading:
                    self._stale.add(subject)


def _compiled(user_id: str, ruleset: Ruleset | None) -> Rules:
    if ruleset is None:
        return Rules(push_rules.compile_default(user_id), frozenset())
    return Rules(
        push_rules.compile(ruleset, user_id), push_ruleset.individual_rooms(ruleset, user_id)
    )
