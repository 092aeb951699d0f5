"""Why an OAuth 2.0 request is refused: codes of RFC 6749 §5.2, RFC 7591 §3.2.2, RFC 8628 §3.5."""

from __future__ import annotations


class OAuthRefused(Exception):
    """`code` as the RFCs name it; `text` is public, in plain ASCII without quotes (RFC 6749)."""

    def __init__(self, code: str, text: str = "", status: int = 400) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.status = status
