"""What the page of the second factor asks for, after the password was right
(docs/second_factor.md): a code, or a passkey where the account has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerwen.accounts.second_factor import Shown
from kerwen.api.pages.desk import Desk
from kerwen.api.pages.html import Html, button, el, field
from kerwen.api.pages.passkeys import credential_of, passkey_button, passkey_form
from kerwen.api.pages.visit import Visit


def second_step_forms(
    desk: Desk, visit: Visit, action: str, asks: dict[str, Any], told: Html | None
) -> list[Html]:
    """The forms; `asks` as `CheckFactor.asks` says it, `told` what went wrong before."""
    words = visit.words
    code = field(
        words("second.code"),
        "code",
        fill="one-time-code",
        hint=words("second.hint"),
        required=True,
        maxlength="64",
        autofocus=True,
    )
    acts = el("div", button(words("go_on")), class_="acts")
    forms = [desk.form(visit, action, told, code, acts)]
    if "passkey" in asks:
        key = passkey_button(visit, "quiet")
        forms.append(passkey_form(desk, visit, action, "get", asks["passkey"], key))
    return forms


def shown_second(form: Mapping[str, str], challenge: bytes) -> Shown:
    """What a form brings; `Refused(WRONG_CODE)`."""
    credential = credential_of(form.get("credential"))
    return Shown(form.get("code", "").strip(), credential, challenge)
