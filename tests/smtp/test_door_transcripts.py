"""The transcripts through real listeners, whole, byte by byte and cut at random; and the buckets
of who may send how much.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.outcomes import Accepted
from kerwen.mail.actions.recipients import Found
from kerwen.net import certificates, tls
from kerwen.smtp import address
from kerwen.smtp.deeds import Deeds
from kerwen.smtp.protocol import Offer
from kerwen.smtp.rates import BUCKETS_MAX, LOST, MESSAGES, SENT, Rates, network
from kerwen.smtp.server import SmtpServer
from tests.smtp import transcripts
from tests.smtp.desk import OFFERS, Desk
from tests.smtp.test_protocol import CUTS, Cut

NAMES = [name for name in transcripts.names() if name != "addresses"]  # it has a sender refused


class Stub:
    """Does what the desk does, where the door calls its actions."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.messages: list[bytes] = []

    async def recipient(self, *asked: Any, **more: Any) -> Accepted:
        """Of strangers (peer, letter, address …) and of our own (address …)."""
        text = asked[0] if isinstance(asked[0], str) else asked[2]
        found = address.path(text)
        assert found is not None
        self.desk._recipient(found)
        return Accepted(text, Found(((1, ""),)), asked[-2])

    async def run(self, *asked: Any) -> str:
        self.messages.append(asked[-1])
        return f"q{len(self.messages)}"

    async def check_sender(self, *asked: Any) -> None:
        """All are theirs."""

    async def by_password(self, user: str, password: str) -> object:
        if (user, password) != ("ayna", "secret"):
            raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
        return _Somebody()

    async def by_token(self, user: str, token: str) -> object:
        if token != "good":
            raise Refused(Reason.UNKNOWN_TOKEN, "This token is not good")
        return _Somebody()

    async def still(self, sender: object) -> bool:
        return True


class _Somebody:
    account_no = 1


class Server(SmtpServer):
    """Offers what the transcript wants."""

    wanted: Offer

    def offer(self, *, own: bool, address: str) -> Offer:
        return self.wanted


async def play(folder: Path, name: str, cut: Cut) -> None:
    steps = transcripts.read(name)
    setting = [text.decode() for kind, text in steps if kind == "@"]
    offer = next((s.removeprefix("offer ") for s in setting if s.startswith("offer ")), "mx")
    stub = Stub()
    rates = Rates(lambda: 0.0, on=False)
    server = Server(Deeds(stub, stub, stub, rates, str, str), "", limited=False)  # type: ignore[arg-type]
    server.wanted = OFFERS[offer]
    found = certificates.for_development(folder, "kerwen.test")
    server.take_tls(tls.server_context(found.cert, found.key))
    context = tls.client_context(folder / "dev-ca.pem", only=True)
    context.check_hostname = False
    implicit = "implicit tls" in setting
    door = server.submission if server.wanted.login else server.smtp
    listener = await asyncio.get_running_loop().create_server(
        door if not implicit else server.submissions, "127.0.0.1", 0,
        ssl=server.tls if implicit else None,
    )  # fmt: skip
    port = listener.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context if implicit else None
    )
    async with asyncio.timeout(20):
        await _talk(steps, cut, reader, writer, context, stub)
    writer.close()
    await server.stop(1)
    listener.close()


async def _talk(
    steps: Sequence[tuple[str, bytes]],
    cut: Cut,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext,
    stub: Stub,
) -> None:
    for kind, text in steps:
        if kind == "C":
            for piece in cut(text):
                writer.write(piece)
                await asyncio.sleep(0)
        elif kind == "S":
            got = b""
            for _ in range(text.count(b"\r\n")):
                got += await reader.readuntil(b"\r\n")
            assert transcripts.fits(text, got), f"\nexpected:\n{text!r}\ngot:\n{got!r}"
        elif kind == "M":
            assert stub.messages[-1] == text
        elif text == b"tls":
            await writer.start_tls(context)
        elif text == b"closed":
            assert await reader.read() == b""


@pytest.mark.parametrize("cut", CUTS[:3])
@pytest.mark.parametrize("name", NAMES)
async def test_transcripts(tmp_path: Path, name: str, cut: Cut) -> None:
    await play(tmp_path, name, cut)


# --- rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spend", "rate"),
    [
        (lambda rates: rates.message("192.0.2.1"), MESSAGES),
        (lambda rates: rates.sent(7), SENT),
    ],
)
def test_a_bucket_empties_and_fills(spend: Callable[[Rates], None], rate: Any) -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    for _ in range(int(rate.burst)):
        spend(rates)
    with pytest.raises(Refused) as refused:
        spend(rates)
    assert refused.value.reason is Reason.LIMIT_EXCEEDED
    now[0] += 3600 / rate.per_hour + 0.001
    spend(rates)
    with pytest.raises(Refused):
        spend(rates)


def test_who_only_guesses_may_not_ask() -> None:
    rates = Rates(lambda: 0.0)
    for _ in range(int(LOST.burst)):
        rates.may_ask("2001:db8::1")
        rates.lost("2001:db8::2")  # the same network
    with pytest.raises(Refused):
        rates.may_ask("2001:db8::3")
    rates.may_ask("2001:db8:0:1::1")


def test_buckets_are_bounded() -> None:
    rates = Rates(lambda: 0.0)
    for n in range(BUCKETS_MAX + 10):
        rates.sent(n)
    assert len(rates) == BUCKETS_MAX
    assert network("::ffff:192.0.2.1") == "192.0.2.1"
