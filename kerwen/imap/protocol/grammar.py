"""The command of a tag: from text and literals to a noun. Each function is named like its rule.

This file has the table and the commands about the connection and about mailboxes; those about
messages stand in `message_grammar.py`, searches in `search_grammar.py`.
"""

# RFC 9051 §9

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.cursor import Bad, Cursor
from kerwen.imap.protocol.message_grammar import MESSAGE_RULES, fetch_att
from kerwen.imap.protocol.search_grammar import SEARCH_RULES
from kerwen.imap.protocol.sequence import SequenceSet

Rule = Callable[[Cursor, bytes], c.Command]


def command(cursor: Cursor, tag: bytes) -> c.Command:
    """The command that stands here. Raises `Bad`."""
    name = cursor.word()
    rule = RULES.get(name)
    if rule is None:
        raise Bad(f"Unknown command {name[:40]}")
    found = rule(cursor, tag)
    cursor.done()
    return found


# --- in any stage ------------------------------------------------------------------------------


def _bare(kind: type[c.Command]) -> Rule:
    """A command that is one word."""
    return lambda cursor, tag: kind(tag)


def id_(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 2971 §3.3: id-params-list. It is read and dropped."""
    cursor.sp()
    if cursor.sees(b"("):
        cursor.open()
        count = 0
        while not cursor.takes(b")"):
            if count:
                cursor.sp()
            cursor.nstring()
            count += 1
            if count > limits.IMAP_ITEMS_MAX:
                raise Bad("Too many fields")
    elif cursor.nstring() is not None:
        raise Bad("A list or NIL is missing")
    return c.Id(tag)


# --- before log-in -----------------------------------------------------------------------------


def login(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.2.3."""
    cursor.sp()
    user = cursor.text_of(cursor.astring())
    cursor.sp()
    return c.Login(tag, user, cursor.text_of(cursor.astring()))


def authenticate(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.2.2, RFC 4959 §3."""
    cursor.sp()
    mechanism = cursor.word()
    initial = None
    if cursor.takes(b" "):
        rest = cursor.text[cursor.at :]
        cursor.at = len(cursor.text)
        initial = b"" if rest == b"=" else decoded(rest)
        if initial is None:
            raise Bad("The initial response is not base64")
    return c.Authenticate(tag, mechanism, initial)


def decoded(line: bytes) -> bytes | None:
    """Base64 as SASL has it; None if it is none."""
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return None


# --- after log-in ------------------------------------------------------------------------------


def enable(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.1."""
    found: list[str] = []
    while cursor.takes(b" "):
        found.append(cursor.word())
        if len(found) > limits.IMAP_ITEMS_MAX:
            raise Bad("Too many capabilities")
    if not found:
        raise Bad("A capability is missing")
    return c.Enable(tag, tuple(found))


def select(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.2."""
    return _select(cursor, tag, read_only=False)


def examine(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.3."""
    return _select(cursor, tag, read_only=True)


def _select(cursor: Cursor, tag: bytes, *, read_only: bool) -> c.Command:
    cursor.sp()
    name = cursor.mailbox()
    condstore, qresync = False, None
    if cursor.takes(b" "):
        for option in cursor.listed(lambda: select_param(cursor)):
            condstore = True
            qresync = option or qresync
    return c.Select(tag, name, read_only, condstore, qresync)


def select_param(cursor: Cursor) -> c.Qresync | None:
    """CONDSTORE (None) or QRESYNC.  # RFC 7162 §7"""
    name = cursor.word()
    if name == "CONDSTORE":
        return None
    if name != "QRESYNC":
        raise Bad(f"Unknown parameter {name[:40]}")
    cursor.sp()
    cursor.open()
    uidvalidity = cursor.number()
    cursor.sp()
    modseq = cursor.number64()
    known = pairs = None
    if cursor.takes(b" ") and not cursor.sees(b"("):
        known = cursor.sequence_set()
        if cursor.takes(b" "):
            pairs = _seq_match_data(cursor)
    elif cursor.sees(b"("):
        pairs = _seq_match_data(cursor)
    cursor.close()
    return c.Qresync(uidvalidity, modseq, known, pairs)


def _seq_match_data(cursor: Cursor) -> tuple[SequenceSet, SequenceSet]:
    cursor.open()
    numbers = cursor.sequence_set()
    cursor.sp()
    uids = cursor.sequence_set()
    cursor.close()
    return numbers, uids


def create(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.4; RFC 6154 §3: `CREATE name (USE (\\Drafts))`."""
    cursor.sp()
    name = cursor.mailbox()
    uses: tuple[str, ...] = ()
    if cursor.takes(b" "):
        cursor.open()
        if cursor.word() != "USE":
            raise Bad("Unknown parameter")
        cursor.sp()
        uses = cursor.flag_list()
        cursor.close()
    return c.Create(tag, name, uses)


def _named(kind: type[c.Delete] | type[c.Subscribe] | type[c.Unsubscribe]) -> Rule:
    """A command with one mailbox name."""

    def rule(cursor: Cursor, tag: bytes) -> c.Command:
        cursor.sp()
        return kind(tag, cursor.mailbox())

    return rule


def rename(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.6."""
    cursor.sp()
    old = cursor.mailbox()
    cursor.sp()
    return c.Rename(tag, old, cursor.mailbox())


# --- LIST, STATUS ------------------------------------------------------------------------------


def list_(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.9, §6.3.9.1, §6.3.9.2."""
    cursor.sp()
    selected: tuple[str, ...] = ()
    plain = True
    if cursor.sees(b"("):
        selected = cursor.listed(cursor.word, empty=True)
        plain = False
        cursor.sp()
    reference = cursor.mailbox()
    cursor.sp()
    if cursor.sees(b"("):
        patterns = cursor.listed(cursor.list_mailbox)
        plain = False
    else:
        patterns = (cursor.list_mailbox(),)
    returned: dict[str, tuple[c.StatusItem, ...]] = {}
    if cursor.takes(b" "):
        if cursor.word() != "RETURN":
            raise Bad("RETURN is missing")
        cursor.sp()
        returned = dict(cursor.listed(lambda: return_option(cursor), empty=True))
        plain = False
    return _checked_list(tag, reference, patterns, selected, returned, plain)


def _checked_list(
    tag: bytes,
    reference: str,
    patterns: tuple[str, ...],
    selected: tuple[str, ...],
    returned: dict[str, tuple[c.StatusItem, ...]],
    plain: bool,
) -> c.List:
    unknown = set(selected) - {"SUBSCRIBED", "RECURSIVEMATCH", "SPECIAL-USE", "REMOTE"}
    unknown |= set(returned) - {"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS"}
    if unknown:
        raise Bad(f"Unknown option {min(unknown)[:40]}")
    if "RECURSIVEMATCH" in selected and not {"SUBSCRIBED", "SPECIAL-USE"} & set(selected):
        raise Bad("RECURSIVEMATCH goes with another option only")  # RFC 9051 §6.3.9.1
    return c.List(
        tag,
        reference,
        patterns,
        plain,
        subscribed="SUBSCRIBED" in selected,
        recursive="RECURSIVEMATCH" in selected,
        special_use="SPECIAL-USE" in selected,
        return_subscribed="SUBSCRIBED" in returned,
        return_children="CHILDREN" in returned,
        return_special_use="SPECIAL-USE" in returned,
        return_status=returned.get("STATUS", ()),
    )


def return_option(cursor: Cursor) -> tuple[str, tuple[c.StatusItem, ...]]:
    """A return option of LIST; STATUS has items."""
    name = cursor.word()
    if name != "STATUS":
        return name, ()
    cursor.sp()
    return name, cursor.listed(lambda: status_att(cursor))


def lsub(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 3501 §6.3.9."""
    cursor.sp()
    reference = cursor.mailbox()
    cursor.sp()
    return c.Lsub(tag, reference, cursor.list_mailbox())


def status(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.3.11."""
    cursor.sp()
    name = cursor.mailbox()
    cursor.sp()
    return c.Status(tag, name, cursor.listed(lambda: status_att(cursor)))


def status_att(cursor: Cursor) -> c.StatusItem:
    """status-att."""
    name = cursor.word()
    try:
        return c.StatusItem(name.encode())
    except ValueError:
        raise Bad(f"Unknown item {name[:40]}") from None


# --- QUOTA, METADATA, COMPRESS -----------------------------------------------------------------


def getquota(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9208 §4.1.1."""
    cursor.sp()
    return c.GetQuota(tag, cursor.text_of(cursor.astring()))


def getquotaroot(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9208 §4.1.2."""
    cursor.sp()
    return c.GetQuotaRoot(tag, cursor.mailbox())


def setquota(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9208 §4.1.3; what is wanted does not matter, since nobody may."""
    cursor.sp()
    root = cursor.text_of(cursor.astring())
    cursor.at = len(cursor.text)
    return c.SetQuota(tag, root)


def getmetadata(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 5464 §4.2; options stand before the mailbox, and some write them behind it."""
    cursor.sp()
    options: dict[str, int] = {}
    if cursor.sees(b"("):
        options |= cursor.listed(lambda: getmetadata_option(cursor), empty=True)
        cursor.sp()
    name = cursor.mailbox()
    cursor.sp()
    if cursor.sees(b"(") and not cursor.sees(b"(/"):
        options |= cursor.listed(lambda: getmetadata_option(cursor), empty=True)
        cursor.sp()
    one = not cursor.sees(b"(")
    entries = (entry(cursor),) if one else cursor.listed(lambda: entry(cursor))
    return c.GetMetadata(tag, name, entries, options.get("MAXSIZE"), options.get("DEPTH", 0))


def getmetadata_option(cursor: Cursor) -> tuple[str, int]:
    """MAXSIZE n, or DEPTH 0, 1 or infinity (-1)."""
    name = cursor.word()
    cursor.sp()
    if name == "MAXSIZE":
        return name, cursor.number()
    if name == "DEPTH":
        depth = {"0": 0, "1": 1, "INFINITY": -1}.get(cursor.word())
        if depth is not None:
            return name, depth
    raise Bad("Unknown option of GETMETADATA")


def entry(cursor: Cursor) -> str:
    """entry: its name in small letters.  # RFC 5464 §5"""
    name = cursor.text_of(cursor.astring()).lower()
    if not name.isascii() or not name.startswith("/") or set("*%") & set(name):
        raise Bad("This is no name of an entry")
    return name


def setmetadata(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 5464 §4.3."""
    cursor.sp()
    name = cursor.mailbox()
    cursor.sp()

    def entry_value() -> tuple[str, bytes | None]:
        named = entry(cursor)
        cursor.sp()
        return named, cursor.nstring()

    return c.SetMetadata(tag, name, cursor.listed(entry_value))


def compress(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 4978 §3."""
    cursor.sp()
    return c.Compress(tag, cursor.word())


# --- NOTIFY ------------------------------------------------------------------------------------


def notify(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 5465 §8."""
    cursor.sp()
    what = cursor.word()
    if what == "NONE":
        return c.Notify(tag, ())
    if what != "SET":
        raise Bad("SET or NONE is missing")
    cursor.sp()
    with_status = not cursor.sees(b"(")
    if with_status:
        if cursor.word() != "STATUS":
            raise Bad("STATUS is missing")
        cursor.sp()
    groups = [event_group(cursor)]
    while cursor.takes(b" "):
        groups.append(event_group(cursor))
        if len(groups) > limits.IMAP_ITEMS_MAX:
            raise Bad("Too many groups")
    return c.Notify(tag, tuple(groups), with_status)


def event_group(cursor: Cursor) -> c.EventGroup:
    """event-group: mailboxes and their events."""
    cursor.open()
    try:
        which = c.Filter(cursor.word())
    except ValueError:
        raise Bad("These are no mailboxes") from None
    names: tuple[str, ...] = ()
    cursor.sp()
    if which in (c.Filter.SUBTREE, c.Filter.MAILBOXES):
        names = cursor.listed(cursor.mailbox) if cursor.sees(b"(") else (cursor.mailbox(),)
        cursor.sp()
    events: dict[c.Event, tuple[c.Attribute, ...]] = {}
    if cursor.sees(b"("):
        cursor.open()
        while True:
            found, attributes = event(cursor)
            events[found] = attributes
            if cursor.takes(b")"):
                break
            cursor.sp()
    elif cursor.word() != "NONE":
        raise Bad("Events or NONE are missing")
    cursor.close()
    return c.EventGroup(which, names, frozenset(events), events.get(c.Event.MESSAGE_NEW, ()))


def event(cursor: Cursor) -> tuple[c.Event, tuple[c.Attribute, ...]]:
    """event; MessageNew may say what to fetch."""
    try:
        found = c.Event(cursor.word())
    except ValueError:
        raise Bad("Unknown event") from None
    if found is c.Event.MESSAGE_NEW and cursor.sees(b" ("):
        cursor.sp()
        return found, cursor.listed(lambda: fetch_att(cursor))
    return found, ()


# --- messages by number or by UID --------------------------------------------------------------

_OF_MESSAGES: Final = {**MESSAGE_RULES, **SEARCH_RULES}


def _numbered(name: str) -> Rule:
    rule = _OF_MESSAGES[name]
    return lambda cursor, tag: rule(cursor, tag, False)


def uid(cursor: Cursor, tag: bytes) -> c.Command:
    """RFC 9051 §6.4.9: the same commands with UIDs."""
    cursor.sp()
    name = cursor.word()
    rule = _OF_MESSAGES.get(name)
    if rule is None:
        raise Bad(f"Unknown command UID {name[:40]}")
    return rule(cursor, tag, True)


RULES: Final[dict[str, Rule]] = {
    "CAPABILITY": _bare(c.Capability),
    "NOOP": _bare(c.Noop),
    "LOGOUT": _bare(c.Logout),
    "ID": id_,
    "STARTTLS": _bare(c.StartTls),
    "LOGIN": login,
    "AUTHENTICATE": authenticate,
    "ENABLE": enable,
    "SELECT": select,
    "EXAMINE": examine,
    "CREATE": create,
    "DELETE": _named(c.Delete),
    "RENAME": rename,
    "SUBSCRIBE": _named(c.Subscribe),
    "UNSUBSCRIBE": _named(c.Unsubscribe),
    "LIST": list_,
    "LSUB": lsub,
    "NAMESPACE": _bare(c.Namespace),
    "STATUS": status,
    "IDLE": _bare(c.Idle),
    "GETQUOTA": getquota,
    "GETQUOTAROOT": getquotaroot,
    "SETQUOTA": setquota,
    "GETMETADATA": getmetadata,
    "SETMETADATA": setmetadata,
    "COMPRESS": compress,
    "NOTIFY": notify,
    "CLOSE": _bare(c.Close),
    "UNSELECT": _bare(c.Unselect),
    "CHECK": _bare(c.Check),
    "UID": uid,
    **{name: _numbered(name) for name in _OF_MESSAGES},
}
