"""What is made of certificates: requests, the answer to TLS-ALPN-01, a stand-in, their facts."""

# RFC 8737 §3 (acmeIdentifier), RFC 9773 §4.1 (the name of a certificate for renewal information)

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kerwen.net.acme.jws import encoded

_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_CHAIN_MAX: Final = 16
Key = ec.EllipticCurvePrivateKey


class Facts(msgspec.Struct, frozen=True):
    """What of a certificate decides when it is renewed; times in seconds since 1970."""

    names: tuple[str, ...]
    not_before_s: int
    not_after_s: int
    ari_id: str


class BadChain(Exception):
    """What the authority sent is not the certificate that was asked for; the text says why."""


def new_key() -> Key:
    """A key for certificates."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """For the disk."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(pem: bytes) -> Key:
    """Reads what `key_pem` wrote. Raises `ValueError`."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of an elliptic curve")
    return key


def request(key: Key, names: tuple[str, ...]) -> bytes:
    """A certificate request for the names, DER."""
    sought = x509.SubjectAlternativeName([_general(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    made = builder.add_extension(sought, critical=False).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def stand_in(key: Key, names: tuple[str, ...]) -> bytes:
    """A certificate that nobody signed, PEM: until there is one, for whoever does not look."""
    return _self_signed(key, names, []).public_bytes(serialization.Encoding.PEM)


def alpn_answer(name: str, key_authorisation: str) -> tuple[bytes, bytes]:
    """Chain and key, PEM, that answer TLS-ALPN-01 for a name."""
    key = new_key()
    digest = hashlib.sha256(key_authorisation.encode()).digest()
    proof = x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest)
    made = _self_signed(key, (name,), [proof])
    return made.public_bytes(serialization.Encoding.PEM), key_pem(key)


def proof_in(cert: x509.Certificate) -> bytes | None:
    """The digest in an answer to TLS-ALPN-01."""
    try:
        found = cert.extensions.get_extension_for_oid(_ACME_IDENTIFIER)
    except x509.ExtensionNotFound:
        return None
    value = found.value
    good = found.critical and isinstance(value, x509.UnrecognizedExtension)
    return value.value[2:] if good and isinstance(value, x509.UnrecognizedExtension) else None


def _self_signed(
    key: Key, names: tuple[str, ...], critical: list[x509.ExtensionType]
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
    )
    for extension in critical:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256())


def facts(chain_pem: bytes) -> Facts:
    """What the first certificate of a chain says. Raises `BadChain`."""
    cert = _first(chain_pem)
    return Facts(
        _names_in(cert),
        int(cert.not_valid_before_utc.timestamp()),
        int(cert.not_valid_after_utc.timestamp()),
        ari_id(cert),
    )


def check_chain(chain_pem: bytes, key: Key, names: tuple[str, ...]) -> Facts:
    """The facts of a chain, if it is for our key and these names. Raises `BadChain`."""
    cert = _first(chain_pem)
    public = cert.public_key()
    mine = key.public_key().public_numbers()
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.public_numbers() != mine:
        raise BadChain("it is for another key")
    missing = set(names) - set(_names_in(cert))
    if missing:
        raise BadChain(f"it does not name {', '.join(sorted(missing))}")
    return facts(chain_pem)


def key_digest(chain_pem: bytes) -> bytes:
    """SHA-256 of the first certificate's public key: what TLSA 3 1 1 holds (RFC 6698 §2.1)."""
    spki = _first(chain_pem).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    return hashlib.sha256(spki).digest()


def ari_id(cert: x509.Certificate) -> str:
    """How renewal information is asked for; empty where the issuer has no key id."""
    try:
        found = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        return ""
    if found.key_identifier is None:
        return ""
    serial = cert.serial_number
    raw = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{encoded(found.key_identifier)}.{encoded(raw)}"


def _first(chain_pem: bytes) -> x509.Certificate:
    try:
        found = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise BadChain(str(error)) from None
    if len(found) > _CHAIN_MAX:
        raise BadChain("too many certificates")
    return found[0]


def _names_in(cert: x509.Certificate) -> tuple[str, ...]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    told = [str(name).lower() for name in names.get_values_for_type(x509.DNSName)]
    return tuple(told + [str(name) for name in names.get_values_for_type(x509.IPAddress)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
