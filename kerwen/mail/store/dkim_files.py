"""The keys that sign what leaves: files of the data folder's `keys/dkim/`, mode 0600.

A *pair* is an RSA and an Ed25519 key under one name, `NAME-rsa.pem` and `NAME-ed25519.pem`; the
selectors are `NAMEr` and `NAMEe`. `in-use` names the pair that signs. A new pair signs only once
its records stand in the DNS, and an old one is kept as long as its signatures may be looked at.
"""

# RFC 6376 §3.1 (rotation), RFC 8301, RFC 8463

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.mail import dkim_keys
from kerwen.mail.dkim_keys import SigningKey

RSA_BITS: Final = 2048
PAIRS_MAX: Final = 8
_NAME: Final = re.compile(r"[a-z0-9]{1,40}")
_IN_USE: Final = "in-use"


class Pair(msgspec.Struct, frozen=True):
    """Two keys that sign together."""

    name: str
    keys: tuple[SigningKey, ...]


class DkimFiles:
    """The pairs of a data folder. `folder` is `keys/dkim`."""

    def __init__(self, folder: Path, domain: str) -> None:
        self._folder = folder
        self._domain = domain
        self.pairs: dict[str, Pair] = {}
        self.in_use = ""
        self.load()

    @property
    def signing(self) -> tuple[SigningKey, ...]:
        """The keys that sign now; none before `begin`."""
        pair = self.pairs.get(self.in_use)
        return pair.keys if pair is not None else ()

    def load(self) -> None:
        """Reads the folder. SystemExit where a file holds no key."""
        self.pairs = {}
        self.in_use = ""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*-rsa.pem")):
            name = path.name.removesuffix("-rsa.pem")
            if _NAME.fullmatch(name):
                self.pairs[name] = self._read(name)
        named = self._folder / _IN_USE
        if named.exists():
            self.in_use = named.read_text("ascii").strip()

    def _read(self, name: str) -> Pair:
        keys = []
        for kind in ("rsa", "ed25519"):
            path = self._folder / f"{name}-{kind}.pem"
            try:
                keys.append(dkim_keys.load(self._domain, name + kind[0], path.read_bytes()))
            except FileNotFoundError:
                continue
            except ValueError as error:
                raise SystemExit(f"kerwen: {path} holds no key: {error}") from None
        return Pair(name, tuple(keys))

    def begin(self, name: str) -> None:
        """Makes the first pair and uses it, if there is none."""
        if not self.signing:
            if not self.pairs:
                self.make(name)
            self.use(next(reversed(self.pairs)))

    def make(self, day: str) -> Pair:
        """A new pair, named after a day; it does not sign yet. Takes 0.1 s. `Refused`:
        LIMIT_EXCEEDED."""
        if len(self.pairs) >= PAIRS_MAX:
            raise Refused(Reason.LIMIT_EXCEEDED, "There are enough pairs; drop an old one")
        name = next(n for n in (day, *(day + c for c in "abcdefgh")) if n not in self.pairs)
        made = dkim_keys.generate(RSA_BITS)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # the RSA file last: a pair of which only one file got there is none
        for kind in ("ed25519", "rsa"):
            _write(self._folder / f"{name}-{kind}.pem", made[kind])
        self.pairs[name] = self._read(name)
        return self.pairs[name]

    def use(self, name: str) -> None:
        """Lets a pair sign from now on. `Refused(NOT_FOUND)`."""
        if name not in self.pairs:
            raise Refused(Reason.NOT_FOUND, "There is no such pair of keys")
        _write(self._folder / _IN_USE, name.encode() + b"\n")
        self.in_use = name

    def drop(self, name: str) -> None:
        """Removes a pair that does not sign. `Refused`: NOT_FOUND, CONFLICT."""
        if name not in self.pairs:
            raise Refused(Reason.NOT_FOUND, "There is no such pair of keys")
        if name == self.in_use:
            raise Refused(Reason.CONFLICT, "This pair signs; use another first")
        for kind in ("rsa", "ed25519"):
            (self._folder / f"{name}-{kind}.pem").unlink(missing_ok=True)
        del self.pairs[name]


def _write(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all, for us alone."""
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
