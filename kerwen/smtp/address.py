"""Addresses of the envelope: stricter than those of headers, since we act on them."""

# RFC 5321 §4.1.2 (path, mailbox), RFC 6531 §3.3

from __future__ import annotations

import ipaddress
import re
from typing import Final

import msgspec

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]"
_DOT_STRING: Final = re.compile(rf"{_ATOM}++(?:\.{_ATOM}++)*+")
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*+)"')
_EDGE: Final = r"[A-Za-z0-9_\u0080-\U0010ffff]"
_LABEL: Final = rf"{_EDGE}(?:[A-Za-z0-9_\-\u0080-\U0010ffff]*{_EDGE})?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ROUTE: Final = re.compile(r"@[^:<>@,\s]+(?:,@[^:<>@,\s]+)*:")
_ESCAPED: Final = re.compile(r"\\(.)")
_LOCAL_MAX: Final = 64
_DOMAIN_MAX: Final = 255
_PATH_MAX: Final = 256


class Address(msgspec.Struct, frozen=True, gc=False):
    """A mailbox: its local part without quotes, its domain as written.

    The domain is empty only for `<Postmaster>`, which every server has (RFC 5321 §4.5.1).
    """

    local: str
    domain: str

    def __str__(self) -> str:
        local = self.local
        if not _DOT_STRING.fullmatch(local):
            escaped = local.replace("\\", "\\\\").replace('"', '\\"')
            local = f'"{escaped}"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def is_ascii(self) -> bool:
        """Whether it can travel without SMTPUTF8."""
        return self.local.isascii() and self.domain.isascii()


def mailbox(text: str) -> Address | None:
    """An address `local@domain`; None if it is none."""
    if len(text.encode(errors="replace")) > _PATH_MAX:
        return None
    if text.startswith('"'):
        match = _QUOTED.match(text)
        if match is None:
            return None
        local = _ESCAPED.sub(r"\1", match[1])
        rest = text[match.end() :]
    else:
        match = _DOT_STRING.match(text)
        if match is None:
            return None
        local, rest = match[0], text[match.end() :]
    if not rest.startswith("@") or not 0 < len(local.encode(errors="replace")) <= _LOCAL_MAX:
        return None
    domain = rest[1:]
    if not is_domain(domain) and not is_literal(domain):
        return None
    return Address(local, domain)


def path(text: str) -> Address | None:
    """What stands between `<` and `>`, without a source route (RFC 5321 appendix F.2)."""
    if text.startswith("@"):
        match = _ROUTE.match(text)
        if match is None:
            return None
        text = text[match.end() :]
    if text.lower() == "postmaster":
        return Address(text, "")
    return mailbox(text)


def is_domain(text: str) -> bool:
    """Whether this is a domain name, with or without letters beyond ASCII."""
    if not 0 < len(text) <= _DOMAIN_MAX or not _DOMAIN.fullmatch(text):
        return False
    return all(len(label) <= 63 for label in text.split("."))


def is_literal(text: str) -> bool:
    """Whether this is an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`."""
    if len(text) < 3 or not text.startswith("[") or not text.endswith("]"):
        return False
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        return False
    return "%" not in inner
