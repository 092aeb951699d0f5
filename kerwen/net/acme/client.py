"""An account's talk with an authority: one certificate, from the order to the chain."""

# RFC 8555, RFC 8738 (addresses), RFC 9773 (renewal information)

from __future__ import annotations

import asyncio
import datetime
import email.utils
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from kerwen.net.acme import certs
from kerwen.net.acme.jws import AccountKey, encoded
from kerwen.net.outgoing import Answer, Outgoing, Unanswered

Kind = Literal["http-01", "tls-alpn-01"]
Pause = Callable[[float], Awaitable[None]]

_NONCE_TRIES: Final = 5
_POLLS: Final = 40
_POLL_S: Final = (1.0, 15.0)
_ANSWER_MAX: Final = 256 * 1024
_NONCES_MAX: Final = 8


class AcmeError(Exception):
    """The authority said no. `kind` is the last part of the problem's type (RFC 8555 §6.7),
    `names` those that it could not prove, `wait_s` after how long to ask again."""

    def __init__(
        self, kind: str, detail: str, *, names: tuple[str, ...] = (), wait_s: float | None = None
    ) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.names = names
        self.wait_s = wait_s


class Answers(Protocol):
    """Who shows the answers to challenges to whoever looks."""

    def show(self, kind: Kind, name: str, token: str, key_authorisation: str) -> None:
        """From now on, until `hide`."""

    def hide(self, kind: Kind, name: str, token: str) -> None:
        """It is no longer needed."""


class Eab(msgspec.Struct, frozen=True):
    """Ties our account to one that was made elsewhere: the authority's id and key for it."""

    kid: str
    mac_key: str


class _Link(msgspec.Struct):
    newNonce: str
    newAccount: str
    newOrder: str
    renewalInfo: str = ""
    meta: dict[str, Any] = {}


class _Order(msgspec.Struct):
    status: str
    authorizations: list[str] = []
    finalize: str = ""
    certificate: str = ""
    error: dict[str, Any] | None = None


class _Identifier(msgspec.Struct):
    type: str
    value: str


class _Challenge(msgspec.Struct):
    type: str
    url: str = ""
    token: str = ""
    status: str = ""
    error: dict[str, Any] | None = None


class _Authorisation(msgspec.Struct):
    status: str
    identifier: _Identifier
    challenges: list[_Challenge] = []


class Acme:
    """One account at one authority. Every method raises `AcmeError` or `Unanswered`."""

    def __init__(
        self,
        outgoing: Outgoing,
        directory: str,
        key: AccountKey,
        answers: Answers,
        *,
        kind: Kind = "http-01",
        contact: tuple[str, ...] = (),
        eab: Eab | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._outgoing = outgoing
        self._directory = directory
        self._key = key
        self._answers = answers
        self._kind: Kind = kind
        self._contact = contact
        self._eab = eab
        self._pause = pause
        self._links: _Link | None = None
        self._kid: str | None = None
        self._nonces: list[str] = []

    @property
    def authorities(self) -> tuple[str, ...]:
        """What CAA records call the authority (RFC 8555 §7.1.1), once it has been asked."""
        told = self._links.meta.get("caaIdentities") if self._links is not None else None
        return tuple(str(one) for one in told[:8]) if isinstance(told, list) else ()

    async def certificate(
        self, names: tuple[str, ...], key: certs.Key, replaces: str = ""
    ) -> bytes:
        """A chain for the names and the key, PEM; `replaces` is the old one's `ari_id`."""
        links = await self._hello()
        wanted: dict[str, Any] = {"identifiers": [_identifier(name) for name in names]}
        if replaces and links.renewalInfo:
            wanted["replaces"] = replaces
        try:
            answer = await self._post(links.newOrder, wanted)
        except AcmeError as error:
            if "replaces" not in wanted or error.kind not in ("alreadyReplaced", "malformed"):
                raise
            del wanted["replaces"]
            answer = await self._post(links.newOrder, wanted)
        url = answer.headers.get("location", "")
        order = _read(answer, _Order)
        failed: list[str] = []
        said = ""
        for one in order.authorizations[:200]:
            name, why = await self._prove(one)
            if why is not None:
                failed.append(name)
                said = said or f"{name}: {why}"
        if failed:
            raise AcmeError("unproved", said, names=tuple(failed))
        csr = {"csr": encoded(certs.request(key, names))}
        order = await self._until(url, order, ("ready", "valid"))
        if order.status == "ready":
            order = _read(await self._post(order.finalize, csr), _Order)
        order = await self._until(url, order, ("valid",))
        chain = (await self._post(order.certificate, None)).body
        try:
            certs.check_chain(chain, key, names)
        except certs.BadChain as error:
            raise AcmeError("badChain", str(error)) from None
        return chain

    async def renewal_window(self, ari_id: str) -> tuple[int, int] | None:
        """When the authority would like a certificate to be renewed, in seconds since 1970."""
        links = await self._hello(with_account=False)
        if not links.renewalInfo or not ari_id:
            return None
        answer = await self._ask("GET", f"{links.renewalInfo}/{ari_id}")
        if not answer.good:
            return None
        try:
            found = msgspec.json.decode(answer.body)["suggestedWindow"]
            times = [datetime.datetime.fromisoformat(found[which]) for which in ("start", "end")]
            first, last = (int(time.timestamp()) for time in times)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            return None
        return (first, last) if first <= last else None

    # --- steps

    async def _hello(self, *, with_account: bool = True) -> _Link:
        if self._links is None:
            answer = await self._ask("GET", self._directory)
            if not answer.good:
                raise _problem(answer)
            self._links = _read(answer, _Link)
        if with_account and self._kid is None:
            await self._enrol(self._links)
        return self._links

    async def _enrol(self, links: _Link) -> None:
        """Makes the account, or finds it again: the key tells which one it is (§7.3)."""
        wanted: dict[str, Any] = {"termsOfServiceAgreed": True}
        if self._contact:
            wanted["contact"] = [f"mailto:{address}" for address in self._contact]
        if self._eab is not None:
            wanted["externalAccountBinding"] = self._key.bound(
                links.newAccount, self._eab.kid, self._eab.mac_key
            )
        elif links.meta.get("externalAccountRequired"):
            raise AcmeError("externalAccountRequired", "set acme_eab_id and acme_eab_key")
        answer = await self._post(links.newAccount, wanted, by_key=True)
        self._kid = answer.headers.get("location") or None
        if self._kid is None:
            raise AcmeError("malformed", "the account has no address")

    async def _prove(self, url: str) -> tuple[str, str | None]:
        """Proves one name; the name, and why it could not be proved."""
        authorisation = _read(await self._post(url, None), _Authorisation)
        name = authorisation.identifier.value
        if authorisation.status == "valid":
            return name, None
        ours = [one for one in authorisation.challenges if one.type == self._kind]
        if not ours:
            return name, f"the authority offers no {self._kind}"
        challenge = ours[0]
        shown = self._key.key_authorisation(challenge.token)
        self._answers.show(self._kind, name, challenge.token, shown)
        try:
            await self._post(challenge.url, {})
            return name, await self._proved(url)
        finally:
            self._answers.hide(self._kind, name, challenge.token)

    async def _proved(self, url: str) -> str | None:
        for turn in range(_POLLS):
            answer = await self._post(url, None)
            found = _read(answer, _Authorisation)
            if found.status == "valid":
                return None
            if found.status not in ("pending", "processing"):
                told = [one.error for one in found.challenges if one.error]
                return str(told[0].get("detail", "")) if told else found.status
            await self._pause(_wait_of(answer, turn))
        return "the authority does not come to an end"

    async def _until(self, url: str, order: _Order, wanted: tuple[str, ...]) -> _Order:
        answer: Answer | None = None
        for turn in range(_POLLS):
            if order.status in wanted:
                return order
            if order.status == "invalid":
                error = order.error or {}
                raise AcmeError(_kind_of(error), str(error.get("detail", "the order failed")))
            if answer is not None:
                await self._pause(_wait_of(answer, turn))
            answer = await self._post(url, None)
            order = _read(answer, _Order)
        raise AcmeError("slow", "the order does not come to an end")

    # --- requests

    async def _post(self, url: str, payload: Any, *, by_key: bool = False) -> Answer:
        """A signed request; one whose nonce was no longer good is signed again (§6.5)."""
        for _ in range(_NONCE_TRIES):
            nonce = await self._nonce()
            body = self._key.signed(url, nonce, payload, None if by_key else self._kid)
            answer = await self._ask(
                "POST", url, body=body, headers={"Content-Type": "application/jose+json"}
            )
            if answer.good:
                return answer
            error = _problem(answer)
            if error.kind == "accountDoesNotExist":
                self._kid = None
            if error.kind != "badNonce":
                raise error
        raise error

    async def _nonce(self) -> str:
        if self._nonces:
            return self._nonces.pop()
        assert self._links is not None, "the directory comes first"
        await self._ask("HEAD", self._links.newNonce)
        if not self._nonces:
            raise AcmeError("malformed", "the authority gives no nonce")
        return self._nonces.pop()

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        if urlsplit(url).scheme != urlsplit(self._directory).scheme:
            raise AcmeError("malformed", "a link that leads elsewhere")
        # the operator named the authority's host; where its links lead besides is its own word
        same = urlsplit(url).hostname == urlsplit(self._directory).hostname
        answer = await self._outgoing.ask(
            method, url, body=body, headers=headers, answer_max=_ANSWER_MAX, by_operator=same
        )
        nonce = answer.headers.get("replay-nonce")
        if nonce and len(self._nonces) < _NONCES_MAX:
            self._nonces.append(nonce)
        return answer


def _identifier(name: str) -> dict[str, str]:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return {"type": "dns", "value": name}
    return {"type": "ip", "value": name}


def _read(answer: Answer, kind: Any) -> Any:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise AcmeError("malformed", f"the authority's answer: {error}") from None


def _kind_of(problem: dict[str, Any]) -> str:
    return str(problem.get("type", "")).rpartition(":")[2] or "serverInternal"


def _problem(answer: Answer) -> AcmeError:
    try:
        found = msgspec.json.decode(answer.body, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        found = {}
    kind, detail = _kind_of(found), str(found.get("detail", f"HTTP {answer.status}"))
    names = [
        str(one["identifier"].get("value", ""))
        for one in found.get("subproblems") or []
        if isinstance(one, dict) and isinstance(one.get("identifier"), dict)
    ]
    return AcmeError(kind, detail, names=tuple(names), wait_s=_retry_after(answer))


def _retry_after(answer: Answer) -> float | None:
    told = answer.headers.get("retry-after", "")
    if told.isascii() and told.isdigit() and len(told) < 8:
        return float(told)
    try:
        when = email.utils.parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return None
    return max((when - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0)


def _wait_of(answer: Answer, turn: int) -> float:
    least, most = _POLL_S
    told = _retry_after(answer)
    return min(max(told if told is not None else least * 1.5**turn, least), most)


__all__ = ["Acme", "AcmeError", "Answers", "Eab", "Kind", "Unanswered"]
