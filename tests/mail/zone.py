"""A DNS of a few names, to answer rules from."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from kerwen.base.ask import ask_now
from kerwen.mail import dns
from kerwen.mail.dns import Dns, Found, Status

R = TypeVar("R")


class Zone:
    """Lines like `x.example TXT v=spf1 -all`, `x.example MX 10 mx.x.example`.

    `FAIL` as a kind (or as a value) lets a look-up fail; `x.example EXISTS` has nothing else.
    """

    def __init__(self, text: str) -> None:
        self.records: dict[str, list[tuple[str, str]]] = {}
        self.asked: list[str] = []
        for line in text.splitlines():
            parts = line.split(None, 2)
            if len(parts) >= 2:
                value = parts[2].strip() if len(parts) > 2 else ""
                self.records.setdefault(parts[0].lower(), []).append((parts[1], value))

    def answer(self, question: Dns) -> Found:
        self.asked.append(f"{question.kind} {question.name}")
        assert dns.is_name(question.name)
        records = self.records.get(question.name)
        if records is None:
            return dns.NO_NAME
        if any(kind == "FAIL" and value in ("", question.kind) for kind, value in records):
            return dns.FAILED
        values = [value for kind, value in records if kind == question.kind]
        if not values:
            return dns.NOTHING
        if question.kind == "TXT":
            return Found(Status.FOUND, texts=tuple(value.encode() for value in values))
        if question.kind == "MX":
            pairs = [value.split() for value in values]
            return Found(Status.FOUND, mx=tuple((int(p), host) for p, host in pairs))
        return Found(Status.FOUND, names=tuple(values))

    def ask(self, rule: Generator[Dns, Found, R]) -> R:
        """Runs a rule on this zone."""
        return ask_now(rule, self.answer)
