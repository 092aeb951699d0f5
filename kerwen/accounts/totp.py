"""Time-based one-time passwords, as authenticator apps make them: SHA-1, six digits, 30 seconds.

Pure: secrets and times come in as arguments.
"""

# RFC 6238, RFC 4226

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

SECRET_BYTES: Final = 20  # RFC 4226 §4: 160 bits are recommended
DIGITS: Final = 6
STEP_MS: Final = 30_000
DRIFT_STEPS: Final = 1
"""How far a phone's clock may be away: one step either way (RFC 6238 §5.2)."""


def hotp(secret: bytes, counter: int, digits: int = DIGITS, digest: str = "sha1") -> str:
    """The code of one counter (RFC 4226 §5.3)."""
    mac = hmac.digest(secret, counter.to_bytes(8, "big"), digest)
    at = mac[-1] & 15
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def step_at(now_ms: int) -> int:
    """Which step of 30 seconds a time is in."""
    return now_ms // STEP_MS


def proved_step(secret: bytes, code: str, now_ms: int, used_step: int) -> int | None:
    """The step that a code is of; None where it is wrong.

    A step that is not after `used_step` counts as wrong: each code is good once (RFC 6238 §5.2).
    All steps of the window are compared, so the time tells nothing.
    """
    typed = digits_of(code)
    found = None
    for step in _window(now_ms):
        fits = hmac.compare_digest(hotp(secret, step), typed or "-")
        if fits and step > used_step and found is None:
            found = step
    return found


def _window(now_ms: int) -> Iterator[int]:
    now = step_at(now_ms)
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if step >= 0:
            yield step


def digits_of(text: str) -> str | None:
    """The six digits that somebody typed, with or without a space amid them; None: no code."""
    plain = text.strip().replace(" ", "") if len(text) < 20 else ""
    return plain if len(plain) == DIGITS and plain.isascii() and plain.isdigit() else None


def secret_text(secret: bytes) -> str:
    """The secret as people type it into an app: base32 without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def uri(secret: bytes, issuer: str, user: str) -> str:
    """The `otpauth:` link that authenticator apps read, for a QR code."""
    label = f"{quote(issuer, safe='')}:{quote(user, safe='')}"
    return f"otpauth://totp/{label}?secret={secret_text(secret)}&issuer={quote(issuer, safe='')}"
