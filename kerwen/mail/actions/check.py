"""Checks a message that strangers bring: iprev, SPF, DKIM, ARC at once, then DMARC."""

# RFC 8601; RFC 7208, 6376, 8617, 9989

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from kerwen.base import limits
from kerwen.base.ask import ask, ask_now
from kerwen.base.clock import Clock, now_ms
from kerwen.mail import arc, auth_results, dkim, dmarc, dns, fields, iprev, spf
from kerwen.mail.auth_results import Result
from kerwen.mail.dns import Dns, Found, Rule
from kerwen.mail.fields import Field
from kerwen.mail.junk import Seen
from kerwen.mail.letter import Letter, Peer

Answer = Callable[[Dns], Awaitable[Found]]
"""Asks the DNS; never raises."""

R = TypeVar("R")
OFF_LOOP: Final = 1 * limits.MIB  # a longer message is hashed on a thread
CHECKS_S: Final = 25.0  # all look-ups of one message together
_UNKNOWN: Final = dns.FAILED


class Check:
    """`answer` None: there is no DNS (development), and nothing can be known."""

    def __init__(self, host: str, answer: Answer | None, clock: Clock = now_ms) -> None:
        self._host = host
        self._answer = answer
        self._clock = clock

    async def run(
        self,
        peer: Peer,
        letter: Letter,
        header: bytes,
        found: Sequence[Field],
        raw: bytes,
        end: int,
    ) -> Seen:
        """What is found in the message `raw` whose header (with the fields `found`) ends at
        `end`. Takes `CHECKS_S` at most; what has no answer then is a `temperror`."""
        now_s = self._clock() // 1000
        names = {field.name for field in found}
        authors = sum(field.name == b"from" for field in found)
        signed, sealed = dkim.FIELD in names, b"arc-seal" in names
        body = raw[end:] if signed or sealed else b""
        if self._answer is None:
            return Seen(authors=authors)
        deadline = asyncio.get_running_loop().time() + CHECKS_S

        async def answer(question: Dns) -> Found:
            assert self._answer is not None
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._answer(question)
            except TimeoutError:
                return _UNKNOWN

        large = len(body) > OFF_LOOP
        by_name = self._ask(iprev.check(peer.address), answer, large=False)
        by_sender = self._ask(
            spf.check_mail_from(
                peer.address, letter.sender, peer.helo, receiver=self._host, now_s=now_s
            ),
            answer,
            large=False,
        )
        by_key = (
            self._ask(dkim.verify(header, body, now_s), answer, large=large) if signed else None
        )
        by_chain = (
            self._ask(arc.verify(header, body, now_s), answer, large=large) if sealed else None
        )
        name, sender, keys, chain = await asyncio.gather(
            by_name, by_sender, by_key or _none(), by_chain or _none()
        )
        seen_keys = tuple(keys or ())
        verdict = await self._dmarc(header, sender, seen_keys, answer)
        return Seen(
            iprev=name, spf=sender, dkim=seen_keys, dmarc=verdict, arc=chain, authors=authors
        )

    async def _dmarc(
        self, header: bytes, sender: spf.Spf, keys: tuple[dkim.Dkim, ...], answer: Answer
    ) -> dmarc.Dmarc | None:
        author = dmarc.author_domain(fields.read(header))
        if author is None:
            return None
        proved = sender.domain if sender.result is spf.Result.PASS else None
        domains = [one.domain for one in keys if one.result is dkim.Result.PASS]
        return await ask(dmarc.check(author, proved, domains), answer)

    async def _ask(self, rule: Rule[R], answer: Answer, *, large: bool) -> R:
        if not large:
            return await ask(rule, answer)
        loop = asyncio.get_running_loop()

        def from_thread(question: Dns) -> Found:
            return asyncio.run_coroutine_threadsafe(_await(answer, question), loop).result()

        return await asyncio.to_thread(ask_now, rule, from_thread)


async def _await(answer: Answer, question: Dns) -> Found:
    return await answer(question)


async def _none() -> None:
    return None


def told(seen: Seen, peer: Peer, letter: Letter) -> list[Result]:
    """What Authentication-Results says of it. # RFC 8601 §2.7"""
    found: list[Result] = []
    if seen.iprev is not None:
        found.append(Result("iprev", seen.iprev.result.value, (("policy.iprev", peer.address),)))
    if seen.spf is not None:
        by_helo = seen.spf.identity == "helo"
        prop = ("smtp.helo", peer.helo) if by_helo else ("smtp.mailfrom", letter.sender)
        found.append(Result("spf", seen.spf.result.value, (prop,)))
    for one in seen.dkim:
        props = (
            ("header.d", one.domain),
            ("header.s", one.selector),
            ("header.a", one.algorithm),
            ("header.b", one.signature),
        )
        found.append(Result("dkim", one.result.value, props, one.why))
    if not seen.dkim and seen.spf is not None:
        found.append(Result("dkim", "none"))
    if seen.arc is not None and seen.arc.chain is not arc.Chain.NONE:
        found.append(Result("arc", seen.arc.chain.value, (), seen.arc.why))
    if seen.dmarc is not None:
        policy = f"p={seen.dmarc.policy.value}" if seen.dmarc.result is dmarc.Result.FAIL else ""
        found.append(
            Result("dmarc", seen.dmarc.result.value, (("header.from", seen.dmarc.domain),), policy)
        )
    return found


def field(host: str, results: list[Result]) -> bytes:
    """The whole field."""
    return auth_results.build(host, results)
