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
import dns.rcode
import dns.rdatatype
import dns.rrset

_MARKS = {"FAIL", "SILENT", "EXISTS"}


class DnsServer:
    """`secure`: names whose answers (and those of names below them) are said to be proved."""

    def __init__(self, zone: str = "", *, secure: tuple[str, ...] = (), ttl: int = 300) -> None:
        self.records: dict[str, list[tuple[str, str]]] = {}
        self.secure = secure
        self.ttl = ttl
        self.asked: list[str] = []
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
        asked = dns.message.from_wire(wire)
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


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, of: DnsServer) -> None:
        self._of = of

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        out = self._of.answer(data, udp=True)
        if out is not None:
            self._transport.sendto(out, addr)
