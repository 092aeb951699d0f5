"""What a client says of itself at registration (CS #client-registration, RFC 7591), checked."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kerwen.base import canonical_json, limits
from kerwen.oauth.errors import OAuthRefused

CODE_GRANT = "authorization_code"
REFRESH_GRANT = "refresh_token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GRANT_TYPES = (CODE_GRANT, REFRESH_GRANT, DEVICE_GRANT)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_VISIBLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_LINKS = ("logo_uri", "tos_uri", "policy_uri")


@dataclass(frozen=True, slots=True)
class ClientMetadata:
    """What is taken of it. `name` is the client's own claim: shown with the host of `uri`."""

    uri: str
    name: str
    application_type: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def host(self) -> str:
        """The host that the client's redirections are bound to."""
        return urlsplit(self.uri).hostname or ""

    def shown(self) -> dict[str, Any]:
        """As the answer of the registration tells it, and as it is stored."""
        found: dict[str, Any] = {
            "client_uri": self.uri,
            "application_type": self.application_type,
            "redirect_uris": list(self.redirect_uris),
            "response_types": ["code"],
            "grant_types": list(self.grant_types),
            "token_endpoint_auth_method": "none",
            **dict(self.links),
        }
        if self.name:
            found["client_name"] = self.name
        return found

    def client_id(self) -> str:
        """One id for one metadata, so that ten thousand phones are one row."""
        digest = hashlib.sha256(b"kerwen/1 client:" + canonical_json.encode(self.shown())).digest()
        return base64.urlsafe_b64encode(digest[:18]).decode()


def metadata_of(body: Mapping[str, Any]) -> ClientMetadata:
    """Checks a registration; `OAuthRefused`: invalid_client_metadata, invalid_redirect_uri."""
    uri = _text(body, "client_uri")
    base = _web_link(uri) if uri else None
    if uri is None or base is None:
        raise _bad("client_uri must be an https URL")
    kind = _text(body, "application_type") or "web"
    if kind not in ("web", "native"):
        raise _bad("application_type must be web or native")
    if (_text(body, "token_endpoint_auth_method") or "none") != "none":
        raise _bad("Only public clients: token_endpoint_auth_method must be none")
    grants = [g for g in GRANT_TYPES if g in _texts(body, "grant_types", [CODE_GRANT])]
    if not set(grants) - {REFRESH_GRANT}:
        raise _bad("grant_types has none that this server gives")
    if CODE_GRANT in grants and "code" not in _texts(body, "response_types", ["code"]):
        raise _bad("response_types must have code")
    redirects = list(dict.fromkeys(_texts(body, "redirect_uris", [])))
    for redirect in redirects:
        check_redirect(redirect, kind, base)
    if CODE_GRANT in grants and not redirects:
        raise OAuthRefused("invalid_redirect_uri", "redirect_uris is missing")
    name = "".join(c for c in _text(body, "client_name") or "" if c.isprintable()).strip()
    links = tuple((k, v) for k in _LINKS if (v := _text(body, k)) and _on_base(v, base))
    return ClientMetadata(uri, name[:100], kind, tuple(redirects), tuple(grants), links)


def stored_metadata(body: Mapping[str, Any]) -> ClientMetadata:
    """What `shown` told, read again; it was checked when it was taken."""
    links = tuple((k, body[k]) for k in _LINKS if k in body)
    return ClientMetadata(
        body["client_uri"],
        body.get("client_name", ""),
        body["application_type"],
        tuple(body["redirect_uris"]),
        tuple(body["grant_types"]),
        links,
    )


def check_redirect(uri: str, kind: str, base: SplitResult) -> None:
    """CS #redirect-uri-validation; `OAuthRefused(invalid_redirect_uri)`."""
    split = _split(uri)
    if split is None or "#" in uri:
        raise OAuthRefused("invalid_redirect_uri", "A redirect URI must be absolute, no fragment")
    if split.scheme == "https" and _on_base(uri, base):
        return
    if kind == "native" and split.scheme == "http" and _is_loopback(split):
        if split.netloc in ("localhost", "127.0.0.1", "[::1]"):
            return
        raise OAuthRefused("invalid_redirect_uri", "A loopback redirect URI has no port")
    if kind == "native" and _is_private(split, uri, base):
        return
    raise OAuthRefused("invalid_redirect_uri", "This redirect URI does not fit client_uri")


def redirect_fits(client: ClientMetadata, asked: str) -> bool:
    """Whether a redirection is one of those registered: letter by letter, but any port of a
    loopback address (RFC 8252 §7.3)."""
    if asked in client.redirect_uris:
        return True
    split = _split(asked)
    if split is None or split.scheme != "http" or not _is_loopback(split) or "#" in asked:
        return False
    if "@" in split.netloc or client.application_type != "native":
        return False
    host = f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname
    bare = asked.replace(split.netloc, host or "", 1)
    return bare in client.redirect_uris


def _is_loopback(split: SplitResult) -> bool:
    return split.hostname in _LOOPBACK


def _is_private(split: SplitResult, uri: str, base: SplitResult) -> bool:
    """A scheme that only the app has: the host of `client_uri` read backwards, or more."""
    host = base.hostname or ""
    reverse = ".".join(reversed(host.split(".")))
    after = uri[len(split.scheme) + 1 :]
    owned = split.scheme == reverse or split.scheme.startswith(reverse + ".")
    return "." in split.scheme and owned and not after.startswith("//")


def _on_base(uri: str, base: SplitResult) -> bool:
    """An https URL on the client's host or below it."""
    split = _web_link(uri)
    host = (split.hostname or "") if split else ""
    mine = base.hostname or ""
    return bool(split) and (host == mine or host.endswith("." + mine))


def _web_link(uri: str) -> SplitResult | None:
    split = _split(uri)
    if split is None or split.scheme != "https" or not split.hostname or "@" in split.netloc:
        return None
    return split


def _split(uri: str) -> SplitResult | None:
    """The parts of a URI in plain visible ASCII without backslashes, which browsers read as
    slashes; None where it is none. A port must be a number."""
    if not _VISIBLE.fullmatch(uri) or "\\" in uri or len(uri) > limits.OAUTH_FIELD_MAX:
        return None
    try:
        split = urlsplit(uri)
        _ = split.port
    except ValueError:
        return None
    written = uri.partition(":")[0]
    if not _SCHEME.fullmatch(split.scheme) or written != split.scheme:
        return None
    return split


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limits.OAUTH_FIELD_MAX or "\0" in value:
        raise _bad(f"{name} must be a text of at most {limits.OAUTH_FIELD_MAX} letters")
    return value


def _texts(body: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    value = body.get(name)
    if value is None:
        return default
    good = isinstance(value, list) and len(value) <= limits.OAUTH_LIST_MAX
    if not good or not all(isinstance(v, str) and len(v) <= limits.OAUTH_FIELD_MAX for v in value):
        raise _bad(f"{name} must be a list of at most {limits.OAUTH_LIST_MAX} texts")
    return list(value)


def _bad(text: str) -> OAuthRefused:
    return OAuthRefused("invalid_client_metadata", text)
