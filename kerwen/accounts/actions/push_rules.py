"""Push rules of people: the edits."""

# CS #push-rules

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kerwen.accounts import account_data_store as store
from kerwen.rooms import push_ruleset
from kerwen.rooms.push_ruleset import Ruleset
from kerwen.storage.database import Database


class EditPushRules:
    """Reads and changes the rulesets of people."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self, account_no: int) -> Ruleset:
        """The whole ruleset."""
        async with self._db.read() as snap:
            return (await store.push_ruleset(snap, account_no))[1]

    async def one(self, account_no: int, kind: str, rule_id: str) -> dict[str, Any]:
        """One rule. Says `NOT_FOUND`."""
        push_ruleset.check_kind(kind)
        return push_ruleset.find_rule(await self.all(account_no), kind, rule_id)

    async def put(
        self,
        account_no: int,
        kind: str,
        rule: dict[str, Any],
        before: str | None,
        after: str | None,
    ) -> None:
        """Adds or changes a rule of `push_ruleset.parse_rule`."""
        await self._edit(
            account_no, lambda rules: push_ruleset.put_rule(rules, kind, rule, before, after)
        )

    async def delete(self, account_no: int, kind: str, rule_id: str) -> None:
        """Takes a rule away."""
        await self._edit(account_no, lambda rules: push_ruleset.delete_rule(rules, kind, rule_id))

    async def set_enabled(self, account_no: int, kind: str, rule_id: str, enabled: bool) -> None:
        """Enables or disables a rule, also a default one."""
        await self._set(account_no, kind, rule_id, "enabled", enabled)

    async def set_actions(
        self, account_no: int, kind: str, rule_id: str, actions: list[Any]
    ) -> None:
        """Sets what a rule does, also a default one."""
        await self._set(account_no, kind, rule_id, "actions", actions)

    async def _set(self, account_no: int, kind: str, rule_id: str, name: str, value: Any) -> None:
        def edit(ruleset: Ruleset) -> None:
            push_ruleset.find_rule(ruleset, kind, rule_id)[name] = value

        await self._edit(account_no, edit)

    async def _edit(self, account_no: int, edit: Callable[[Ruleset], None]) -> None:
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            ruleset = (await store.push_ruleset(tx, account_no))[1]
            edit(ruleset)
            store.set_push_ruleset(tx, account_no, ruleset)
