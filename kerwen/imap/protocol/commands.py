"""Every command of a client as a noun, and what else the parser may hand out.

Names of mailboxes are text already; strings of people (names, passwords, flags) are decoded.
Numbers are as the client wrote them: whoever knows the mailbox resolves them.
"""

# RFC 9051 §6 (IMAP4rev2), RFC 3501 (rev1), and the extensions beside each command

from __future__ import annotations

import enum

import msgspec

from kerwen.imap.protocol.sequence import PartialRange, SequenceSet
from kerwen.mail.match import Key
from kerwen.mail.section import Partial, Section


class Item(msgspec.Struct, frozen=True, gc=False):
    """What the parser hands out."""


class Command(Item, frozen=True, gc=False):
    """A command with its tag."""

    tag: bytes


# --- what is no command ------------------------------------------------------------------------


class Continue(Item, frozen=True, gc=False):
    """The client waits for `+` before it sends a literal of `size` bytes."""

    size: int


class Malformed(Item, frozen=True, gc=False):
    """What cannot be a command. `tag` is None where even that was not understood; `code` is a
    response code such as `TOOBIG`; after a `fatal` one nothing can be read any more.
    """

    tag: bytes | None
    text: str
    status: str = "BAD"
    code: bytes = b""
    fatal: bool = False


class Done(Item, frozen=True, gc=False):
    """The end of IDLE; `good` is false where the client said something else than DONE."""

    good: bool = True


class Answer(Item, frozen=True, gc=False):
    """A line of an authentication exchange: its bytes; None: cancelled, or no base64."""

    data: bytes | None
    cancelled: bool = False


# --- in any stage ------------------------------------------------------------------------------


class Capability(Command, frozen=True, gc=False):
    """CAPABILITY."""


class Noop(Command, frozen=True, gc=False):
    """NOOP."""


class Logout(Command, frozen=True, gc=False):
    """LOGOUT."""


class Id(Command, frozen=True, gc=False):
    """ID (RFC 2971); what the client says of itself is not kept."""


# --- before log-in -----------------------------------------------------------------------------


class StartTls(Command, frozen=True, gc=False):
    """STARTTLS."""


class Login(Command, frozen=True, gc=False):
    """LOGIN."""

    user: str
    password: str


class Authenticate(Command, frozen=True, gc=False):
    """AUTHENTICATE, perhaps with its first answer (RFC 4959, SASL-IR)."""

    mechanism: str
    initial: bytes | None


# --- after log-in ------------------------------------------------------------------------------


class Enable(Command, frozen=True, gc=False):
    """ENABLE (RFC 5161)."""

    capabilities: tuple[str, ...]


class Qresync(msgspec.Struct, frozen=True, gc=False):
    """What a client remembers of a mailbox (RFC 7162 §3.2.5)."""

    uidvalidity: int
    modseq: int
    known: SequenceSet | None = None
    pairs: tuple[SequenceSet, SequenceSet] | None = None  # sequence numbers, their UIDs


class Select(Command, frozen=True, gc=False):
    """SELECT and EXAMINE."""

    mailbox: str
    read_only: bool
    condstore: bool = False
    qresync: Qresync | None = None


class Create(Command, frozen=True, gc=False):
    """CREATE, perhaps with special uses (RFC 6154 §3)."""

    mailbox: str
    uses: tuple[str, ...] = ()


class Delete(Command, frozen=True, gc=False):
    """DELETE."""

    mailbox: str


class Rename(Command, frozen=True, gc=False):
    """RENAME."""

    old: str
    new: str


class Subscribe(Command, frozen=True, gc=False):
    """SUBSCRIBE."""

    mailbox: str


class Unsubscribe(Command, frozen=True, gc=False):
    """UNSUBSCRIBE."""

    mailbox: str


class StatusItem(enum.Enum):
    """What STATUS tells."""

    MESSAGES = b"MESSAGES"
    UIDNEXT = b"UIDNEXT"
    UIDVALIDITY = b"UIDVALIDITY"
    UNSEEN = b"UNSEEN"
    DELETED = b"DELETED"
    SIZE = b"SIZE"
    RECENT = b"RECENT"
    HIGHESTMODSEQ = b"HIGHESTMODSEQ"
    APPENDLIMIT = b"APPENDLIMIT"
    MAILBOXID = b"MAILBOXID"
    DELETED_STORAGE = b"DELETED-STORAGE"


class List(Command, frozen=True, gc=False):
    """LIST (RFC 9051 §6.3.9; RFC 5258, 5819, 6154)."""

    reference: str
    patterns: tuple[str, ...]
    is_plain: bool = True  # neither selection options, nor several patterns, nor RETURN
    subscribed: bool = False
    recursive: bool = False
    special_use: bool = False
    return_subscribed: bool = False
    return_children: bool = False
    return_special_use: bool = False
    return_status: tuple[StatusItem, ...] = ()


class Lsub(Command, frozen=True, gc=False):
    """LSUB (rev1)."""

    reference: str
    pattern: str


class Namespace(Command, frozen=True, gc=False):
    """NAMESPACE."""


class Status(Command, frozen=True, gc=False):
    """STATUS."""

    mailbox: str
    items: tuple[StatusItem, ...]


class NewMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of an APPEND. `date_ms` None: now."""

    flags: tuple[str, ...]
    date_ms: int | None
    data: bytes
    utf8: bool = False


class Append(Command, frozen=True, gc=False):
    """APPEND, of one or several messages (RFC 3502)."""

    mailbox: str
    messages: tuple[NewMessage, ...]


class Idle(Command, frozen=True, gc=False):
    """IDLE."""


class GetQuota(Command, frozen=True, gc=False):
    """GETQUOTA (RFC 9208)."""

    root: str


class GetQuotaRoot(Command, frozen=True, gc=False):
    """GETQUOTAROOT."""

    mailbox: str


class SetQuota(Command, frozen=True, gc=False):
    """SETQUOTA, which nobody may."""

    root: str


class GetMetadata(Command, frozen=True, gc=False):
    """GETMETADATA (RFC 5464). The empty mailbox is the server. `depth` -1: infinity."""

    mailbox: str
    entries: tuple[str, ...]
    size_max: int | None = None
    depth: int = 0


class SetMetadata(Command, frozen=True, gc=False):
    """SETMETADATA; None removes an entry."""

    mailbox: str
    entries: tuple[tuple[str, bytes | None], ...]


class Compress(Command, frozen=True, gc=False):
    """COMPRESS (RFC 4978)."""

    algorithm: str


class Event(enum.Enum):
    """What NOTIFY may tell of (RFC 5465 §5)."""

    MESSAGE_NEW = "MESSAGENEW"
    MESSAGE_EXPUNGE = "MESSAGEEXPUNGE"
    FLAG_CHANGE = "FLAGCHANGE"
    ANNOTATION_CHANGE = "ANNOTATIONCHANGE"
    MAILBOX_NAME = "MAILBOXNAME"
    SUBSCRIPTION_CHANGE = "SUBSCRIPTIONCHANGE"
    MAILBOX_METADATA_CHANGE = "MAILBOXMETADATACHANGE"
    SERVER_METADATA_CHANGE = "SERVERMETADATACHANGE"


class Filter(enum.Enum):
    """Which mailboxes an event group is about (RFC 5465 §6)."""

    SELECTED = "SELECTED"
    SELECTED_DELAYED = "SELECTED-DELAYED"
    INBOXES = "INBOXES"
    PERSONAL = "PERSONAL"
    SUBSCRIBED = "SUBSCRIBED"
    SUBTREE = "SUBTREE"
    MAILBOXES = "MAILBOXES"


class EventGroup(msgspec.Struct, frozen=True):
    """Some mailboxes and what to tell of them; `attributes` are of MessageNew."""

    filter: Filter
    mailboxes: tuple[str, ...]
    events: frozenset[Event]
    attributes: tuple[Attribute, ...] = ()


class Notify(Command, frozen=True):
    """NOTIFY; no groups: NONE."""

    groups: tuple[EventGroup, ...]
    status: bool = False


# --- with a mailbox ----------------------------------------------------------------------------


class Close(Command, frozen=True, gc=False):
    """CLOSE."""


class Unselect(Command, frozen=True, gc=False):
    """UNSELECT."""


class Check(Command, frozen=True, gc=False):
    """CHECK (rev1)."""


class Expunge(Command, frozen=True, gc=False):
    """EXPUNGE, and UID EXPUNGE with its UIDs."""

    uids: SequenceSet | None = None


class Kind(enum.IntEnum):
    """What of a message FETCH asks for."""

    UID = 0
    FLAGS = 1
    INTERNALDATE = 2
    SIZE = 3
    MODSEQ = 4
    EMAILID = 5
    THREADID = 6
    SAVEDATE = 7
    ENVELOPE = 8
    BODYSTRUCTURE = 9
    BODY = 10  # the short form of BODYSTRUCTURE
    PREVIEW = 11
    SECTION = 12
    BINARY = 13
    BINARY_SIZE = 14


class Attribute(msgspec.Struct, frozen=True, gc=False):
    """One thing that FETCH asks for; `label` is how the answer names it."""

    kind: Kind
    label: bytes
    section: Section | None = None
    partial: Partial | None = None
    peek: bool = True  # does not set \\Seen


class Fetch(Command, frozen=True, gc=False):
    """FETCH and UID FETCH."""

    numbers: SequenceSet
    attributes: tuple[Attribute, ...]
    uid: bool = False
    changed_since: int | None = None
    vanished: bool = False
    partial: PartialRange | None = None


class StoreMode(enum.Enum):
    """FLAGS, +FLAGS, -FLAGS."""

    SET = ""
    ADD = "+"
    REMOVE = "-"


class Store(Command, frozen=True, gc=False):
    """STORE and UID STORE."""

    numbers: SequenceSet
    mode: StoreMode
    flags: tuple[str, ...]
    silent: bool = False
    uid: bool = False
    unchanged_since: int | None = None


class Copy(Command, frozen=True, gc=False):
    """COPY and UID COPY."""

    numbers: SequenceSet
    mailbox: str
    uid: bool = False


class Move(Command, frozen=True, gc=False):
    """MOVE and UID MOVE."""

    numbers: SequenceSet
    mailbox: str
    uid: bool = False


class Replace(Command, frozen=True, gc=False):
    """REPLACE and UID REPLACE (RFC 8508)."""

    number: int
    mailbox: str
    message: NewMessage
    uid: bool = False


class SetKey(Key, frozen=True, gc=False):
    """A search key of numbers that are not resolved yet."""

    numbers: SequenceSet
    uid: bool


class Returns(msgspec.Struct, frozen=True, gc=False):
    """What a SEARCH or SORT is to return (RFC 4731, 5182, 5267, 9394)."""

    least: bool = False
    most: bool = False
    all: bool = False
    count: bool = False
    save: bool = False
    partial: PartialRange | None = None


class Search(Command, frozen=True):
    """SEARCH and UID SEARCH; `returns` None: the old form of the answer is asked for."""

    key: Key
    returns: Returns | None = None
    uid: bool = False


class SortKey(enum.Enum):
    """What SORT orders by (RFC 5256 §3, RFC 5957)."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    FROM = "FROM"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"


class Sort(Command, frozen=True):
    """SORT and UID SORT; each criterion with whether it is reversed."""

    criteria: tuple[tuple[SortKey, bool], ...]
    key: Key
    returns: Returns | None = None
    uid: bool = False


class Thread(Command, frozen=True):
    """THREAD and UID THREAD."""

    algorithm: str
    key: Key
    uid: bool = False
