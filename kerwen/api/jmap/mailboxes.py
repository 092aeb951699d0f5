"""Mailbox/get, Mailbox/query. # RFC 8621 §2"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from kerwen.api.jmap import ids
from kerwen.api.jmap.query_page import page
from kerwen.api.jmap.registry import Work
from kerwen.base import limits
from kerwen.mail.actions.account_views import AccountView
from kerwen.mail.actions.mailboxes import INBOX
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.store.mailboxes import Mailbox

COUNTS: Final = ("totalEmails", "unreadEmails", "totalThreads", "unreadThreads")
PROPERTIES: Final = frozenset(
    ("id", "name", "parentId", "role", "sortOrder", *COUNTS, "myRights", "isSubscribed")
)
_ORDER: Final = {"inbox": 1, "drafts": 2, "sent": 3, "archive": 4, "junk": 8, "trash": 9}
_RIGHTS: Final = (
    "mayReadItems", "mayAddItems", "mayRemoveItems", "maySetSeen", "maySetKeywords",
    "mayCreateChild", "mayRename", "mayDelete", "maySubmit",
)  # fmt: skip


class Tree:
    """The mailboxes of an account as JMAP sees them: names without those above."""

    def __init__(self, whole: AccountView) -> None:
        self.whole = whole
        self._by_name = {one.name: one for one in whole.mailboxes.values()}

    def parent(self, one: Mailbox) -> Mailbox | None:
        """The mailbox above; None: it stands on top."""
        above = one.name.rpartition("/")[0]
        return self._by_name.get(above) if above else None

    def name(self, one: Mailbox) -> str:
        """Its own name; the whole one where what is above it was deleted."""
        if one.name == INBOX:
            return "Inbox"
        return one.name.rpartition("/")[2] if self.parent(one) is not None else one.name

    def order(self, one: Mailbox) -> int:
        """sortOrder."""
        found = self.whole.orders.get(one.mailbox_no)
        return _ORDER.get(one.special, 10) if found is None else found

    def told(self, one: Mailbox, names: frozenset[str]) -> dict[str, Any]:
        """A Mailbox."""
        parent = self.parent(one)
        found: dict[str, Any] = {
            "id": ids.mailbox_id(one.mailbox_no),
            "name": self.name(one),
            "parentId": ids.mailbox_id(parent.mailbox_no) if parent is not None else None,
            "role": one.special or None,
            "sortOrder": self.order(one),
            "isSubscribed": one.name in self.whole.subscribed,
        }
        if "myRights" in names:
            may = one.name != INBOX
            found["myRights"] = {
                right: may or right not in ("mayRename", "mayDelete") for right in _RIGHTS
            }
        if not names.isdisjoint(COUNTS):
            counts = self.whole.counts()[one.mailbox_no]
            values = (counts.emails, counts.unread, counts.threads, counts.unread_threads)
            found.update(zip(COUNTS, values, strict=True))
        return {name: value for name, value in found.items() if name in names}


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Mailbox/get"""
    names = arguments.properties(PROPERTIES)
    wanted = arguments.ids()
    whole = await work.whole()
    tree = Tree(whole)
    if wanted is None:
        some: Iterable[str] = map(ids.mailbox_id, whole.mailboxes)
    else:
        some = dict.fromkeys(map(work.batch.id_of, wanted))
    found, missing = [], []
    for mailbox_id in some:
        one = whole.mailboxes.get(ids.mailbox_no(mailbox_id) or 0)
        if one is None:
            missing.append(mailbox_id)
        else:
            found.append(tree.told(one, names))
    return {
        "accountId": work.account_id,
        "state": str(whole.head),
        "list": found,
        "notFound": missing,
    }


# --- query --------------------------------------------------------------------------------------

Fits = Callable[[Mailbox], bool]


def _fits(tree: Tree, raw: Any, depth: int = 0) -> Fits:
    """A filter as one function. # RFC 8621 §2.3"""
    if raw is None:
        return lambda one: True
    if not isinstance(raw, dict) or depth > limits.SEARCH_DEPTH_MAX:
        raise MethodError("invalidArguments", "filter must be an object")
    if "operator" in raw:
        conditions = raw.get("conditions")
        if raw["operator"] not in tuple(_JOINED) or not isinstance(conditions, list):
            raise MethodError("invalidArguments", "an operator is AND, OR or NOT")
        if len(conditions) > limits.SEARCH_KEYS_MAX:
            raise MethodError("unsupportedFilter", "The filter is too large")
        return _JOINED[raw["operator"]]([_fits(tree, one, depth + 1) for one in conditions])
    tests = [_condition(tree, name, value) for name, value in raw.items()]
    return lambda one: all(test(one) for test in tests)


_JOINED: Final[dict[str, Callable[[list[Fits]], Fits]]] = {
    "AND": lambda some: lambda one: all(test(one) for test in some),
    "OR": lambda some: lambda one: any(test(one) for test in some),
    "NOT": lambda some: lambda one: not any(test(one) for test in some),
}


def _condition(tree: Tree, name: str, value: Any) -> Fits:
    if name == "parentId" and (value is None or isinstance(value, str)):
        number = ids.mailbox_no(value) if value is not None else None

        def below(one: Mailbox) -> bool:
            parent = tree.parent(one)
            return (parent.mailbox_no if parent is not None else None) == number

        return below if value is None or number is not None else lambda one: False
    if name == "name" and isinstance(value, str):
        asked = value.casefold()
        return lambda one: asked in tree.name(one).casefold()
    if name == "role" and (value is None or isinstance(value, str)):
        return lambda one: (one.special or None) == value
    if name == "hasAnyRole" and isinstance(value, bool):
        return lambda one: bool(one.special) == value
    if name == "isSubscribed" and isinstance(value, bool):
        return lambda one: (one.name in tree.whole.subscribed) == value
    if name in ("parentId", "name", "role", "hasAnyRole", "isSubscribed"):
        raise MethodError("invalidArguments", f"{name} has another type")
    raise MethodError("unsupportedFilter", f"{name[:100]} is unknown")


def results(tree: Tree, arguments: Arguments) -> list[int]:
    """The numbers of the mailboxes that a Mailbox/query finds, in order."""
    fits = _fits(tree, arguments.raw.get("filter"))
    key = _key(tree, arguments.raw.get("sort"))
    every = sorted(tree.whole.mailboxes.values(), key=lambda one: one.mailbox_no)
    key(every)
    if arguments.boolean("sortAsTree"):
        every = _as_tree(tree, every)
    found = {one.mailbox_no for one in every if fits(one)}
    if arguments.boolean("filterAsTree"):

        def whole_way(one: Mailbox | None) -> bool:
            while one is not None:
                if one.mailbox_no not in found:
                    return False
                one = tree.parent(one)
            return True

        found = {one.mailbox_no for one in every if whole_way(one)}
    return [one.mailbox_no for one in every if one.mailbox_no in found]


def _key(tree: Tree, raw: Any) -> Callable[[list[Mailbox]], None]:
    if raw is None or raw == []:
        raw = [{"property": "sortOrder"}, {"property": "name"}]
    if not isinstance(raw, list) or len(raw) > 8:
        raise MethodError("invalidArguments", "sort must be a list of comparators")
    steps: list[tuple[Callable[[Mailbox], Any], bool]] = []
    for one in raw:
        if not isinstance(one, dict) or not isinstance(one.get("isAscending", True), bool):
            raise MethodError("invalidArguments", "a comparator has a property")
        keys: dict[Any, Callable[[Mailbox], Any]] = {
            "sortOrder": tree.order,
            "name": lambda box: tree.name(box).casefold(),
            "parentId": lambda box: box.name.rpartition("/")[0],
        }
        name = one.get("property")
        if not isinstance(name, str) or name not in keys:
            raise MethodError("unsupportedSort", "This cannot be sorted by")
        steps.append((keys[name], one.get("isAscending", True)))

    def sort(boxes: list[Mailbox]) -> None:
        for key, ascending in reversed(steps):
            boxes.sort(key=key, reverse=not ascending)

    return sort


def _as_tree(tree: Tree, every: list[Mailbox]) -> list[Mailbox]:
    """Each mailbox stands before what is below it."""
    below: dict[int, list[Mailbox]] = {}
    for one in every:
        parent = tree.parent(one)
        below.setdefault(parent.mailbox_no if parent is not None else 0, []).append(one)
    found: list[Mailbox] = []
    left = list(reversed(below.get(0, [])))
    while left:
        one = left.pop()
        found.append(one)
        left += reversed(below.get(one.mailbox_no, []))
    return found


async def query(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Mailbox/query"""
    whole = await work.whole()
    found = results(Tree(whole), arguments)
    return page(
        work,
        arguments,
        str(whole.head),
        found,
        ids.mailbox_no,
        lambda nos: list(map(ids.mailbox_id, nos)),
    )
