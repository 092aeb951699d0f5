"""Questions and answers of the DNS as bytes. Imported with the first question: it costs 40 ms."""

# RFC 1035 §4, RFC 6840 §5.7 (the AD bit), RFC 6891 (EDNS), RFC 2308 §5 (negative answers)

from __future__ import annotations

import enum
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from kerwen.base import limits
from kerwen.mail.dns import Found, Status

UDP_MAX: Final = 1232  # no fragments on any path (DNS flag day 2020)
_KINDS: Final = {kind: dns.rdatatype.from_text(kind) for kind in (
    "A", "AAAA", "MX", "PTR", "TLSA", "TXT",
)}  # fmt: skip


class Bad(enum.Enum):
    """Why a datagram is no answer."""

    FOREIGN = "foreign"  # not an answer to this question: wait on
    CUT = "cut"  # ask again by TCP
    REFUSED = "refused"  # the server does not tell: ask another one


class Question:
    """One question on its way. Raises `ValueError` where the name cannot be asked for."""

    __slots__ = ("_message", "_record", "wire")

    def __init__(self, kind: str, name: str) -> None:
        self._record = _KINDS[kind]
        try:
            self._message = dns.message.make_query(
                dns.name.from_text(name),
                self._record,
                use_edns=0,
                payload=UDP_MAX,
                flags=dns.flags.RD | dns.flags.AD,
            )
        except (dns.exception.DNSException, UnicodeError) as error:
            raise ValueError(str(error)) from None
        self.wire: bytes = self._message.to_wire()

    def read(self, wire: bytes, *, by_tcp: bool = False) -> tuple[Found, int] | Bad:
        """What a server answered, and for how many seconds it holds."""
        try:
            message = dns.message.from_wire(wire, ignore_trailing=True)
            if not self._message.is_response(message):
                return Bad.FOREIGN
            if message.flags & dns.flags.TC:
                return Bad.REFUSED if by_tcp else Bad.CUT
            return self._found(message)
        except (dns.exception.DNSException, ValueError, IndexError):
            # (a forger does not know the number: with it, the server itself talks nonsense)
            return Bad.REFUSED if wire[:2] == self.wire[:2] else Bad.FOREIGN

    def _found(self, message: Any) -> tuple[Found, int] | Bad:
        code = message.rcode()
        if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Bad.REFUSED
        secure = bool(message.flags & dns.flags.AD)
        chain = message.resolve_chaining()
        ttl = int(chain.minimum_ttl)
        if code == dns.rcode.NXDOMAIN:
            return Found(Status.NO_NAME, secure=secure), _negative(ttl)
        if chain.answer is None or not len(chain.answer):
            return Found(Status.EMPTY, secure=secure), _negative(ttl)
        records = list(chain.answer)[: limits.DNS_RECORDS_MAX]
        return _of(self._record, records, secure), ttl


def _negative(ttl: int) -> int:
    """How long a no holds: without an SOA record, not long."""
    return ttl if 0 < ttl < 0x7FFFFFFF else 60


def _of(record: Any, records: list[Any], secure: bool) -> Found:
    if record == dns.rdatatype.TXT:
        texts = tuple(b"".join(one.strings) for one in records)
        return Found(Status.FOUND, texts=texts, secure=secure)
    if record == dns.rdatatype.MX:
        hosts = tuple((int(one.preference), _name(one.exchange)) for one in records)
        return Found(Status.FOUND, mx=hosts, secure=secure)
    if record == dns.rdatatype.TLSA:
        tlsa = tuple((one.usage, one.selector, one.mtype, bytes(one.cert)) for one in records)
        return Found(Status.FOUND, tlsa=tlsa, secure=secure)
    if record == dns.rdatatype.PTR:
        return Found(Status.FOUND, names=tuple(_name(one.target) for one in records), secure=secure)
    return Found(Status.FOUND, names=tuple(str(one.address) for one in records), secure=secure)


def _name(name: Any) -> str:
    """A name as ours are: small, without the last dot; the root is empty."""
    return str(name.to_text(omit_final_dot=True)).rstrip(".").lower()
