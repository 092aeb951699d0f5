"""Fields that several pages of an account have."""

from __future__ import annotations

from kerwen.api.pages.html import Html, el, field
from kerwen.api.pages.visit import Visit


def password_field(label: str, name: str) -> Html:
    """The account's own password, shown again."""
    return field(label, name, kind="password", fill="current-password", required=True)


def whose(visit: Visit) -> Html:
    """Tells a password manager whose password is meant."""
    return el(
        "input",
        type="text",
        name="username",
        autocomplete="username",
        value=visit.signed_in().localpart,
        hidden=True,
    )
