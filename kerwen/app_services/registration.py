"""Registrations of application services, and what belongs to whom by them.

The operator writes the files; whatever is wrong with one is said in one line (`ValueError`).
Patterns are matched from the start of an id, as other servers do. They are the operator's, but
the ids they meet are anybody's: so a pattern that could take for ever is refused.
"""

# AS #registration

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

PATTERN_MAX: Final = 1_000
NAMESPACES_MAX: Final = 200
ID_MAX: Final = 255
REPEATS_MAX: Final = 3  # stretches of any length in one pattern: 255 letters cost 255³/6 at most
_KEPT_MAX: Final = 20_000  # ids whose answer is remembered
_LOCALPART: Final = re.compile(r"[a-z0-9._=/+-]{1,255}", re.ASCII)
_ID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")


class Namespace(msgspec.Struct, frozen=True):
    """Ids that a pattern covers; `exclusive`: for this service alone."""

    regex: str
    exclusive: bool


class Namespaces(msgspec.Struct, frozen=True):
    """What a service is interested in."""

    users: list[Namespace] | None = None
    aliases: list[Namespace] | None = None
    rooms: list[Namespace] | None = None


class _File(msgspec.Struct, frozen=True):
    """A registration as it is written; other keys are other servers' affair."""

    id: str
    url: str | None
    as_token: str
    hs_token: str
    sender_localpart: str
    namespaces: Namespaces
    rate_limited: bool = True
    protocols: list[str] | None = None
    receive_ephemeral: bool | None = None
    ephemeral_of_old: bool = msgspec.field(default=False, name="de.sorunome.msc2409.push_ephemeral")
    encryption: bool = msgspec.field(default=False, name="org.matrix.msc3202")


class Patterns:
    """The namespaces of one kind of id."""

    def __init__(self, namespaces: Sequence[Namespace]) -> None:
        self._patterns = [(compiled(n.regex).match, n.exclusive) for n in namespaces]
        self._kept: dict[str, tuple[bool, bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def covers(self, name: str) -> bool:
        """Whether an id is in any namespace."""
        return self._look(name)[0]

    def claims(self, name: str) -> bool:
        """Whether an id is in an exclusive one."""
        return self._look(name)[1]

    def _look(self, name: str) -> tuple[bool, bool]:
        found = self._kept.get(name)
        if found is None:
            exclusive = [own for match, own in self._patterns if match(name[:ID_MAX])]
            found = bool(exclusive), any(exclusive)
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            self._kept[name] = found
        return found


class Service:
    """One application service."""

    def __init__(self, file: _File, domain: str) -> None:
        self.id = file.id
        self.url = file.url.rstrip("/") if file.url else None
        self.token_hash = _hash(file.as_token)
        self.hs_token = file.hs_token
        self.sender_localpart = file.sender_localpart
        self.sender = f"@{file.sender_localpart}:{domain}"
        self.rate_limited = file.rate_limited
        self.protocols = tuple(dict.fromkeys(file.protocols or ()))
        self.ephemeral = (
            file.ephemeral_of_old if file.receive_ephemeral is None else file.receive_ephemeral
        )
        self.encryption = file.encryption
        self.users = Patterns(file.namespaces.users or ())
        self.aliases = Patterns(file.namespaces.aliases or ())
        self.rooms = Patterns(file.namespaces.rooms or ())
        self._ours = ":" + domain

    def __repr__(self) -> str:
        return f"<application service {self.id}>"

    def has_user(self, user_id: str) -> bool:
        """Whether a user is its own: its sender, or one of ours in its namespaces."""
        if user_id == self.sender:
            return True
        return user_id.endswith(self._ours) and self.users.covers(user_id)

    def claims_user(self, user_id: str) -> bool:
        """Whether nobody else may have this user id."""
        return user_id == self.sender or self.users.claims(user_id)


class Services:
    """All application services of the house."""

    def __init__(self, services: Iterable[Service] = ()) -> None:
        self.all = tuple(services)
        self._by_token = {service.token_hash: service for service in self.all}
        self._by_id = {service.id: service for service in self.all}

    def __bool__(self) -> bool:
        return bool(self.all)

    def by_token(self, token: str) -> Service | None:
        """The service that an `as_token` stands for."""
        return self._by_token.get(_hash(token)) if self._by_token else None

    def by_id(self, service_id: str) -> Service | None:
        """A service by its id."""
        return self._by_id.get(service_id)

    def user_is_claimed(self, user_id: str, besides: Service | None = None) -> bool:
        """Whether a user id is exclusively another service's."""
        return any(s.claims_user(user_id) for s in self.all if s is not besides)

    def alias_is_claimed(self, alias: str, besides: Service | None = None) -> bool:
        """Whether an alias is exclusively another service's."""
        return any(s.aliases.claims(alias) for s in self.all if s is not besides)

    def of_user(self, user_id: str) -> list[Service]:
        """Services whose user somebody is."""
        return [service for service in self.all if service.has_user(user_id)]


def service_of(data: object, domain: str) -> Service:
    """A registration that was read from YAML. `ValueError` says what is wrong with it."""
    if not isinstance(data, dict):
        raise ValueError("a registration is a mapping of keys")
    try:
        file = msgspec.convert(data, _File)
    except msgspec.ValidationError as error:
        raise ValueError(str(error).replace("`$`", "the registration")) from None
    if not _ID.fullmatch(file.id):
        raise ValueError(f"id has 1 to {ID_MAX} printable characters")
    if file.url and not re.match(r"https?://[^/\s]", file.url):
        raise ValueError(f"url {file.url!r} is no URL of HTTP (null, if nothing is to be sent)")
    for name, token in (("as_token", file.as_token), ("hs_token", file.hs_token)):
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError(f"{name} is empty or holds more than printable ASCII")
    if file.as_token == file.hs_token:
        raise ValueError("as_token and hs_token must be two secrets, not one")
    if not _LOCALPART.fullmatch(file.sender_localpart):
        raise ValueError(f"sender_localpart {file.sender_localpart!r} is no localpart")
    spaces = file.namespaces
    if sum(len(kind or ()) for kind in (spaces.users, spaces.aliases, spaces.rooms)) > (
        NAMESPACES_MAX
    ):
        raise ValueError(f"at most {NAMESPACES_MAX} namespaces")
    return Service(file, domain)


def check_together(services: Sequence[tuple[str, Service]]) -> None:
    """AS #registration: ids and tokens are unique. (file, service); `ValueError`."""
    for what in ("id", "token_hash", "sender"):
        seen: dict[Any, str] = {}
        for file, service in services:
            value = getattr(service, what)
            other = seen.setdefault(value, file)
            if other != file:
                shown = {"token_hash": "as_token", "sender": "sender_localpart"}.get(what, what)
                raise ValueError(f"{file}: {shown} is the same as in {other}")


def service_localpart(text: str) -> str:
    """The localpart of a service's user; `ValueError` for what no user id may hold."""
    if not _LOCALPART.fullmatch(text):
        raise ValueError("a localpart is made of a-z, 0-9 and . _ = / + -")
    return text


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, if it is one, and if no id can make it take for ever. `ValueError`."""
    if len(pattern) > PATTERN_MAX:
        raise ValueError(f"a regex may have {PATTERN_MAX} characters")
    try:
        made = re.compile(pattern)
        tree = _parser().parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"regex {pattern!r}: {error}") from None
    if _repeats(tree, pattern) > REPEATS_MAX:
        raise ValueError(
            f"regex {pattern!r}: more than {REPEATS_MAX} parts of any length (`.*`) can take for"
            " ever"
        )
    return made


def _parser() -> Any:
    return re._parser  # type: ignore[attr-defined]  # the tree that the compiler itself uses


def _repeats(tree: Any, pattern: str) -> int:
    """How many parts of any length a pattern has; refuses those within each other.

    A part of few alternatives counts as of any length too: `(a?){40}` is no better than `(a*)*`.
    """
    count = 0
    for op, value in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            within = _repeats(inner, pattern)
            if int(high) > 1 and (within or _ambiguous(inner)):
                raise ValueError(
                    f"regex {pattern!r}: a repetition or a choice within a repetition can take"
                    " for ever"
                )
            count += within + (low != high and int(high) > 1)
        elif name == "SUBPATTERN":
            count += _repeats(value[3], pattern)
        elif name == "BRANCH":
            count += max((_repeats(branch, pattern) for branch in value[1]), default=0)
        elif name in ("ASSERT", "ASSERT_NOT"):
            count += _repeats(value[1], pattern)
        elif name == "ATOMIC_GROUP":
            count += _repeats(value, pattern)
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError(f"regex {pattern!r}: it looks back at a group")
    return count


def _ambiguous(tree: Any) -> bool:
    """Whether a repeated part may match the same text in more than one way."""
    low, high = tree.getwidth()
    return low != high or "BRANCH" in str(tree)


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()
