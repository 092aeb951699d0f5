"""Which messages belong together: message ids, base subjects, and IMAP's THREAD.

The store gives a message the thread of any message it names; `thread_ids` tells the names.
"""

# RFC 5256 §2.1, §3; RFC 8621 §3; RFC 5322 §3.6.4

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import fields
from kerwen.mail.fields import Fields

_ID: Final = re.compile(rb"<\s*([^<>]{1,998}?)\s*>")
_SPACE: Final = re.compile(rb"\s+")

# RFC 5256 §5: subj-fwd-hdr, subj-blob, subj-refwd; and what Russian and other mailers write
_BLOB: Final = re.compile(r"\[[^\[\]]*+\]\s*")
_REPLY: Final = re.compile(
    r"(?:re|fw|fwd|aw|wg|sv|vs|rv|tr|antw|ynt|jog|odp|на|отв|ответ|пересл|перес)"
    r"\s*(?:\[[^\[\]]*+\])?(?:\(\d+\))?\s*:\s*",
    re.IGNORECASE,
)
_FORWARDED: Final = "(fwd)"
_SUBJECT_MAX: Final = 2_000
_DEPTH_MAX: Final = 1_000


def ids(value: bytes) -> list[bytes]:
    """The message ids of a field, without their brackets."""
    found = [_SPACE.sub(b"", match) for match in _ID.findall(value)]
    return found[-limits.REFERENCES_MAX :]


def message_id(header: Fields) -> bytes | None:
    """A message's own id without brackets; None if it has none. Without brackets it counts too."""
    value = fields.first(header, b"message-id")
    if not value:
        return None
    found = ids(value)
    return found[0] if found else _SPACE.sub(b"", value)[:998]


def references(header: Fields) -> list[bytes]:
    """The messages that this one follows, eldest first, each once."""
    found: dict[bytes, None] = {}
    for name in (b"references", b"in-reply-to"):
        for value in header.get(name, ()):
            found.update(dict.fromkeys(ids(value)))
    return list(found)[-limits.REFERENCES_MAX :]


def base_of(subject: str) -> tuple[str, bool]:
    """The base subject of a subject's text, and whether the message is a reply or forwarded one.

    # RFC 5256 §2.1
    """
    text = " ".join(subject[:_SUBJECT_MAX].split())
    reply = False
    while True:
        before = text
        while text[-5:].lower() == _FORWARDED:  # subj-trailer
            text, reply = text[:-5].rstrip(), True
        text, cut = _without_leaders(text)
        reply = reply or cut
        # subj-fwd: [fwd: … ]
        if text[:5].lower() == "[fwd:" and text.endswith("]"):
            text, reply = text[5:-1].strip(), True
        if text == before:
            return text, reply


def _without_leaders(text: str) -> tuple[str, bool]:
    reply = False
    at = 0
    while True:
        blob = at
        while (match := _BLOB.match(text, blob)) is not None:
            blob = match.end()
        match = _REPLY.match(text, blob)
        if match is not None:
            at, reply = match.end(), True
            continue
        # a blob goes only if something stays behind it
        match = _BLOB.match(text, at)
        if match is None or match.end() >= len(text):
            return text[at:], reply
        at = match.end()


# --- THREAD=REFERENCES, THREAD=ORDEREDSUBJECT ---------------------------------------------------


class Threaded(msgspec.Struct, frozen=True, gc=False):
    """What the algorithms need of a message. `number` is its UID or sequence number."""

    number: int
    date: int  # ms; where there is no Date, when it came
    id: bytes | None
    references: tuple[bytes, ...]
    subject: str  # the base subject
    is_reply: bool


class Node(msgspec.Struct):
    """A message in a thread; `number` is None where a named message is not there."""

    number: int | None
    date: int
    subject: str
    is_reply: bool
    children: list[Node]


class _Link:
    """A node while the tree grows."""

    __slots__ = ("children", "message", "parent")

    def __init__(self) -> None:
        self.message: Threaded | None = None
        self.parent: _Link | None = None
        self.children: list[_Link] = []


def by_references(messages: Iterable[Threaded]) -> list[Node]:
    """The threads of these messages, eldest first.

    # RFC 5256 §3, REFERENCES
    """
    links: dict[bytes, _Link] = {}
    loose: list[_Link] = []
    for message in messages:
        _link(message, links, loose)
    roots = [link for link in (*links.values(), *loose) if link.parent is None]
    nodes = [node for root in roots for node in _pruned(root)]
    nodes = _joined_by_subject(sorted(nodes, key=_order))
    for node in nodes:
        _sort_below(node)
    return sorted(nodes, key=_order)


def _link(message: Threaded, links: dict[bytes, _Link], loose: list[_Link]) -> None:
    """Step 1: the message and what it names, each below the one before."""
    own = links.setdefault(message.id, _Link()) if message.id else _Link()
    if own.message is not None:  # two messages with one id: the second has none
        own = _Link()
    if not message.id or links.get(message.id) is not own:
        loose.append(own)
    own.message = message
    above: _Link | None = None
    for reference in message.references:
        if reference == message.id:
            continue
        link = links.setdefault(reference, _Link())
        if above is not None and link.parent is None and not _is_above(link, above):
            _hang(link, above)
        above = link
    if own.parent is not None:
        own.parent.children.remove(own)
        own.parent = None
    if above is not None and not _is_above(own, above):
        _hang(own, above)


def _hang(link: _Link, above: _Link) -> None:
    link.parent = above
    above.children.append(link)


def _is_above(upper: _Link, lower: _Link) -> bool:
    """Whether `lower` is `upper` or hangs below it: joining them would make a ring.

    Below `_DEPTH_MAX` it says so as well, which bounds the work and the depth of a thread.
    """
    if lower is upper:
        return True
    if not upper.children:
        return False
    link: _Link | None = lower
    for _ in range(_DEPTH_MAX):
        if link is None:
            return False
        if link is upper:
            return True
        link = link.parent
    return True


def _pruned(root: _Link) -> list[Node]:
    """Step 3: without empty places; their children rise, but not to the top as several.

    Written with a stack of its own: a thread may be deeper than Python's.
    """
    order: list[_Link] = []
    stack = [root]
    while stack:
        link = stack.pop()
        order.append(link)
        stack.extend(link.children)
    made: dict[int, list[Node]] = {}
    for link in reversed(order):
        below = [node for child in link.children for node in made.pop(id(child))]
        message = link.message
        if message is not None:
            made[id(link)] = [
                Node(message.number, message.date, message.subject, message.is_reply, below)
            ]
        elif link is root and len(below) > 1:
            eldest = min(below, key=_order)
            made[id(link)] = [Node(None, eldest.date, eldest.subject, eldest.is_reply, below)]
        else:
            made[id(link)] = below
    return made[id(root)]


def _order(node: Node) -> tuple[int, int]:
    return node.date, node.number or 0


def _joined_by_subject(roots: list[Node]) -> list[Node]:
    """Step 5: threads of one subject become one."""
    table: dict[str, Node] = {}
    for node in roots:
        if not node.subject:
            continue
        known = table.get(node.subject)
        if (
            known is None
            or (node.number is None and known.number is not None)
            or (known.number is not None and known.is_reply and not node.is_reply)
        ):
            table[node.subject] = node
    left: list[Node] = []
    for node in roots:
        known = table.get(node.subject) if node.subject else None
        if known is None or known is node:
            left.append(node)
        else:
            _join(node, known)
    return left


def _join(node: Node, known: Node) -> None:
    if known.number is None and node.number is None:
        known.children += node.children
    elif known.number is None or (node.is_reply and not known.is_reply):
        known.children.append(node)
    else:
        # siblings under an empty place, which stands where the known one stood
        first = Node(known.number, known.date, known.subject, known.is_reply, list(known.children))
        known.children = [first, node]
        known.number = None
        known.date = min(known.date, node.date)


def _sort_below(root: Node) -> None:
    stack = [root]
    while stack:
        node = stack.pop()
        node.children.sort(key=_order)
        stack.extend(node.children)


def by_subject(messages: Iterable[Threaded]) -> list[Node]:
    """Threads of equal base subjects: the eldest, and all others as its children.

    # RFC 5256 §3, ORDEREDSUBJECT
    """
    threads: dict[str, Node] = {}
    for message in sorted(messages, key=lambda m: (m.date, m.number)):
        node = Node(message.number, message.date, message.subject, message.is_reply, [])
        known = threads.get(message.subject)
        if known is None:
            threads[message.subject] = node
        else:
            known.children.append(node)
    return sorted(threads.values(), key=_order)


def render(roots: Sequence[Node]) -> bytes:
    """The thread-list of a THREAD answer: `(2)(3 6 (4 23)(44 7 96))`.

    # RFC 5256 §4
    """
    pieces: list[bytes] = []
    stack: list[Node | bytes] = []
    for root in reversed(roots):
        stack += [b")", root, b"("]
    while stack:
        item = stack.pop()
        if isinstance(item, bytes):
            pieces.append(item)
            continue
        if item.number is not None:
            pieces.append(b"%d" % item.number)
        if len(item.children) == 1 and item.number is not None:
            pieces.append(b" ")
            stack.append(item.children[0])
        elif item.children:
            if item.number is not None:
                pieces.append(b" ")
            for child in reversed(item.children):
                stack += [b")", child, b"("]
    return b"".join(pieces)
