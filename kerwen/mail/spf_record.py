"""SPF records: their grammar, and the macros in them."""

# RFC 7208 §4.6, §5, §7, §12

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote

import msgspec

_TERM: Final = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9\-_.]*)(?:([:/])(.*))?", re.DOTALL)
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9\-_.]*)=(.*)", re.DOTALL)
_MACRO: Final = re.compile(r"%(?:\{([a-zA-Z])([0-9]*)([rR]?)([.\-+,/_=]*)\}|([%_\-]))")
_MACRO_STRING: Final = re.compile(
    r"(?:[!-$&-~]|%(?:\{[slodiphcrtvSLODIPHCRTV][0-9]*[rR]?[.\-+,/_=]*\}|[%_\-]))*"
)
_EXPLANATION: Final = re.compile(
    r"(?:[ -$&-~]|%(?:\{[slodiphcrtvSLODIPHCRTV][0-9]*[rR]?[.\-+,/_=]*\}|[%_\-]))*"
)
_EXPLAIN_ONLY: Final = re.compile(r"%\{[crtCRT]")
_NO_DIGIT: Final = re.compile(r"%\{[a-zA-Z]0+[rR.\-+,/_=}]")
_TOP_LABEL: Final = re.compile(
    r"(?:.*\.)?(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9\-]*[A-Za-z0-9])\.?"
)
_MACRO_END: Final = re.compile(r".*%(?:\{[^}]*\}|[%_\-])", re.DOTALL)
_CIDR: Final = re.compile(r"(.*?)(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?", re.DOTALL)
_RECORD_MAX: Final = 8_192
_WITH_DOMAIN: Final = frozenset({"include", "exists"})
_MAYBE_DOMAIN: Final = frozenset({"a", "mx", "ptr"})


class BadRecord(Exception):
    """The record is not what the grammar says."""


class Mechanism(msgspec.Struct, frozen=True):
    """One mechanism. `domain` is a macro-string, empty for the current domain."""

    result: str  # if it matches: pass, fail, softfail, neutral
    name: str
    domain: str = ""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    cidr4: int = 32
    cidr6: int = 128


class Record(msgspec.Struct, frozen=True):
    """A whole record, read."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str | None = None
    explain: str | None = None


_RESULTS: Final = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


def is_spf(text: bytes) -> bool:
    """Whether a TXT record is one of SPF version 1. # RFC 7208 §4.5"""
    return text[:6].lower() == b"v=spf1" and (len(text) == 6 or text[6:7] == b" ")


def parse(text: bytes) -> Record:
    """The record; `BadRecord` if anything in it is wrong, even behind what would match."""
    if len(text) > _RECORD_MAX:
        raise BadRecord("it is too long")
    try:
        terms = text[6:].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise BadRecord("it is not ASCII") from None
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in terms:
        if not term:
            continue
        modifier = _MODIFIER.fullmatch(term)
        if modifier is not None:
            _modifier(modifier[1].lower(), modifier[2], modifiers)
        else:
            mechanisms.append(_mechanism(term))
    return Record(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _modifier(name: str, value: str, known: dict[str, str]) -> None:
    if name not in ("redirect", "exp"):
        if not _MACRO_STRING.fullmatch(value):
            raise BadRecord(f"{name}= holds no macro-string")
        return
    if name in known:
        raise BadRecord(f"{name}= stands twice")  # RFC 7208 §6
    known[name] = domain_spec(value)


def _mechanism(term: str) -> Mechanism:
    match = _TERM.fullmatch(term)
    if match is None:
        raise BadRecord(f"no term: {term[:40]}")
    sign, name, mark, rest = match[1], match[2].lower(), match[3], match[4] or ""
    result = _RESULTS[sign]
    if name == "all":
        if mark:
            raise BadRecord("all takes nothing")
        return Mechanism(result, name)
    if name in _WITH_DOMAIN:
        if mark != ":":
            raise BadRecord(f"{name} needs a domain")
        return Mechanism(result, name, domain_spec(rest))
    if name in ("ip4", "ip6"):
        if mark != ":":
            raise BadRecord(f"{name} needs a network")
        return Mechanism(result, name, network=_network(name, rest))
    if name in _MAYBE_DOMAIN:
        return _host_mechanism(result, name, mark, rest)
    raise BadRecord(f"no mechanism: {name[:40]}")


def _host_mechanism(result: str, name: str, mark: str | None, rest: str) -> Mechanism:
    if mark is None:
        return Mechanism(result, name)
    if name == "ptr":
        if mark != ":":
            raise BadRecord("ptr takes no network")
        return Mechanism(result, name, domain_spec(rest))
    text = rest if mark == ":" else "/" + rest
    match = _CIDR.fullmatch(text)
    assert match is not None
    domain, four, six = match.groups()
    if mark == "/" and domain:
        raise BadRecord("a network that is none")
    cidr4 = int(four) if four is not None else 32
    cidr6 = int(six) if six is not None else 128
    if cidr4 > 32 or cidr6 > 128:
        raise BadRecord("a network that is none")
    return Mechanism(result, name, domain_spec(domain) if mark == ":" else "", None, cidr4, cidr6)


def _network(name: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address, slash, bits = text.partition("/")
    most = 32 if name == "ip4" else 128
    if slash and not re.fullmatch(r"0|[1-9][0-9]{0,2}", bits):
        raise BadRecord("a network that is none")
    size = int(bits) if slash else most
    if size > most or "%" in address:
        raise BadRecord("a network that is none")
    try:
        if name == "ip4":
            return ipaddress.IPv4Network((address, size), strict=False)
        return ipaddress.IPv6Network((address, size), strict=False)
    except ValueError:
        raise BadRecord("a network that is none") from None


def domain_spec(text: str) -> str:
    """A macro-string that ends like a domain: in a label with a letter, or in a macro.

    # RFC 7208 §7.1
    """
    if not text or not _MACRO_STRING.fullmatch(text) or _NO_DIGIT.search(text):
        raise BadRecord("a domain that is none")
    if _EXPLAIN_ONLY.search(text):
        raise BadRecord("a macro that is for explanations only")
    ends_in_macro = _MACRO_END.fullmatch(text) is not None
    if not ends_in_macro and ("." not in text.rstrip(".") or not _TOP_LABEL.fullmatch(text)):
        raise BadRecord("a domain that is none")
    return text


# --- macros -------------------------------------------------------------------------------------


class Macros(msgspec.Struct, frozen=True):
    """What the letters stand for; `p` costs a look-up and comes as an argument of `expand`."""

    sender: str
    local: str
    sender_domain: str
    domain: str
    helo: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    receiver: str
    now_s: int


def wants_name(text: str) -> bool:
    """Whether `%{p}` stands in it."""
    return "%{p" in text or "%{P" in text


def expand(text: str, macros: Macros, name: str = "unknown") -> str:
    """The text with its macros replaced; `name` is the validated name of the client."""
    if "%" not in text:
        return text

    def one(match: re.Match[str]) -> str:
        literal = match[5]
        if literal:
            return {"%": "%", "_": " ", "-": "%20"}[literal]
        letter, digits, reverse, delimiters = match[1], match[2], match[3], match[4]
        value = _value(letter.lower(), macros, name)
        if digits or reverse or delimiters:
            value = _transformed(value, digits, bool(reverse), delimiters or ".")
        return quote(value, safe="") if letter.isupper() else value

    return _MACRO.sub(one, text)


def _transformed(value: str, digits: str, reverse: bool, delimiters: str) -> str:
    parts = re.split(f"[{re.escape(delimiters)}]", value)
    if reverse:
        parts.reverse()
    if digits:
        parts = parts[-min(int(digits[:4]), len(parts)) :]
    return ".".join(parts)


def _value(letter: str, macros: Macros, name: str) -> str:
    address = macros.address
    if letter == "i":
        if address.version == 4:
            return str(address)
        return ".".join(f"{int(address):032x}")
    values = {
        "s": macros.sender,
        "l": macros.local,
        "o": macros.sender_domain,
        "d": macros.domain,
        "p": name,
        "v": "in-addr" if address.version == 4 else "ip6",
        "h": macros.helo,
        "c": str(address),
        "r": macros.receiver,
        "t": str(macros.now_s),
    }
    return values.get(letter, "")


def to_fit(name: str) -> str:
    """A name without its first labels where it is longer than the DNS allows (§7.3)."""
    name = name.rstrip(".")
    while len(name) > 253 and "." in name:
        name = name.partition(".")[2]
    return name


def is_explanation(text: str) -> bool:
    """Whether words of an explanation are well made: macro-strings and spaces (§6.2)."""
    return _EXPLANATION.fullmatch(text) is not None
