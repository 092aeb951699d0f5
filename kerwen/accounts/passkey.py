"""Passkeys: what a browser is asked, and the proof that its answer is right (WebAuthn level 3).

Pure: challenges come in as arguments. Reading and signatures are python-fido2's, imported with
the first ceremony; no attestation is asked for, any authenticator will do.
"""

# https://www.w3.org/TR/webauthn-3/ §7.1, §7.2

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from kerwen.base.errors import Reason, Refused

log = logging.getLogger("kerwen.passkey")

CHALLENGE_BYTES: Final = 32
CREDENTIAL_ID_MAX: Final = 1023  # WebAuthn §4
PUBLIC_KEY_MAX: Final = 2048
PRF_BYTES: Final = 32
_ALGORITHMS: Final = (-8, -7, -257)  # Ed25519, ES256, RS256: what authenticators can do
_TIMEOUT_MS: Final = 300_000
_PRF_SALT: Final = hashlib.sha256(b"kerwen/1 passkey: vault slot").digest()
_SLOT: Final = b"kerwen/1 passkey: vault slot"
_USER: Final = b"kerwen/1 passkey user"


@dataclass(frozen=True, slots=True)
class Party:
    """Who we are to an authenticator: passkeys are good for `rp_id` and its pages alone."""

    rp_id: str
    name: str
    origin: str

    def has(self, origin: str) -> bool:
        """Whether a page of ours has this origin; on `localhost` every port is of this machine."""
        if self.rp_id == "localhost":
            return urlsplit(origin).hostname == "localhost"
        return origin == self.origin


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey that was just made. `key` is what later answers are checked with."""

    credential_id: bytes
    key: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A right answer to a challenge. `verified`: the authenticator asked for finger or PIN."""

    credential_id: bytes
    counter: int
    verified: bool


def party_of(base_url: str, name: str) -> Party:
    """The party whose pages are below `base_url`. A number is no name for passkeys, so a server
    on one (in development) has them on `localhost` only.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or name.partition(":")[0]
    if _is_number(host):
        return Party("localhost", name, "")
    port = f":{parts.port}" if parts.port is not None else ""
    return Party(host, name, f"{parts.scheme or 'https'}://{host}{port}")


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def creation_options(
    party: Party, account_no: int, localpart: str, challenge: bytes, known: Iterable[bytes]
) -> dict[str, Any]:
    """What `navigator.credentials.create` is given, in the JSON form (§5.1.8)."""
    user = hashlib.sha256(b"%b\0%b\0%d" % (_USER, party.name.encode(), account_no)).digest()
    return {
        "rp": {"id": party.rp_id, "name": party.name},
        "user": {"id": b64(user), "name": localpart, "displayName": localpart},
        "challenge": b64(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in _ALGORITHMS],
        "timeout": _TIMEOUT_MS,
        "excludeCredentials": _descriptors(known),
        "authenticatorSelection": {
            "residentKey": "preferred",
            "requireResidentKey": False,
            "userVerification": "preferred",
        },
        "attestation": "none",
        "extensions": {"credProps": True, "prf": {"eval": {"first": b64(_PRF_SALT)}}},
    }


def request_options(
    party: Party, challenge: bytes, known: Iterable[bytes], *, verified: bool = False
) -> dict[str, Any]:
    """What `navigator.credentials.get` is given, in the JSON form (§5.1.9).

    `verified`: the passkey stands alone, so the authenticator must ask for finger or PIN, and
    the vault's key is asked for; else it comes after a password.
    """
    options: dict[str, Any] = {
        "rpId": party.rp_id,
        "challenge": b64(challenge),
        "timeout": _TIMEOUT_MS,
        "allowCredentials": _descriptors(known),
        "userVerification": "required" if verified else "discouraged",
    }
    if verified:
        options["extensions"] = {"prf": {"eval": {"first": b64(_PRF_SALT)}}}
    return options


def _descriptors(ids: Iterable[bytes]) -> list[dict[str, str]]:
    return [{"type": "public-key", "id": b64(one)} for one in ids]


def made(party: Party, challenge: bytes, credential: Mapping[str, Any]) -> NewPasskey:
    """The passkey in a browser's answer to `creation_options`; `Refused(WRONG_CODE)`."""
    server = _server(party)
    try:
        data = server.register_complete(_state(challenge, verified=False), credential)
        kept = data.credential_data
        _same_page(credential)
        fits = (
            kept.public_key.ALGORITHM in _ALGORITHMS
            and len(kept.credential_id) <= CREDENTIAL_ID_MAX
            and len(kept) <= PUBLIC_KEY_MAX
        )
    except Exception as error:  # the library raises what it likes at bytes from outside
        raise _wrong(error) from None
    if not fits:
        raise _wrong("too large, or of no algorithm that was offered")
    return NewPasskey(bytes(kept.credential_id), bytes(kept), int(data.counter))


def answered(
    party: Party,
    challenge: bytes,
    credential: Mapping[str, Any],
    key: bytes,
    *,
    verified: bool = False,
) -> Answer:
    """Checks a browser's answer to `request_options` against a kept key; `Refused(WRONG_CODE)`."""
    from fido2.webauthn import AttestedCredentialData, AuthenticationResponse

    server = _server(party)
    try:
        kept = AttestedCredentialData(key)
        server.authenticate_complete(_state(challenge, verified=verified), [kept], credential)
        _same_page(credential)
        data = AuthenticationResponse.from_dict(credential).response.authenticator_data
        return Answer(bytes(kept.credential_id), int(data.counter), bool(data.is_user_verified()))
    except Exception as error:  # as above
        raise _wrong(error) from None


def credential_id_of(credential: Mapping[str, Any]) -> bytes:
    """Which passkey an answer says it is of; `Refused(WRONG_CODE)` where it says nothing."""
    try:
        found = unb64(credential["rawId"] if "rawId" in credential else credential["id"])
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(error) from None
    if not 1 <= len(found) <= CREDENTIAL_ID_MAX:
        raise _wrong("no id")
    return found


def vault_key(prf: str | None) -> bytes | None:
    """The key of a passkey's slot of the vault, from its PRF's output in base64url."""
    if not prf:
        return None
    try:
        secret = unb64(prf)
    except (TypeError, ValueError) as error:
        raise _wrong(error) from None
    if len(secret) != PRF_BYTES:
        raise _wrong("the PRF's output has another length")
    # imported where it is used: a server that nobody logs in to needs none of it
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), PRF_BYTES, None, _SLOT).derive(secret)  # RFC 5869


def _same_page(credential: Mapping[str, Any]) -> None:
    """No page of others that holds ours in a frame may ask (§7.1 step 10)."""
    from fido2.webauthn import CollectedClientData

    data = CollectedClientData(unb64(credential["response"]["clientDataJSON"]))
    if data.cross_origin:
        raise ValueError("asked from within another's page")


def _server(party: Party) -> Any:
    from fido2.server import Fido2Server
    from fido2.webauthn import PublicKeyCredentialRpEntity

    entity = PublicKeyCredentialRpEntity(id=party.rp_id, name=party.name)
    return Fido2Server(entity, attestation=None, verify_origin=party.has)


def _state(challenge: bytes, *, verified: bool) -> dict[str, Any]:
    from fido2.webauthn import UserVerificationRequirement as Wanted

    wanted = Wanted.REQUIRED if verified else Wanted.DISCOURAGED
    return {"challenge": b64(challenge), "user_verification": wanted}


def _wrong(why: object) -> Refused:
    log.info("a passkey's answer was refused: %s", type(why).__name__)
    return Refused(Reason.WRONG_CODE, "The passkey's answer is not right", why=str(why))


def b64(data: bytes) -> str:
    """Base64url without padding, as WebAuthn's JSON has it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    """The bytes; ValueError, TypeError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
