"""Runs a script on a message: pure, bounded, and whatever it does, no message is lost by it."""

# RFC 5228 §2.10, §4; RFC 5229; RFC 5232; RFC 5293; RFC 6609

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from kerwen.base import limits
from kerwen.mail.sieve import fitness, tests
from kerwen.mail.sieve.mail import Line, Mail
from kerwen.mail.sieve.outcome import (
    INBOX,
    Facts,
    Fault,
    Filed,
    Outcome,
    Redirect,
    Reject,
    Remember,
    Reply,
)
from kerwen.mail.sieve.script import Script, Step
from kerwen.mail.sieve.state import Asked, State

_WILD: Final = re.compile(r"([*?\\])")
_DAY_S: Final = 86_400
_DEFAULT_DAYS: Final = 7
_MODIFIERS: Final[tuple[tuple[str, dict[str, Callable[[str], str]]], ...]] = (
    # what has the greater precedence is done first (RFC 5229 §4.1)
    ("case", {"lower": str.lower, "upper": str.upper}),
    (
        "first",
        {
            "lowerfirst": lambda text: text[:1].lower() + text[1:],
            "upperfirst": lambda text: text[:1].upper() + text[1:],
        },
    ),
    ("quote", {"quotewildcard": lambda text: _WILD.sub(r"\\\1", text)}),
    ("length", {"length": lambda text: str(len(text))}),
)


class _Stop(Exception):
    """`stop`."""


class _Return(Exception):
    """`return`."""


def run(
    script: Script,
    mail: Mail,
    facts: Facts,
    scripts: Mapping[str, Script] | None = None,
) -> Outcome:
    """What a script wants. `scripts`: those that it may include, by name. Never raises: a fault
    is part of the outcome. A message that was run on may not be used again if its header changed.
    """
    state = State(mail, facts)
    runner = _Run(state, scripts or {})
    try:
        runner.script(script)
        return runner.outcome()
    except Asked as asked:
        return Outcome(ask=asked.key, steps=state.steps)
    except Fault as fault:
        return Outcome((Filed(),), fault=fault, steps=state.steps)


class _Run:
    def __init__(self, state: State, scripts: Mapping[str, Script]) -> None:
        self._state = state
        self._scripts = scripts
        self._filed: list[Filed] = []
        self._redirects: list[Redirect] = []
        self._reject: Reject | None = None
        self._reply: Reply | None = None
        self._keeps = True  # implicitly
        self._running: list[str] = []
        self._included: set[str] = set()
        self._includes = 0

    def script(self, script: Script) -> None:
        """Runs it to its end."""
        try:
            self._block(script.steps)
        except (_Stop, _Return):
            pass

    def outcome(self) -> Outcome:
        """What came out, once it ended well."""
        if self._keeps:
            self._file(Filed(INBOX, self._state.flags(), header=self._state.mail.version()))
        filed = tuple(self._filed)
        if self._reject is not None and (filed or self._redirects or self._reply is not None):
            raise Fault("a message cannot be refused and taken at the same time")
        return Outcome(
            filed,
            tuple(self._redirects),
            self._reject,
            self._reply,
            tuple(self._state.remember.values()),
            steps=self._state.steps,
        )

    def _block(self, steps: Iterable[Step]) -> None:
        done = True  # of the `if` before: whether one of its branches ran
        state = self._state
        for step in steps:
            state.spend(step)
            name = step.name
            if name == "if" or (name == "elsif" and not done):
                done = tests.holds(state, step.tests[0])
                if done:
                    self._block(step.block)
            elif name == "else":
                if not done:
                    self._block(step.block)
            elif name != "elsif":
                _DEEDS[name](self, step)

    # --- what ends

    def stop(self, step: Step) -> None:
        raise _Stop

    def leave(self, step: Step) -> None:
        raise _Return

    def include(self, step: Step) -> None:
        """# RFC 6609 §3.2"""
        name = step.places["script"]
        if step.tag("location") == "global":
            if step.tag("optional"):
                return
            raise Fault("there are no scripts for everybody here", step.line)
        if step.tag("once") and name in self._included:
            return
        found = self._scripts.get(name)
        if found is None:
            if step.tag("optional"):
                return
            raise Fault(f"there is no script {name!r} to include", step.line)
        self._includes += 1
        if (
            name in self._running
            or len(self._running) >= limits.SIEVE_INCLUDE_DEPTH_MAX
            or self._includes > limits.SIEVE_INCLUDES_MAX
        ):
            raise Fault(f"too many includes, or one of itself: {name!r}", step.line)
        self._running.append(name)
        self._included.add(name)
        self._state.enter()
        try:
            self._block(found.steps)
        except _Return:
            pass
        finally:
            self._state.leave()
            self._running.pop()

    # --- what becomes of the message

    def _file(self, filed: Filed) -> None:
        for at, other in enumerate(self._filed):
            if (other.mailbox, other.special) == (filed.mailbox, filed.special):
                self._filed[at] = filed  # one copy a mailbox: the last word counts
                return
        self._filed.append(filed)
        if len(self._filed) > limits.SIEVE_ACTIONS_MAX:
            raise Fault(f"at most {limits.SIEVE_ACTIONS_MAX} copies of a message")

    def _flags(self, step: Step) -> tuple[str, ...]:
        told = step.value("flags")
        state = self._state
        return state.flags() if told is None else state.flag_list(state.texts(told))

    def keep(self, step: Step) -> None:
        self._keeps = False
        self._file(Filed(INBOX, self._flags(step), header=self._state.mail.version()))

    def fileinto(self, step: Step) -> None:
        state = self._state
        mailbox = state.text(step.places["mailbox"])
        if not mailbox:
            raise Fault("a mailbox has a name", step.line)
        special = state.text(step.value("specialuse") or "")
        if not step.tag("copy"):
            self._keeps = False
        create = bool(step.tag("create"))
        self._file(Filed(mailbox, self._flags(step), create, special, state.mail.version()))

    def discard(self, step: Step) -> None:
        self._keeps = False

    def redirect(self, step: Step) -> None:
        address = self._state.text(step.places["address"]).strip()
        if not fitness.is_address(address):
            raise Fault(f"{address[:80]!r} is no address", step.line)
        if not step.tag("copy"):
            self._keeps = False
        if any(one.address.lower() == address.lower() for one in self._redirects):
            return
        self._redirects.append(Redirect(address, self._state.mail.version()))
        if len(self._redirects) > limits.SIEVE_REDIRECTS_MAX:
            most = limits.SIEVE_REDIRECTS_MAX
            raise Fault(f"a message is sent on to at most {most} addresses", step.line)

    def reject(self, step: Step) -> None:
        if self._reject is not None:
            raise Fault("a message is refused only once", step.line)
        self._keeps = False
        reason = self._state.text(step.places["reason"])
        self._reject = Reject(reason, step.name == "ereject")

    def vacation(self, step: Step) -> None:
        if self._reply is not None:
            raise Fault("a message is answered only once", step.line)
        state = self._state
        unit, every = step.tags.get("every", ("days", _DEFAULT_DAYS))
        seconds = every * _DAY_S if unit == "days" else every
        least = 0 if unit == "seconds" else _DAY_S
        subject, sender = step.value("subject"), step.value("from")
        reason = state.text(step.places["reason"])
        told = (str(subject), str(sender), reason, str(bool(step.tag("mime"))))
        handle = step.value("handle")
        self._reply = Reply(
            reason,
            min(max(seconds, least), fitness.SECONDS_MAX),
            state.text(subject) if subject is not None else None,
            state.text(sender) if sender is not None else None,
            state.texts(step.value("addresses") or ()),
            bool(step.tag("mime")),
            state.text(handle) if handle is not None else "\0".join(told),
        )

    # --- variables and flags

    def set(self, step: Step) -> None:
        """# RFC 5229 §4"""
        value = self._state.text(step.places["value"])
        for group, deeds in _MODIFIERS:
            tag = step.tag(group)
            if tag:
                value = deeds[tag](value)
        self._state.assign(step.places["name"], value, step)

    def share(self, step: Step) -> None:
        """`global`.  # RFC 6609 §3.4"""
        for name in step.places["names"]:
            self._state.share(name, step)

    def setflag(self, step: Step) -> None:
        self._change(step, lambda old, new: new)

    def addflag(self, step: Step) -> None:
        self._change(step, lambda old, new: old + new)

    def removeflag(self, step: Step) -> None:
        def less(old: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...]:
            small = {flag.lower() for flag in gone}
            return tuple(flag for flag in old if flag.lower() not in small)

        self._change(step, less)

    def _change(
        self,
        step: Step,
        deed: Callable[[tuple[str, ...], tuple[str, ...]], tuple[str, ...]],
    ) -> None:
        state = self._state
        name = step.places.get("variable")
        told = state.flag_list(state.texts(step.places["flags"]))
        found = state.flag_list(deed(state.flags(name), told))
        if name is None:
            state.own_flags = found
        else:
            state.assign(name, " ".join(found), step)

    # --- the header

    def addheader(self, step: Step) -> None:
        """# RFC 5293 §4"""
        state = self._state
        name = state.text(step.places["name"])
        value = state.text(step.places["value"]).strip()
        if not fitness.is_field_name(name):
            raise Fault(f"no header field is called {name[:80]!r}", step.line)
        state.mail.add(name, value, last=bool(step.tag("last")))
        self._count_edit(step)

    def deleteheader(self, step: Step) -> None:
        """# RFC 5293 §5"""
        state = self._state
        name = state.text(step.places["name"])
        if not fitness.is_field_name(name):
            raise Fault(f"no header field is called {name[:80]!r}", step.line)
        found = tests.at_index(step, state.mail.named(name))
        keys = step.places.get("keys")
        if keys is not None:
            test = tests.Match(state, step, keys, remembers=False)
            if test.counts:
                found = found if test.count(len(found)) else []
            else:
                found = [line for line in found if test.any((line.text,))]
        before: list[Line] = state.mail.lines
        state.mail.drop(found)
        if state.mail.lines is not before:
            self._count_edit(step)

    def _count_edit(self, step: Step) -> None:
        if self._state.mail.edits > limits.SIEVE_EDITS_MAX:
            raise Fault("too many changes of the header", step.line)


_DEEDS: Final[dict[str, Callable[[_Run, Step], None]]] = {
    "stop": _Run.stop,
    "return": _Run.leave,
    "include": _Run.include,
    "keep": _Run.keep,
    "fileinto": _Run.fileinto,
    "discard": _Run.discard,
    "redirect": _Run.redirect,
    "reject": _Run.reject,
    "ereject": _Run.reject,
    "vacation": _Run.vacation,
    "set": _Run.set,
    "global": _Run.share,
    "setflag": _Run.setflag,
    "addflag": _Run.addflag,
    "removeflag": _Run.removeflag,
    "addheader": _Run.addheader,
    "deleteheader": _Run.deleteheader,
}

__all__ = ["Facts", "Mail", "Outcome", "Remember", "run"]
