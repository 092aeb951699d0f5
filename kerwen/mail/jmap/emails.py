"""What is asked of Emails, and how an Email reads in JSON."""

# RFC 8621 §4.1, §4.2

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from kerwen.base import limits
from kerwen.mail import message
from kerwen.mail.jmap import bodies, headers
from kerwen.mail.jmap.bodies import PartPlan
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.jmap.headers import CONVENIENT, HeaderProperty
from kerwen.mail.message import Part

CLEAR: Final = frozenset(
    {
        "id",
        "blobId",
        "threadId",
        "mailboxIds",
        "keywords",
        "size",
        "receivedAt",
    }
)
"""Properties that no seal is on."""
SEALED: Final = frozenset(("preview", "hasAttachment"))
_BODY: Final = frozenset(
    {
        "bodyStructure",
        "bodyValues",
        "textBody",
        "htmlBody",
        "attachments",
        "headers",
    }
)
KNOWN: Final = CLEAR | SEALED | _BODY | CONVENIENT.keys()
_DEFAULT: Final = (
    *CLEAR,
    *CONVENIENT,
    *("hasAttachment", "preview", "bodyValues", "textBody", "htmlBody", "attachments"),
)
_PARSED: Final = (
    *CONVENIENT,
    *("hasAttachment", "preview", "bodyValues", "textBody", "htmlBody", "attachments"),
)

BlobOf = Callable[[str], str]
"""The blob id of a part, by its part id."""


class Plan(msgspec.Struct, frozen=True):
    """What is wanted of each Email."""

    names: frozenset[str]
    headers: tuple[HeaderProperty, ...]
    parts: PartPlan
    text: bool
    html: bool
    every: bool
    most: int

    @property
    def reads_messages(self) -> bool:
        """Whether messages themselves are read."""
        return not _BODY.isdisjoint(self.names)

    @property
    def reads_more(self) -> bool:
        """Whether preview or hasAttachment is asked for."""
        return not SEALED.isdisjoint(self.names)


def plan(
    properties: Sequence[str] | None,
    body_properties: Sequence[str] | None,
    *,
    text: bool,
    html: bool,
    every: bool,
    most: int,
    parsed: bool = False,
) -> Plan:
    """Raises `MethodError(invalidArguments)` for what is no property."""
    wanted = list(properties) if properties is not None else list(_PARSED if parsed else _DEFAULT)
    names: set[str] = set()
    asked: list[HeaderProperty] = []
    for name in wanted:
        if name.startswith("header:"):
            asked.append(headers.parse_property(name))
        elif name in CONVENIENT:
            asked.append(CONVENIENT[name])
        elif name in KNOWN:
            names.add(name)
        else:
            raise MethodError("invalidArguments", f"properties: {name[:100]} is unknown")
    if not parsed:
        names.add("id")
    return Plan(
        frozenset(names),
        tuple(dict.fromkeys(asked)),
        bodies.plan(body_properties),
        text,
        html,
        every,
        most,
    )


def of_header(asked: Sequence[HeaderProperty], block: bytes) -> dict[str, Any]:
    """The properties that stand for header fields; `block` holds those fields."""
    return of_fields(asked, headers.read(block))


def of_fields(
    asked: Sequence[HeaderProperty],
    values: Mapping[bytes, list[bytes]],
    memory: dict[Any, Any] | None = None,
) -> dict[str, Any]:
    """The same of fields that were read; not for the raw form. `memory`: of what was read of the
    Emails before: who writes, writes again."""
    if memory is None:
        return {one.key: headers.value_of(values, one) for one in asked}
    found: dict[str, Any] = {}
    for one in asked:
        mark = (one.form, one.all, *values.get(one.name, ()))
        if mark not in memory:
            memory[mark] = headers.value_of(values, one)
        found[one.key] = memory[mark]
    return found


class Budget:
    """How many bytes of body values one answer may still hold."""

    __slots__ = ("_most", "left")

    def __init__(self, most: int = limits.JMAP_BODY_BYTES_MAX) -> None:
        self._most = most
        self.left = most

    @property
    def spent(self) -> int:
        """How many it holds."""
        return self._most - self.left


def of_message(
    wanted: Plan, raw: bytes, blob_of: BlobOf, budget: Budget, root: Part | None = None
) -> dict[str, Any]:
    """The properties for which a message itself is read."""
    root = root or message.scan(raw)
    names = wanted.names
    found: dict[str, Any] = {}
    if wanted.headers:
        found.update(of_header(wanted.headers, raw[root.start : root.body]))
    if "headers" in names:
        found["headers"] = headers.listed(raw[root.start : root.body])
    whole = bodies.tree(root)
    teller = bodies.Teller(raw, wanted.parts, blob_of)
    if "bodyStructure" in names:
        found["bodyStructure"] = teller.tell(whole, below=True)
    sorted_ = bodies.shown(whole)
    for name, leaves in (
        ("textBody", sorted_.text),
        ("htmlBody", sorted_.html),
        ("attachments", sorted_.files),
    ):
        if name in names:
            found[name] = [teller.tell(leaf) for leaf in leaves]
    if "bodyValues" in names:
        found["bodyValues"] = _values(wanted, raw, whole, sorted_, budget)
    return found


def _values(
    wanted: Plan, raw: bytes, whole: bodies.Leaf, sorted_: bodies.Shown, budget: Budget
) -> dict[str, Any]:
    leaves: list[bodies.Leaf] = []
    if wanted.every:
        leaves = whole.walk()
    else:
        leaves += sorted_.text if wanted.text else ()
        leaves += sorted_.html if wanted.html else ()
    found: dict[str, Any] = {}
    for leaf in leaves:
        if leaf.part.type.type != "text" or leaf.id is None or leaf.id in found:
            continue
        room = max(budget.left, 1)
        most = min(wanted.most, room) if wanted.most else room
        told = found[leaf.id] = bodies.value(raw, leaf.part, most)
        budget.left -= len(told["value"])
    return found
