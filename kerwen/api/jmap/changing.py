"""What all /changes and /set methods have in common. # RFC 8620 §5.2, §5.3"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kerwen.api.jmap.registry import Work
from kerwen.base import limits
from kerwen.mail.actions.email_changes import (
    CREATED,
    DESTROYED,
    UPDATED,
    Change,
    State,
    parse_state,
)
from kerwen.mail.jmap.arguments import Arguments, is_id
from kerwen.mail.jmap.errors import MethodError, SetError, bad_argument

CHANGES_MAX = limits.JMAP_LIST_MAX


def since_of(arguments: Arguments, name: str = "sinceState") -> State:
    """The state from which a client asks. Says `cannotCalculateChanges`."""
    found = parse_state(arguments.text(name))
    if found is None:
        raise MethodError("cannotCalculateChanges")
    return found


def most_of(arguments: Arguments) -> int:
    """maxChanges."""
    most = arguments.unsigned("maxChanges")
    if most == 0:
        raise bad_argument("maxChanges", "must be greater than 0")
    return min(most or CHANGES_MAX, CHANGES_MAX)


def changes_response(
    work: Work,
    since: State | str,
    some: Sequence[Change],
    state: State | str,
    more: bool,
    ids_of: Callable[[list[Change]], list[str]],
) -> dict[str, Any]:
    """The response of a /changes."""
    told: dict[str, Any] = {
        "accountId": work.account_id,
        "oldState": str(since),
        "newState": str(state),
        "hasMoreChanges": more,
    }
    for kind in (CREATED, UPDATED, DESTROYED):
        told[kind] = ids_of([one for one in some if one.kind == kind])
    return told


class Setting:
    """A /set under way: what was asked, and what became of it."""

    def __init__(self, work: Work, arguments: Arguments, state: str) -> None:
        wanted = arguments.optional_text("ifInState")
        if wanted is not None and wanted != state:
            raise MethodError("stateMismatch")
        self.work = work
        self.old_state = state
        self.create = self._objects(arguments, "create")
        self.update = self._objects(arguments, "update")
        destroy = arguments.ids("destroy", limits.JMAP_OBJECTS_SET_MAX) or []
        self.destroy = list(dict.fromkeys(map(work.batch.id_of, destroy)))
        count = len(self.create) + len(self.update) + len(self.destroy)
        if count > limits.JMAP_OBJECTS_SET_MAX:
            raise MethodError("requestTooLarge", f"At most {limits.JMAP_OBJECTS_SET_MAX} objects")
        self.update = {work.batch.id_of(one): patch for one, patch in self.update.items()}
        self.created: dict[str, Any] = {}
        self.updated: dict[str, Any] = {}
        self.destroyed: list[str] = []
        self.failed: dict[str, dict[str, Any]] = {"create": {}, "update": {}, "destroy": {}}
        for one in self.destroy:
            if one in self.update:
                self.fail("update", one, SetError("willDestroy"))
                del self.update[one]

    @staticmethod
    def _objects(arguments: Arguments, name: str) -> dict[str, dict[str, Any]]:
        found = arguments.object(name) or {}
        for key, value in found.items():
            if not isinstance(value, dict):
                raise bad_argument(name, "must hold objects")
            if not is_id(key.removeprefix("#")):
                raise bad_argument(name, "has a key that is no id")
        return found

    def fail(self, how: str, key: str, error: SetError) -> None:
        """Something was refused."""
        self.failed[how][key] = error.told()

    def made(self, key: str, thing_id: str, told: dict[str, Any]) -> None:
        """Something was created."""
        self.created[key] = {"id": thing_id, **told}
        self.work.batch.created_ids[key] = thing_id

    def response(self, state: str) -> dict[str, Any]:
        """The response of the /set."""
        told: dict[str, Any] = {
            "accountId": self.work.account_id,
            "oldState": self.old_state,
            "newState": state,
            "created": self.created or None,
            "updated": self.updated or None,
            "destroyed": self.destroyed or None,
        }
        for how, name in (
            ("create", "notCreated"),
            ("update", "notUpdated"),
            ("destroy", "notDestroyed"),
        ):
            told[name] = self.failed[how] or None
        return told


def query_changes(
    work: Work,
    arguments: Arguments,
    state: str,
    found: Sequence[int],
    gone: Iterable[int],
    touched: set[int] | None,
    ids_of: Callable[[list[int]], list[str]],
) -> dict[str, Any]:
    """The response of a /queryChanges: whatever was `touched` (None: all) or is `gone` is taken
    out, and what of it is in the results is put where it belongs. # RFC 8620 §5.6"""
    most = arguments.unsigned("maxChanges")
    at = [(index, no) for index, no in enumerate(found) if touched is None or no in touched]
    left = dict.fromkeys(gone)
    left.update(dict.fromkeys(touched if touched is not None else found))
    if most is not None and len(left) + len(at) > most:
        raise MethodError("tooManyChanges")
    nos = [no for _, no in at]
    added = [{"id": told, "index": index} for (index, _), told in zip(at, ids_of(nos), strict=True)]
    response: dict[str, Any] = {
        "accountId": work.account_id,
        "oldQueryState": arguments.text("sinceQueryState"),
        "newQueryState": state,
        "removed": ids_of(list(left)),
        "added": added,
    }
    if arguments.boolean("calculateTotal"):
        response["total"] = len(found)
    return response
