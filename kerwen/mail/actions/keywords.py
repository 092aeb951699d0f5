"""Keywords: flags that programs name themselves. An account knows up to 64 of them, as bits."""

# RFC 9051 §2.3.2

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail.store import mailboxes as store
from kerwen.storage.database import Tx

_KEYWORD: Final = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")


async def bits(tx: Tx, account_no: int, names: Iterable[str], *, add: bool = True) -> int:
    """The bits of keywords; new ones are given bits, or passed over (`add` False).

    Says `BAD_FLAG` for what is no keyword, and when the account knows as many as it may.
    """
    wanted = list(names)
    if not wanted:
        return 0
    known = await store.keywords(tx, account_no)
    places = {name.lower(): place for place, name in enumerate(known)}
    found = 0
    grown = False
    for name in wanted:
        place = places.get(name.lower())
        if place is None and add:
            check(name)
            if len(known) >= limits.KEYWORDS_KNOWN_MAX:
                raise Refused(
                    Reason.BAD_FLAG, f"An account has at most {limits.KEYWORDS_KNOWN_MAX} keywords"
                )
            place = places[name.lower()] = len(known)
            known.append(name)
            grown = True
        if place is not None:
            found |= 1 << place
    if grown:
        await store.set_keywords(tx, account_no, known)
    return found


def check(name: str) -> None:
    """Says `BAD_FLAG` for what is no keyword (RFC 9051 §9, `flag-keyword`)."""
    if len(name) > limits.KEYWORD_MAX or not _KEYWORD.fullmatch(name):
        raise Refused(Reason.BAD_FLAG, "This is not a keyword")


def names(known: Sequence[str], bits: int) -> list[str]:
    """The keywords that these bits mean."""
    return [name for place, name in enumerate(known) if bits >> place & 1]
