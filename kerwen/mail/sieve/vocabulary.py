"""Every command and test that there is: its arguments, and what a script must require for it."""

# RFC 5228 §3-5, and the RFCs named at each word

from __future__ import annotations

import enum
from typing import Final

import msgspec


class Kind(enum.Enum):
    """What an argument holds."""

    NUMBER = "a number"
    STRING = "a string"
    STRINGS = "strings"


class Tag(msgspec.Struct, frozen=True):
    """A tagged argument. Tags of one `group` exclude each other; `value`: what follows it."""

    group: str
    value: Kind | None = None
    needs: str = ""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What may stand behind a name. `tests`: how many, -1 for a list of them."""

    test: bool = False
    needs: tuple[str, ...] = ()  # one of them
    tags: dict[str, Tag] = {}
    places: tuple[tuple[str, Kind], ...] = ()
    optional: int = 0  # so many of the first places may be left out, or of the last (negative)
    tests: int = 0
    block: bool = False


EXTENSIONS: Final = frozenset(
    {
        "fileinto", "reject", "ereject", "envelope", "encoded-character", "body", "variables",
        "relational", "imap4flags", "copy", "vacation", "vacation-seconds", "subaddress", "date",
        "index", "mailbox", "special-use", "duplicate", "include", "editheader",
        "comparator-i;octet", "comparator-i;ascii-casemap", "comparator-i;ascii-numeric",
        "comparator-i;unicode-casemap",
    }
)  # fmt: skip
"""What `require` may name."""

COMPARATORS: Final = frozenset(
    {"i;octet", "i;ascii-casemap", "i;ascii-numeric", "i;unicode-casemap"}
)
FREE_COMPARATORS: Final = frozenset({"i;octet", "i;ascii-casemap"})  # need no require
RELATIONS: Final = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
DATE_PARTS: Final = frozenset(
    {
        "year", "month", "day", "date", "julian", "hour", "minute", "second", "time", "iso8601",
        "std11", "zone", "weekday",
    }
)  # fmt: skip

_MATCH: Final = {
    "is": Tag("match"),
    "contains": Tag("match"),
    "matches": Tag("match"),
    "count": Tag("match", Kind.STRING, "relational"),
    "value": Tag("match", Kind.STRING, "relational"),
    "comparator": Tag("comparator", Kind.STRING),
}
_PART: Final = {
    "all": Tag("part"),
    "localpart": Tag("part"),
    "domain": Tag("part"),
    "user": Tag("part", needs="subaddress"),
    "detail": Tag("part", needs="subaddress"),
}
_INDEX: Final = {
    "index": Tag("index", Kind.NUMBER, "index"),
    "last": Tag("last", needs="index"),
}
_EDIT_INDEX: Final = {"index": Tag("index", Kind.NUMBER), "last": Tag("last")}
_ZONE: Final = {"zone": Tag("zone", Kind.STRING)}
_COPY: Final = {"copy": Tag("copy", needs="copy")}
_FLAGS: Final = {"flags": Tag("flags", Kind.STRINGS, "imap4flags")}
_MODIFIERS: Final = {
    "lower": Tag("case"),
    "upper": Tag("case"),
    "lowerfirst": Tag("first"),
    "upperfirst": Tag("first"),
    "quotewildcard": Tag("quote"),
    "length": Tag("length"),
}
_FLAG_DEED: Final = Form(
    needs=("imap4flags",),
    places=(("variable", Kind.STRING), ("flags", Kind.STRINGS)),
    optional=1,
)
_REASON: Final = (("reason", Kind.STRING),)

COMMANDS: Final[dict[str, Form]] = {
    "require": Form(places=(("names", Kind.STRINGS),)),
    "if": Form(tests=1, block=True),
    "elsif": Form(tests=1, block=True),
    "else": Form(block=True),
    "stop": Form(),
    "keep": Form(tags=_FLAGS),
    "discard": Form(),
    "redirect": Form(tags=_COPY, places=(("address", Kind.STRING),)),
    "fileinto": Form(
        needs=("fileinto",),
        tags={
            **_COPY,
            **_FLAGS,
            "create": Tag("create", needs="mailbox"),  # RFC 5490
            "specialuse": Tag("specialuse", Kind.STRING, "special-use"),  # RFC 8579
        },
        places=(("mailbox", Kind.STRING),),
    ),
    "reject": Form(needs=("reject",), places=_REASON),  # RFC 5429
    "ereject": Form(needs=("ereject",), places=_REASON),
    "setflag": _FLAG_DEED,  # RFC 5232
    "addflag": _FLAG_DEED,
    "removeflag": _FLAG_DEED,
    "vacation": Form(  # RFC 5230, RFC 6131
        needs=("vacation", "vacation-seconds"),
        tags={
            "days": Tag("every", Kind.NUMBER),
            "seconds": Tag("every", Kind.NUMBER, "vacation-seconds"),
            "subject": Tag("subject", Kind.STRING),
            "from": Tag("from", Kind.STRING),
            "addresses": Tag("addresses", Kind.STRINGS),
            "mime": Tag("mime"),
            "handle": Tag("handle", Kind.STRING),
        },
        places=_REASON,
    ),
    "set": Form(  # RFC 5229
        needs=("variables",),
        tags=_MODIFIERS,
        places=(("name", Kind.STRING), ("value", Kind.STRING)),
    ),
    "include": Form(  # RFC 6609
        needs=("include",),
        tags={
            "personal": Tag("location"),
            "global": Tag("location"),
            "once": Tag("once"),
            "optional": Tag("optional"),
        },
        places=(("script", Kind.STRING),),
    ),
    "return": Form(needs=("include",)),
    "global": Form(needs=("include",), places=(("names", Kind.STRINGS),)),
    "addheader": Form(  # RFC 5293
        needs=("editheader",),
        tags={"last": Tag("last")},
        places=(("name", Kind.STRING), ("value", Kind.STRING)),
    ),
    "deleteheader": Form(
        needs=("editheader",),
        tags={**_EDIT_INDEX, **_MATCH},
        places=(("name", Kind.STRING), ("keys", Kind.STRINGS)),
        optional=-1,
    ),
}

TESTS: Final[dict[str, Form]] = {
    "true": Form(test=True),
    "false": Form(test=True),
    "not": Form(test=True, tests=1),
    "allof": Form(test=True, tests=-1),
    "anyof": Form(test=True, tests=-1),
    "exists": Form(test=True, places=(("headers", Kind.STRINGS),)),
    "size": Form(
        test=True, tags={"over": Tag("size"), "under": Tag("size")}, places=(("n", Kind.NUMBER),)
    ),
    "header": Form(
        test=True,
        tags={**_MATCH, **_INDEX},
        places=(("headers", Kind.STRINGS), ("keys", Kind.STRINGS)),
    ),
    "address": Form(
        test=True,
        tags={**_MATCH, **_PART, **_INDEX},
        places=(("headers", Kind.STRINGS), ("keys", Kind.STRINGS)),
    ),
    "envelope": Form(
        test=True,
        needs=("envelope",),
        tags={**_MATCH, **_PART},
        places=(("parts", Kind.STRINGS), ("keys", Kind.STRINGS)),
    ),
    "body": Form(  # RFC 5173
        test=True,
        needs=("body",),
        tags={
            **_MATCH,
            "raw": Tag("transform"),
            "text": Tag("transform"),
            "content": Tag("transform", Kind.STRINGS),
        },
        places=(("keys", Kind.STRINGS),),
    ),
    "string": Form(
        test=True,
        needs=("variables",),
        tags=_MATCH,
        places=(("sources", Kind.STRINGS), ("keys", Kind.STRINGS)),
    ),
    "hasflag": Form(
        test=True,
        needs=("imap4flags",),
        tags=_MATCH,
        places=(("variables", Kind.STRINGS), ("flags", Kind.STRINGS)),
        optional=1,
    ),
    "date": Form(  # RFC 5260
        test=True,
        needs=("date",),
        tags={**_MATCH, **_INDEX, **_ZONE, "originalzone": Tag("zone")},
        places=(("header", Kind.STRING), ("part", Kind.STRING), ("keys", Kind.STRINGS)),
    ),
    "currentdate": Form(
        test=True,
        needs=("date",),
        tags={**_MATCH, **_ZONE},
        places=(("part", Kind.STRING), ("keys", Kind.STRINGS)),
    ),
    "mailboxexists": Form(test=True, needs=("mailbox",), places=(("mailboxes", Kind.STRINGS),)),
    "specialuse_exists": Form(
        test=True,
        needs=("special-use",),
        places=(("mailbox", Kind.STRING), ("uses", Kind.STRINGS)),
        optional=1,
    ),
    "duplicate": Form(  # RFC 7352
        test=True,
        needs=("duplicate",),
        tags={
            "handle": Tag("handle", Kind.STRING),
            "header": Tag("id", Kind.STRING),
            "uniqueid": Tag("id", Kind.STRING),
            "seconds": Tag("seconds", Kind.NUMBER),
            "last": Tag("last"),
        },
    ),
}
