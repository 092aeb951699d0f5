"""The authorisation request and its answer by redirection (CS #authorisation-code-flow)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from kerwen.base import limits
from kerwen.oauth.client_metadata import CODE_GRANT, ClientMetadata, redirect_fits
from kerwen.oauth.errors import OAuthRefused
from kerwen.oauth.scope import Scope, scope_of

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # SHA-256 in base64url (RFC 7636 §4.2)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_ONCE = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "response_mode",
    "code_challenge",
    "code_challenge_method",
    "prompt",
)
Parameters = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Return:
    """Where the answer goes, and how: what is known before the rest is looked at."""

    redirect_uri: str
    mode: str
    state: str | None

    def to(self, issuer: str, **answer: str) -> str:
        """The URL to lead the browser to; `iss` says whose answer it is (RFC 9207)."""
        fields = {**answer, "iss": issuer}
        if self.state is not None:
            fields["state"] = self.state
        text = urlencode(fields)
        if self.mode == "fragment":
            return f"{self.redirect_uri}#{text}"
        return f"{self.redirect_uri}{'&' if '?' in self.redirect_uri else '?'}{text}"

    def source(self) -> str:
        """The place as a source of a Content-Security-Policy: browsers hold a form to it."""
        split = urlsplit(self.redirect_uri)
        if split.scheme not in ("http", "https"):
            return f"{split.scheme}:"
        return f"{split.scheme}://{split.netloc}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked authorisation request."""

    back: Return
    scope: Scope
    challenge: str
    create: bool  # the person wants a new account (prompt=create)


def return_of(client: ClientMetadata, params: Parameters) -> Return:
    """Where the answer goes. `OAuthRefused` is for the person's eyes: nothing may be led there."""
    redirect_uri = one_of(params, "redirect_uri")
    if redirect_uri is None:
        if len(client.redirect_uris) != 1:
            raise OAuthRefused("invalid_request", "redirect_uri is missing")
        redirect_uri = client.redirect_uris[0]
    elif not redirect_fits(client, redirect_uri):
        raise OAuthRefused("invalid_request", "redirect_uri is not one that was registered")
    mode = one_of(params, "response_mode")
    state = one_of(params, "state")
    return Return(redirect_uri, "fragment" if mode == "fragment" else "query", state)


def asked_of(client: ClientMetadata, back: Return, params: Parameters) -> Asked:
    """The rest of the request; `OAuthRefused` goes back to the client by redirection."""
    for name in _ONCE:
        one_of(params, name)
    for name in ("request", "request_uri"):
        if name in params:
            raise OAuthRefused(f"{name}_not_supported", f"{name} is not supported")
    if one_of(params, "response_mode") not in (None, "query", "fragment"):
        raise OAuthRefused("invalid_request", "response_mode must be query or fragment")
    if one_of(params, "response_type") != "code":
        raise OAuthRefused("unsupported_response_type", "response_type must be code")
    if CODE_GRANT not in client.grant_types:
        raise OAuthRefused("unauthorized_client", "The client did not register for this grant")
    challenge = one_of(params, "code_challenge") or ""
    if one_of(params, "code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise OAuthRefused("invalid_request", "PKCE with S256 is required")
    prompts = (one_of(params, "prompt") or "").split(" ")
    if "none" in prompts:
        raise OAuthRefused("interaction_required", "The person is always asked")
    return Asked(back, scope_of(one_of(params, "scope")), challenge, "create" in prompts)


def one_of(params: Parameters, name: str) -> str | None:
    """A parameter that may be there once (RFC 6749 §3.1); an empty one counts as none."""
    values = params.get(name, ())
    if len(values) > 1:
        raise OAuthRefused("invalid_request", f"{name} is there twice")
    if not values or not values[0]:
        return None
    if len(values[0]) > limits.OAUTH_FIELD_MAX or "\0" in values[0]:
        raise OAuthRefused("invalid_request", f"{name} is too long")
    return values[0]


def verifies(verifier: str, challenge: str) -> bool:
    """Whether who asks is who began (RFC 7636 §4.6)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    made = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return hmac.compare_digest(made, challenge)
