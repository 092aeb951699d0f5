"""Who asks: an access token, or a name with a password or app password; and their open vault.

A vault stays open for a minute after a request, so that the next one need not open it again; then
its keys are overwritten. Whoever's token or password ends is shut out at once.
"""

# RFC 8620 §1.7; design.md §5

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from kerwen.api.http import Cost, Request
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.sign_in import SignedIn, SignIn
from kerwen.mail.jmap.errors import RequestError

Spend = Callable[[Cost, int, str], None]
_SWEEP_S: Final = 15.0


class Entry:
    """Somebody who asked of late."""

    __slots__ = ("account_id", "ended", "running", "signed", "used_s")

    def __init__(self, signed: SignedIn, account_id: str) -> None:
        self.signed = signed
        self.account_id = account_id
        self.running = 0
        self.used_s = time.monotonic()
        self.ended = False

    @property
    def account_no(self) -> int:
        """The account."""
        return self.signed.account_no


class Sessions:
    """The sessions of the door, by what was shown."""

    def __init__(
        self, sign_in: SignIn, account_id: Callable[[int], str], spend: Spend,
        proved: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._sign_in = sign_in
        self._account_id = account_id
        self._spend = spend
        self._proved = proved
        self._key = secrets.token_bytes(32)
        self._kept: dict[bytes, Entry] = {}
        self._running: Counter[int] = Counter()  # requests of each account
        self._uploading: Counter[int] = Counter()
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def enter(self, request: Request, shown: str | None = None) -> Entry:
        """Who asks. `Refused`: MISSING_TOKEN, UNKNOWN_TOKEN, WRONG_PASSWORD …; LIMIT_EXCEEDED.

        `shown`: what stands for the Authorization field where a client cannot send one.
        """
        header = shown or request.header(b"authorization")
        if header is None:
            raise Refused(Reason.MISSING_TOKEN, "Log in with a token or a password")
        return await self._entered(header, request.address)

    async def again(self, header: str, account_no: int) -> Entry:
        """Whoever was let in before, and shows the same. `Refused` as `enter`."""
        entry = await self._entered(header, "")
        if entry.account_no != account_no:
            raise Refused(Reason.UNKNOWN_TOKEN, "Log in again")
        return entry

    async def _entered(self, header: str, address: str) -> Entry:
        mark = hashlib.blake2b(header.encode("utf-8", "replace"), key=self._key).digest()
        entry = self._kept.get(mark)
        if entry is not None and self._sign_in.is_doubted(entry.account_no):
            await self._sign_in.check_doubted()
        if entry is None or entry.ended:
            signed = await self._signed(header, address)
            entry = self._kept.get(mark)
            if entry is not None and not entry.ended:
                signed.close()  # somebody else was quicker
            else:
                entry = self._keep(mark, signed)
        entry.used_s = time.monotonic()
        self._spend(Cost.READ, entry.account_no, address)
        return entry

    def _keep(self, mark: bytes, signed: SignedIn) -> Entry:
        entry = self._kept[mark] = Entry(signed, self._account_id(signed.account_no))

        def end() -> None:
            entry.ended = True
            if self._kept.get(mark) is entry:
                del self._kept[mark]
            if not entry.running:
                signed.close()

        signed.on_end = end
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._look)
        return entry

    async def _signed(self, header: str, address: str) -> SignedIn:
        scheme, _, told = header.partition(" ")
        told = told.strip()
        if scheme.lower() == "bearer" and told:
            return await self._sign_in.by_token(None, told)
        if scheme.lower() != "basic":
            raise Refused(Reason.MISSING_TOKEN, "Log in with a token or a password")
        try:
            name, colon, password = base64.b64decode(told, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password") from None
        if name.startswith("@"):  # @name:domain holds a colon itself
            domain, colon, password = password.partition(":")
            name = f"{name}:{domain}"
        if not colon:
            raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
        self._spend(Cost.LOGIN, 0, address)
        signed = await self._sign_in.by_password(name, password)
        self._proved(address)
        return signed

    @contextmanager
    def running(self, entry: Entry) -> Iterator[None]:
        """Counts a request while it runs. Raises `RequestError(limit)`."""
        with self._counted(
            entry, self._running, limits.JMAP_REQUESTS_AT_ONCE, "maxConcurrentRequests"
        ):
            yield

    @contextmanager
    def uploading(self, entry: Entry) -> Iterator[None]:
        """Counts an upload while it runs. Raises `RequestError(limit)`."""
        with self._counted(
            entry, self._uploading, limits.JMAP_UPLOADS_AT_ONCE, "maxConcurrentUpload"
        ):
            yield

    @contextmanager
    def _counted(self, entry: Entry, counts: Counter[int], most: int, limit: str) -> Iterator[None]:
        account_no = entry.account_no
        if counts[account_no] >= most:
            raise RequestError("limit", "Too many at once", 429, limit=limit)
        counts[account_no] += 1
        try:
            with self.held(entry):
                yield
        finally:
            counts[account_no] -= 1
            if not counts[account_no]:
                del counts[account_no]

    @contextmanager
    def held(self, entry: Entry) -> Iterator[None]:
        """The vault stays open meanwhile."""
        entry.running += 1
        try:
            yield
        finally:
            entry.running -= 1
            entry.used_s = time.monotonic()
            if entry.ended and not entry.running:
                entry.signed.close()

    def _look(self) -> None:
        self._sweep = None
        before = time.monotonic() - limits.JMAP_SESSION_MS / 1000
        for mark, entry in list(self._kept.items()):
            if not entry.running and entry.used_s < before:
                del self._kept[mark]
                entry.ended = True
                entry.signed.close()
        if self._kept:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._look)

    def close(self) -> None:
        """The server stops."""
        if self._sweep is not None:
            self._sweep.cancel()
        for entry in self._kept.values():
            if not entry.running:
                entry.signed.close()
            entry.ended = True
        self._kept.clear()
