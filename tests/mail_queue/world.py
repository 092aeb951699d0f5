"""A mail house whose sender finds the test's own DNS and servers, on a clock that the test sets."""

from __future__ import annotations

import ssl
from pathlib import Path

from kerwen.accounts.store import accounts
from kerwen.mail.actions.bring_home import BringHome
from kerwen.mail.actions.hand_on import HandOn
from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.mail.actions.report_tls import TlsReports
from kerwen.mail.actions.sts import PolicyFiles, StsPolicies
from kerwen.mail.actions.tls_results import TlsResults
from kerwen.mail.actions.ways import Relay, Ways
from kerwen.mail.sender import MailSender
from kerwen.mail.store.queue_key import QueueKey
from kerwen.net import dev_ca, tls
from kerwen.net.outgoing import Outgoing
from kerwen.net.resolver import Resolver
from kerwen.smtp.client import Dialer, Times, is_reachable
from tests.mail_store.house import House, letter
from tests.net.dns_server import DnsServer

from .remote import Behaviour, Remote

US = "batyr@kerwen.test"
HOUR = 3_600_000
_TIMES = Times(connect=20, tls=20, greeting=20, reply=20, block=20, end=20, goodbye=0.2)


async def _signed(raw: bytes) -> bytes:
    return b"X-Signed: yes\r\n" + raw


class World:
    """What the tests use. `port` is the one that every server of the test listens on."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.queue = house.mail.queue
        self.clock = house.clock
        self.folder = folder
        self.dns = DnsServer()
        self.remotes: list[Remote] = []
        self.port = 0
        self.https_port = 0
        self.times = _TIMES
        self.families: tuple[int, ...] = (4,)

    async def start(self) -> World:
        async with self.house.db.write() as tx:
            await accounts.add(tx, 1, "batyr", 0, admin=False)
            await accounts.add(tx, 2, "ayna", 0, admin=True)
        await self.dns.start()
        (self.folder / "keys").mkdir(parents=True)
        dev_ca.make_authority(self.folder / "ca.pem", self.folder / "ca.key")
        return self

    async def close(self) -> None:
        await self.sender._hand_on.close()
        await self.outgoing.close()
        await self.resolver.close()
        for remote in self.remotes:
            remote.close()
        self.dns.close()

    def build(self, relay: Relay | None = None) -> MailSender:
        """The sender; again after a change of what it stands on, or as after a restart."""
        house, mail = self.house, self.house.mail
        key = QueueKey(b"k" * 32, bytes)
        authority = self.folder / "ca.pem"
        self.resolver = Resolver([self.dns.place], rounds_s=(10,), now=lambda: self.clock() / 1000)
        self.outgoing = Outgoing(dev=True, own_names=["far.test"], authorities=[authority])
        self.tls_results = TlsResults(house.db, key, mail.tags, self.clock)
        self.policies = StsPolicies(
            house.db, key, mail.tags, self.resolver,
            PolicyFiles(self.outgoing, self.https_port).fetch,
            lambda domain, kind: self.tls_results.count(domain, "sts", "", kind), self.clock,
        )  # fmt: skip

        def is_us(name: str) -> bool:
            return name == "kerwen.test"

        ways = Ways(
            self.resolver, self.policies, is_us, lambda: 0.5,
            relay=relay, families=self.families, port=self.port,
        )  # fmt: skip
        dialer = Dialer(
            "kerwen.test", lambda address: is_reachable(address, dev=True), is_us,
            self.times, authority, loopback=True,
        )  # fmt: skip
        self.hand_on = HandOn(ways, dialer.dial, self.tls_results)
        home = BringHome(mail.recipients, mail.receive, self.queue)
        self.tls_reports = TlsReports(
            "kerwen.test", self.tls_results, self.policies, self.resolver, self.queue,
            self.outgoing, _signed, self.clock,
        )  # fmt: skip
        self.sender = MailSender(
            self.queue, self.hand_on, home, [self.tls_results], lambda: 0.5, self.clock
        )
        return self.sender

    async def remote(
        self, name: str = "mx.far.test", host: str = "127.0.0.1", behaviour: Behaviour | None = None
    ) -> Remote:
        """A server, on the port of them all."""
        made = await Remote(name, behaviour or Behaviour()).start(host, self.port)
        self.port = made.at[1]
        self.remotes.append(made)
        return made

    def certificate(self, *names: str) -> tuple[Path, ssl.SSLContext]:
        """A certificate of the test's authority, and what a server does TLS with."""
        folder = self.folder / "keys"
        cert, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
        dev_ca.make_server(self.folder / "ca.pem", self.folder / "ca.key", list(names), cert, key)
        return cert, tls.server_context(cert, key)

    async def enqueue(self, number: int, *to: str, sender: str = US, **more: object) -> int:
        """Puts a message in for recipients."""
        envelope = Envelope(sender, **more)  # type: ignore[arg-type]
        return await self.queue.enqueue(envelope, [Addressee(one) for one in to], letter(number))

    async def until_empty(self, most_hours: int = 150) -> int:
        """Sends until nothing waits, the clock going on to what is due; how often that was."""
        end, rounds = self.clock.now + most_hours * HOUR, 0
        while True:
            rounds += 1
            await self.sender.step()
            due = await self.queue.next_due_ms()
            if due is None:
                return rounds
            assert due <= end, "it is tried beyond its time"
            self.clock.now = max(due, self.clock.now)

    async def reports(self, account_no: int = 1) -> list[bytes]:
        """The delivery reports in an account's INBOX."""
        view = await self.house.view(account_no)
        return [await self.house.read(account_no, no) for no in view.nos]
