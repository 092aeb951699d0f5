"""Keeps the server's certificate good: looks when it must be renewed, and has it done.

The files are in the data folder's `keys/acme/`: `account.key`, `server.key`, `chain.pem`, and
`state.json` (when to look again, what went wrong). The server's key stays the same at every
renewal, so that a TLSA record of it (3 1 1) need not change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from kerwen.net.certificates import Certificate
from kerwen.net.outgoing import Unanswered

if TYPE_CHECKING:
    from kerwen.net.acme.client import Acme
    from kerwen.net.acme.jws import AccountKey

log = logging.getLogger("kerwen.acme")

LOOK_S: Final = 3600.0
_FIRST_PAUSE_S: Final = 300.0
_LONGEST_PAUSE_S: Final = 86_400.0
_REFUSED_S: Final = 86_400.0  # how long a name that could not be proved is left out
_SHORT_LIFE_S: Final = 10 * 86_400.0  # below that, half of the life is used, not two thirds
_JITTER: Final = 0.05  # of the life

NO_ADDRESS: Final = "the domain has no address in DNS yet"

Wanted = Callable[[], Awaitable[Sequence[str]]]
"""The names that lead here now; the first is the domain, which must be in the certificate. None
where the domain itself leads nowhere."""


class State(msgspec.Struct):
    """What is known from one start to the next; times in seconds since 1970."""

    directory: str = ""
    names: tuple[str, ...] = ()  # in the certificate that serves; none: it is a stand-in
    not_after_s: int = 0
    renew_s: float = 0.0
    next_try_s: float = 0.0
    failures: int = 0
    error: str = ""
    refused: dict[str, float] = {}  # names that could not be proved, and until when
    authorities: tuple[str, ...] = ()  # what CAA records call the authority
    ari_id: str = ""
    ari_s: float = 0.0  # when to ask again whether to renew sooner

    @classmethod
    def read(cls, folder: Path) -> State:
        """The state of a folder; a new one where there is none that can be read."""
        try:
            return msgspec.json.decode((folder / "state.json").read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return cls()


class Keeper:
    """`make` builds the account's talk with the authority; `changed` hears of new files."""

    def __init__(
        self,
        folder: Path,
        directory: str,
        wanted: Wanted,
        make: Callable[[AccountKey], Acme],
        changed: Callable[[Path, Path], None],
        *,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._folder = folder
        self._directory = directory
        self._wanted = wanted
        self._make = make
        self._changed = changed
        self._now = now
        self._chance = chance
        self._acme: Acme | None = None
        self._hurried = asyncio.Event()
        self.state = State.read(folder)
        self.files = Certificate(folder / "chain.pem", folder / "server.key")

    def begin(self, names: tuple[str, ...]) -> Certificate:
        """The files to serve with now; a stand-in for `names` where there are none yet."""
        if self.files.cert.exists() and self.files.key.exists():
            return self.files
        from kerwen.net.acme import certs

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.files.key.exists():
            write(self.files.key, certs.key_pem(certs.new_key()))
        key = certs.load_key(self.files.key.read_bytes())
        write(self.files.cert, certs.stand_in(key, names), 0o644)
        self.state = State()
        self._save()
        return self.files

    async def work(self) -> None:
        """Looks for ever."""
        while True:
            pause_s = await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._hurried.wait()
            self._hurried.clear()

    def hurry(self) -> None:
        """The operator mended something: looks at once, whatever was said before."""
        self.state.next_try_s = 0.0
        self.state.refused = {}
        self._hurried.set()

    async def step(self) -> float:
        """Looks once and does what is due; after how many seconds to look again."""
        state = self.state
        if self._now() < state.next_try_s:
            return min(state.next_try_s - self._now(), LOOK_S)
        wanted = tuple(await self._wanted())
        if not wanted:
            return self._too_soon()
        first = wanted[0]
        names = tuple(n for n in wanted if n == first or state.refused.get(n, 0.0) <= self._now())
        if not await self._is_due(names):
            return LOOK_S
        try:
            await self._renew(names)
        except (OSError, ssl.SSLError, ValueError, Unanswered) as error:
            self._failed(str(getattr(error, "why", error)), None)
        except Exception as error:
            from kerwen.net.acme.client import AcmeError

            if not isinstance(error, AcmeError):
                raise
            others = [n for n in error.names if n in names and n != first]
            if others and first not in error.names:
                return self._leave_out(others, str(error))
            self._failed(str(error), error.wait_s)
        return min(max(self.state.next_try_s - self._now(), 1.0), LOOK_S)

    async def _is_due(self, names: tuple[str, ...]) -> bool:
        state = self.state
        if state.directory != self._directory or not state.names:
            return True
        if not set(names) <= set(state.names):
            return True
        await self._ask_when()
        return self._now() >= state.renew_s

    async def _ask_when(self) -> None:
        """The authority may wish a sooner renewal, because it will revoke (RFC 9773 §4.2)."""
        state = self.state
        if not state.ari_id or self._now() < state.ari_s:
            return
        state.ari_s = self._now() + 6 * LOOK_S
        from kerwen.net.acme.client import AcmeError

        try:
            window = await self._account().renewal_window(state.ari_id)
        except (AcmeError, Unanswered):
            return
        if window is not None:
            chosen = window[0] + self._chance() * (window[1] - window[0])
            # an authority may ask for it sooner, never so late that there is no time to fail
            state.renew_s = min(chosen, state.not_after_s - _FIRST_PAUSE_S)
        self._save()

    async def _renew(self, names: tuple[str, ...]) -> None:
        from kerwen.net.acme import certs

        state = self.state
        key = certs.load_key(self.files.key.read_bytes())
        same = state.directory == self._directory
        chain = await self._account().certificate(names, key, state.ari_id if same else "")
        write(self.files.cert, chain, 0o644)
        self._changed(self.files.cert, self.files.key)
        facts = certs.facts(chain)
        self.state = State(
            self._directory,
            facts.names,
            facts.not_after_s,
            renewal_time(facts.not_before_s, facts.not_after_s, self._chance()),
            refused={n: s for n, s in state.refused.items() if s > self._now()},
            authorities=self._account().authorities,
            ari_id=facts.ari_id,
            ari_s=self._now() + LOOK_S,
        )
        self._save()
        log.info("certificate renewed", extra={"names": len(facts.names)})

    def _account(self) -> Acme:
        if self._acme is None:
            from kerwen.net.acme.jws import AccountKey

            path = self._folder / "account.key"
            if not path.exists():
                write(path, AccountKey.generate().pem())
            self._acme = self._make(AccountKey.load(path.read_bytes()))
        return self._acme

    def _too_soon(self) -> float:
        """The domain leads nowhere yet: asking the authority would only count as a failure."""
        if self.state.error != NO_ADDRESS:
            self.state.error = NO_ADDRESS
            self._save()
            log.warning("no certificate yet", extra={"why": NO_ADDRESS})
        return _FIRST_PAUSE_S / 5

    def _leave_out(self, names: list[str], why: str) -> float:
        """Names that are nice to have could not be proved: the others need not wait for them."""
        until_s = self._now() + _REFUSED_S * (1 + self._chance())
        self.state.refused.update(dict.fromkeys(names, until_s))
        self.state.error = why
        self._save()
        log.warning("names without a certificate", extra={"names": len(names), "why": why})
        return 1.0

    def _failed(self, why: str, wait_s: float | None) -> None:
        state = self.state
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(state.failures, 20), _LONGEST_PAUSE_S)
        pause_s *= 1 + self._chance() * 0.25
        if wait_s is not None:
            pause_s = max(pause_s, min(wait_s, 7 * _LONGEST_PAUSE_S))
        state.failures += 1
        state.error = why
        state.next_try_s = self._now() + pause_s
        self._save()
        log.warning("no certificate yet", extra={"why": why, "again_in_s": round(pause_s)})

    def _save(self) -> None:
        write(self._folder / "state.json", msgspec.json.encode(self.state))


def renewal_time(not_before_s: int, not_after_s: int, chance: float) -> float:
    """When two thirds of a life are over, or half of a short one, a little sooner or later."""
    life_s = not_after_s - not_before_s
    share = 0.5 if life_s < _SHORT_LIFE_S else 2 / 3
    return not_before_s + life_s * (share + _JITTER * (chance - 0.5) * 2)


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
