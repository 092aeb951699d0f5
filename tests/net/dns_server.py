"""A DNS server of a few names on loopback, by UDP and TCP, for tests.

Lines like `x.test MX 10 mx.x.test`, `x.test TXT "one" "two"`, `_25._tcp.mx.x.test TLSA 3 1 1 ab…`;
`x.test FAIL` makes every question about a name fail, `x.test SILENT` leaves them unanswered,
`x.test EXISTS` has nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update

_MARKS = {"FAIL", "SILENT", "EXISTS"}


class DnsServer:
    """`secure`: names whose answers (and those of names below them) are said to be proved."""

    def __init__(
        self,
        zone: str = "",
        *,
        secure: tuple[str, ...] = (),
        ttl: int = 300,
        keys: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        self.records: dict[str, list[tuple[str, str]]] = {}
        self.secure = secure
        # TSIG keys (name: algorithm and secret) by which updates are taken
        self.keyring = dns.tsigkeyring.from_text(keys) if keys else None
        self.ttl = ttl
        self.asked: list[str] = []
        self.updates = 0
        self.cut_above = 0  # answers of more bytes go by TCP; 0: as the asker allows
        self.add(zone)
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self.place = ("127.0.0.1", 0)

    def add(self, zone: str) -> None:
        for line in zone.splitlines():
            parts = line.split(None, 2)
            if len(parts) >= 2:
                value = parts[2] if len(parts) > 2 else ""
                self.records.setdefault(parts[0].lower(), []).append((parts[1], value))

    async def start(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
            place = server.sockets[0].getsockname()[:2]
            try:
                self._transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Udp(self), local_addr=place
                )
            except OSError:
                server.close()
                continue
            self._server, self.place = server, place
            return self
        raise AssertionError("no port is free for both")

    def close(self) -> None:
        assert self._transport is not None
        assert self._server is not None
        self._transport.close()
        self._server.close()

    @property
    def flag(self) -> str:
        return f"{self.place[0]}:{self.place[1]}"

    def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        try:
            asked = dns.message.from_wire(wire, keyring=self.keyring)
        except dns.message.UnknownTSIGKey:
            return _refused(wire)
        except dns.tsig.BadSignature:
            return _refused(wire)
        if asked.opcode() == dns.opcode.UPDATE:
            return self._update(asked)
        question = asked.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{kind} {name}")
        told = dns.message.make_response(asked, recursion_available=True)
        if any(name == one or name.endswith("." + one) for one in self.secure):
            told.flags |= dns.flags.AD
        for _ in range(8):
            records = self.records.get(name)
            if records is None:
                below = any(other.endswith("." + name) for other in self.records)
                told.set_rcode(dns.rcode.NOERROR if below else dns.rcode.NXDOMAIN)
                break
            marks = {mark for mark, _ in records if mark in _MARKS}
            if "SILENT" in marks:
                return None
            if "FAIL" in marks:
                told.set_rcode(dns.rcode.SERVFAIL)
                break
            values = [value for found, value in records if found == kind]
            if values:
                told.answer.append(
                    dns.rrset.from_text_list(name + ".", self.ttl, "IN", kind, values)
                )
                break
            alias = next((value for found, value in records if found == "CNAME"), None)
            if alias is None:
                break
            told.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", "CNAME", alias))
            name = alias.rstrip(".").lower()
        out: bytes = told.to_wire(max_size=65_535)
        most = self.cut_above or asked.payload or 512
        if udp and len(out) > most:
            told.answer.clear()
            told.flags |= dns.flags.TC
            out = told.to_wire()
        return out

    def _update(self, asked: Any) -> bytes:
        """Takes an update that is signed (RFC 2136 §3.4.2)."""
        told = dns.message.make_response(asked)
        origin = asked.zone[0].name
        if not asked.had_tsig or not self.records.get(_plain(origin)):
            told.set_rcode(dns.rcode.REFUSED)
            return bytes(told.to_wire())
        for rrset in asked.update:
            name, kind = _plain(rrset.name), dns.rdatatype.to_text(rrset.rdtype)
            held = self.records.setdefault(name, [])
            values = [_value(kind, one) for one in rrset]
            if rrset.deleting == dns.rdataclass.ANY:
                held[:] = [(k, v) for k, v in held if k != kind and kind != "ANY"]
            elif rrset.deleting == dns.rdataclass.NONE:
                held[:] = [(k, v) for k, v in held if k != kind or v not in values]
            elif kind == "CNAME" and any(k != "CNAME" for k, _ in held):
                continue  # RFC 2136 §3.4.2.2: an alias has no other records
            else:
                held += [(kind, value) for value in values if (kind, value) not in held]
            if not held:
                del self.records[name]
        self.updates += 1
        return bytes(told.to_wire())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            out = self.answer(await reader.readexactly(size), udp=False)
            if out is not None:
                writer.write(len(out).to_bytes(2, "big") + out)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


def _plain(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def _value(kind: str, record: Any) -> str:
    return str(record.to_text())


def _refused(wire: bytes) -> bytes:
    """NOTAUTH, unsigned: what a server says to a key that it does not know."""
    told = dns.message.Message(int.from_bytes(wire[:2], "big"))
    told.flags = dns.flags.QR | (wire[2] & 0x78) << 8
    told.set_rcode(dns.rcode.NOTAUTH)
    return bytes(told.to_wire())


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, of: DnsServer) -> None:
        self._of = of

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        out = self._of.answer(data, udp=True)
        if out is not None:
            self._transport.sendto(out, addr)
