"""The arguments of SMTP commands. What is wrong raises `Wrong`, which carries the reply.

Named like the rules of RFC 5321 §4.1.1; tolerant of spaces after the colon and of missing
brackets, which printers and cameras send.
"""

# RFC 5321 §4.1, RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3461 (DSN)

from __future__ import annotations

import re
from typing import Final

from kerwen.smtp.address import Address, is_domain, is_literal, path
from kerwen.smtp.commands import Hello, Mail, Rcpt
from kerwen.smtp.replies import Reply, reply

_PATH: Final = re.compile(
    r'\s*<((?:"(?:[^"\\]|\\.)*+"|[^">])*+)>(?:\s+(.*))?|\s*([^\s<>]+)(?:\s+(.*))?'
)
_PARAM: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_XCHAR: Final = re.compile(r"\+([0-9A-F]{2})")
_UNICODE_XCHAR: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_HELLO: Final = re.compile(r"[!-~\u0080-\U0010ffff]{1,255}")
_SIZE: Final = re.compile(r"[0-9]{1,20}")
_NOTIFY: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_ENVELOPE_ID_MAX: Final = 100
_ORIGINAL_MAX: Final = 500


class Wrong(Exception):
    """The command cannot be obeyed as it is."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.code)
        self.answer = answer


def _syntax(text: str) -> Wrong:
    return Wrong(reply(501, "5.5.4", text))


def hello(text: str, *, extended: bool) -> Hello:
    """`EHLO name`. The name is kept as told; whether it is true is not asked here."""
    name = text.strip()
    if not _HELLO.fullmatch(name):
        raise _syntax("Say your host's name")
    return Hello(name, extended)


def is_host(name: str) -> bool:
    """Whether a name that was told could be one: RFC 5321 §4.1.1.1."""
    return is_domain(name) or is_literal(name)


def mail(text: str) -> Mail:
    """`MAIL FROM:<reverse-path> [parameters]`"""
    inner, params = _path_and_params(text, "FROM")
    sender: Address | None = None
    if inner:
        sender = path(inner)
        if sender is None or not sender.domain:
            raise Wrong(reply(501, "5.1.7", "This is no address"))
    size: int | None = None
    eight_bit = utf8 = False
    ret_full: bool | None = None
    envelope_id: str | None = None
    for name, value in params.items():
        if name == "SIZE" and value is not None and _SIZE.fullmatch(value):
            size = int(value)
        elif name == "BODY" and value is not None and value.upper() in ("7BIT", "8BITMIME"):
            eight_bit = value.upper() == "8BITMIME"
        elif name == "SMTPUTF8" and value is None:
            utf8 = True
        elif name == "RET" and value is not None and value.upper() in ("FULL", "HDRS"):
            ret_full = value.upper() == "FULL"
        elif name == "ENVID" and value is not None and len(value) <= _ENVELOPE_ID_MAX:
            envelope_id = xtext(value)
        elif name == "AUTH" and value is not None:
            continue  # RFC 4954 §5: who is to blame; we trust our own log-in only
        else:
            raise _bad_param(name, _MAIL_PARAMS)
    if sender is not None and not sender.is_ascii and not utf8:
        raise Wrong(reply(553, "5.6.7", "This address needs SMTPUTF8"))
    return Mail(sender, size, eight_bit, utf8, ret_full, envelope_id)


_MAIL_PARAMS: Final = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
_RCPT_PARAMS: Final = frozenset({"NOTIFY", "ORCPT"})


def rcpt(text: str, *, utf8: bool) -> Rcpt:
    """`RCPT TO:<forward-path> [parameters]`; `utf8` as MAIL said."""
    inner, params = _path_and_params(text, "TO")
    recipient = path(inner)
    if recipient is None:
        raise Wrong(reply(501, "5.1.3", "This is no address"))
    if not recipient.is_ascii and not utf8:
        raise Wrong(reply(553, "5.6.7", "This address needs SMTPUTF8"))
    notify: frozenset[str] | None = None
    original: str | None = None
    for name, value in params.items():
        if name == "NOTIFY" and value is not None:
            notify = _notify(value)
        elif name == "ORCPT" and value is not None and len(value) <= _ORIGINAL_MAX:
            original = _original(value)
        else:
            raise _bad_param(name, _RCPT_PARAMS)
    return Rcpt(recipient, notify, original)


def _notify(value: str) -> frozenset[str]:
    """RFC 3461 §4.1: NEVER alone, or some of the others."""
    asked = value.upper().split(",")
    if asked == ["NEVER"]:
        return frozenset()
    if not _NOTIFY.issuperset(asked):
        raise _bad_param("NOTIFY", _RCPT_PARAMS)
    return frozenset(asked)


def _original(value: str) -> str:
    """RFC 3461 §4.2, RFC 6533 §3: `addr-type;xtext`."""
    kind, semicolon, address = value.partition(";")
    if not semicolon or not kind or not address:
        raise _bad_param("ORCPT", _RCPT_PARAMS)
    if kind.lower() == "utf-8":
        address = _UNICODE_XCHAR.sub(lambda m: _unicode(m[1]), address)
    else:
        address = xtext(address)
    return f"{kind.lower()};{address}"


def _unicode(digits: str) -> str:
    code = int(digits, 16)
    fits = 0x20 <= code < 0xD800 or 0xE000 <= code <= 0x10FFFF
    return chr(code) if fits else "?"


def xtext(value: str) -> str:
    """xtext decoded (RFC 3461 §4); `Wrong` if it is none. Control characters become `?`."""
    if not _XTEXT.fullmatch(value):
        raise _syntax("This is not xtext")
    decoded = _XCHAR.sub(lambda m: chr(int(m[1], 16)), value)
    return "".join(c if c.isprintable() else "?" for c in decoded)


def to_xtext(text: str) -> str:
    """A text as xtext; letters beyond ASCII become `?`."""
    return "".join(
        c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" if c < "\x80" else "?"
        for c in text
    )


def _bad_param(name: str, known: frozenset[str]) -> Wrong:
    if name in known:
        return Wrong(reply(501, "5.5.4", f"This value of {name} makes no sense"))
    return Wrong(reply(555, "5.5.4", "There is a parameter here that we do not know"))


def _path_and_params(text: str, keyword: str) -> tuple[str, dict[str, str | None]]:
    """`FROM:<…>` and its parameters, names in capitals, each once."""
    head, colon, rest = text.partition(":")
    if not colon or head.strip().upper() != keyword:
        raise _syntax(f"Say {keyword}:<address>")
    match = _PATH.fullmatch(rest)
    if match is None:
        raise _syntax(f"Say {keyword}:<address>")
    bracketed = match[1] is not None
    inner = match[1] if bracketed else match[3]
    words = ((match[2] if bracketed else match[4]) or "").split()
    params: dict[str, str | None] = {}
    for word in words:
        found = _PARAM.fullmatch(word)
        if found is None or found[1].upper() in params:
            raise _syntax("The parameters make no sense")
        params[found[1].upper()] = found[2]
    return inner, params
