"""MTA-STS: what a domain promises of TLS at its mail servers, and whether a host keeps it."""

# RFC 8461

from __future__ import annotations

import enum
import hashlib
import re
from typing import Final

import msgspec

MAX_AGE_S: Final = 31_557_600
POLICY_MAX: Final = 64 * 1024  # bytes (§3.3)
_MX_MAX: Final = 200
_OWN_AGE_S: Final = 7 * 86_400
_RECORD: Final = re.compile(rb"v=STSv1[ \t]*(?:;|\Z)")
_ID: Final = re.compile(rb"(?:^|;)[ \t]*id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})[ \t]*(?:;|\Z)")
_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class Mode(enum.Enum):
    """What is to happen where a host does not keep the policy."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class Policy(msgspec.Struct, frozen=True):
    """A policy as its file tells it; `mx` are hosts, `*.` stands for one label."""

    mode: Mode
    max_age_s: int
    mx: tuple[str, ...]


class BadPolicy(Exception):
    """The file is no policy; the text says why."""


def record_name(domain: str) -> str:
    """Where the TXT record stands that tells of a policy."""
    return f"_mta-sts.{domain}"


def policy_host(domain: str) -> str:
    """The host that serves the policy."""
    return f"mta-sts.{domain}"


def policy_id(texts: tuple[bytes, ...]) -> str | None:
    """The id in the TXT records; None where there is not exactly one that is good (§3.1)."""
    found = [text for text in texts if _RECORD.match(text)]
    if len(found) != 1:
        return None
    match = _ID.search(found[0])
    return match[1].decode() if match else None


def parse(body: bytes) -> Policy:
    """Reads a policy (§3.2); of a field that may stand once, the first counts. `BadPolicy`."""
    if len(body) > POLICY_MAX:
        raise BadPolicy("it is too long")
    first: dict[str, str] = {}
    hosts: list[str] = []
    for line in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n"):
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            if line.strip():
                raise BadPolicy("a line that is no field")
        elif key == "mx":
            hosts.append(value.lower().rstrip("."))
        else:
            first.setdefault(key, value)
    if first.get("version") != "STSv1":
        raise BadPolicy("no version that we know")
    age = first.get("max_age", "")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise BadPolicy("no good max_age")
    try:
        mode = Mode(first.get("mode", ""))
    except ValueError:
        raise BadPolicy("no mode that we know") from None
    if mode is not Mode.NONE and not hosts:
        raise BadPolicy("no mx")
    if len(hosts) > _MX_MAX or not all(_HOST.fullmatch(host) for host in hosts):
        raise BadPolicy("an mx that is no host")
    return Policy(mode, min(int(age), MAX_AGE_S), tuple(hosts))


def lines(policy: Policy) -> tuple[str, ...]:
    """A policy as reports repeat it (RFC 8460 §4.3)."""
    mx = (f"mx: {host}" for host in policy.mx)
    return ("version: STSv1", f"mode: {policy.mode.value}", *mx, f"max_age: {policy.max_age_s}")


def allows(policy: Policy, host: str) -> bool:
    """Whether a host is one of the policy's (§4.1)."""
    host = host.lower().rstrip(".")
    parent = "*." + host.partition(".")[2]
    return host in policy.mx or parent in policy.mx


# --- our own policy ---------------------------------------------------------------------------


def of_house(domain: str, mode: str) -> Policy:
    """What this house promises: its one mail server is the domain itself."""
    return Policy(Mode(mode), _OWN_AGE_S, (domain,))


def text(policy: Policy) -> bytes:
    """A policy as its file (§3.2)."""
    return "".join(f"{line}\r\n" for line in lines(policy)).encode()


def own_id(policy: Policy) -> str:
    """An id that changes whenever the policy does (§3.1)."""
    return hashlib.sha256(text(policy)).hexdigest()[:20]
