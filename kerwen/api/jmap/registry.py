"""Which methods there are, by capability; and what runs a request's calls one after another."""

# RFC 8620 §2, §3

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kerwen.api.jmap.deeds import Deeds
from kerwen.api.jmap.sessions import Entry
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail.actions.account_views import AccountView
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.emails import Budget
from kerwen.mail.jmap.errors import MethodError, SetError
from kerwen.mail.jmap.requests import Batch

log = logging.getLogger("kerwen.jmap")

CORE: Final = "urn:ietf:params:jmap:core"
_READS: Final = frozenset(("get", "query"))
_READ_MAX: Final = 256 * limits.MIB  # of messages, by one request


class Work:
    """One request: who asks, and what it has used up."""

    __slots__ = ("_whole", "after", "batch", "budget", "deeds", "entry", "read_left", "reads")

    def __init__(self, deeds: Deeds, entry: Entry, batch: Batch) -> None:
        self.deeds = deeds
        self.entry = entry
        self.batch = batch
        self.budget = Budget()
        self.read_left = _READ_MAX
        self.reads = False
        """Whether the method that runs only reads."""
        self._whole: AccountView | None = None
        self.after: list[tuple[str, dict[str, Any]]] = []
        """Responses that follow the method's own (RFC 8621 §7.5)."""

    @property
    def account_no(self) -> int:
        """Whose mail it is."""
        return self.entry.account_no

    @property
    def account_id(self) -> str:
        """Its JMAP id."""
        return self.entry.account_id

    @property
    def unlocked(self) -> Unlocked:
        """The open vault."""
        return self.entry.signed.unlocked

    async def whole(self) -> AccountView:
        """All mailboxes as they are now; methods that only read, one after another, see them as
        of one moment."""
        if not self.reads:
            self._whole = None
            return await self.deeds.account_views.current(self.account_no)
        if self._whole is None:
            self._whole = await self.deeds.account_views.current(self.account_no)
        return self._whole

    def begin(self, name: str) -> None:
        """A method begins."""
        self.reads = name.rpartition("/")[2] in _READS
        if not self.reads:
            self._whole = None

    def spend(self, size: int) -> None:
        """So many bytes of messages are read. Says `requestTooLarge`."""
        self.read_left -= size
        if self.read_left < 0:
            raise MethodError("requestTooLarge", "Too much is read by one request")


Run = Callable[[Work, Arguments], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability, with its methods by name.

    `session` and `account` are what the session object tells of it; `of_account`: whether methods
    take an `accountId`. `states` gives the state strings of types for push, from an account's
    MODSEQ.
    """

    uri: str
    methods: Mapping[str, Run]
    session: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, Any] | None = None
    of_account: bool = True


class Registry:
    """All capabilities. Whoever brings another one calls `add` before the server starts."""

    def __init__(self, capabilities: Iterable[Capability] = ()) -> None:
        self.capabilities: dict[str, Capability] = {}
        self._methods: dict[str, tuple[Capability, Run]] = {}
        for one in capabilities:
            self.add(one)

    def add(self, capability: Capability) -> None:
        """Another capability. Its methods must be new."""
        assert capability.uri not in self.capabilities, capability.uri
        self.capabilities[capability.uri] = capability
        for name, run in capability.methods.items():
            assert name not in self._methods, name
            self._methods[name] = (capability, run)

    @property
    def methods(self) -> list[str]:
        """The names of all methods."""
        return list(self._methods)

    async def run(self, work: Work) -> None:
        """Runs the calls of a request; every one is answered."""
        batch = work.batch
        for call in batch.calls():
            try:
                told = await self._one(work, call.name, call.arguments)
            except MethodError as error:
                batch.fail(error, call.id)
            except Refused as refusal:
                batch.fail(_of_refusal(refusal), call.id)
            except Unavailable as error:
                batch.fail(MethodError("serverUnavailable", error.reason.value), call.id)
            except Exception:
                log.exception("bug", extra={"method": call.name[:100]})
                batch.fail(MethodError("serverFail", "Internal error"), call.id)
            else:
                batch.add(call.name, told, call.id)
            for name, arguments in work.after:
                batch.add(name, arguments, call.id)
            work.after = []

    async def _one(self, work: Work, name: str, raw: dict[str, Any]) -> dict[str, Any]:
        found = self._methods.get(name)
        if found is None or found[0].uri not in work.batch.using:
            raise MethodError("unknownMethod")
        capability, run = found
        arguments = Arguments(raw)
        if capability.of_account and arguments.text("accountId") != work.account_id:
            raise MethodError("accountNotFound")
        work.begin(name)
        return await run(work, arguments)

    async def implied(self, work: Work, name: str, raw: dict[str, Any]) -> None:
        """Runs a method as the consequence of another one; its answer comes after that one's."""
        try:
            told = await self._one(work, name, raw)
        except MethodError as error:
            work.after.append(("error", error.arguments()))
        else:
            work.after.append((name, told))


_METHOD_ERRORS: Final = {
    Reason.FORBIDDEN: "forbidden",
    Reason.VAULT_CLOSED: "forbidden",
    Reason.ACCOUNT_SUSPENDED: "accountReadOnly",
    Reason.LIMIT_EXCEEDED: "serverUnavailable",
    Reason.TOO_LARGE: "requestTooLarge",
    Reason.INVALID_PARAM: "invalidArguments",
}


def _of_refusal(refusal: Refused) -> MethodError:
    kind = _METHOD_ERRORS.get(refusal.reason, "serverFail")
    return MethodError(kind, refusal.public_text)


_SET_ERRORS: Final = {
    Reason.FORBIDDEN: "forbidden",
    Reason.VAULT_CLOSED: "forbidden",
    Reason.ACCOUNT_SUSPENDED: "forbidden",
    Reason.SENDER_NOT_YOURS: "forbiddenFrom",
    Reason.OVER_QUOTA: "overQuota",
    Reason.MAILBOX_FULL: "overQuota",
    Reason.TOO_LARGE: "tooLarge",
    Reason.LIMIT_EXCEEDED: "rateLimit",
    Reason.UNKNOWN_MAILBOX: "notFound",
    Reason.MESSAGE_GONE: "notFound",
    Reason.NOT_FOUND: "notFound",
    Reason.TOO_MANY_MAILBOXES: "overQuota",
}


def set_error(refusal: Refused, properties: tuple[str, ...] = ()) -> SetError:
    """A refusal of one object."""
    if refusal.reason in _SET_ERRORS:
        return SetError(_SET_ERRORS[refusal.reason], refusal.public_text)
    return SetError("invalidProperties", refusal.public_text, properties=list(properties))
