"""What the page of the second factor asks for, after the password was right
(docs/second_factor.md). Here is the place for more kinds: a field, and how it is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from kerwen.accounts.second_factor import Shown
from kerwen.api.pages.html import Html, field
from kerwen.api.pages.visit import Visit


def second_step_fields(visit: Visit) -> Html:
    """The inside of the form."""
    words = visit.words
    return field(
        words("second.code"),
        "code",
        fill="one-time-code",
        hint=words("second.hint"),
        required=True,
        maxlength="64",
        autofocus=True,
    )


def shown_second(form: Mapping[str, str]) -> Shown:
    """What the form brings."""
    return Shown(form.get("code", "").strip())
