"""DANE for SMTP: which TLSA records bind a host, and whether its certificates fit them."""

# RFC 7672, RFC 7671, RFC 6698

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Tlsa = tuple[int, int, int, bytes]
"""Usage, selector, matching type, data."""

_TA: Final = 2
_EE: Final = 3
_HASHES: Final = {1: ("sha256", 32), 2: ("sha512", 64)}
_RECORDS_MAX: Final = 64
_CHAIN_MAX: Final = 10


def name(host: str, port: int = 25) -> str:
    """Where a host's TLSA records stand."""
    return f"_{port}._tcp.{host}"


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """The records that SMTP goes by: DANE-TA and DANE-EE with what we can compare (§3.1).

    Where a host has records and none is usable, TLS is required without being authenticated.
    """
    return tuple(one for one in records[:_RECORDS_MAX] if _is_usable(one))


def _is_usable(record: Tlsa) -> bool:
    usage, selector, matching, data = record
    if usage not in (_TA, _EE) or selector not in (0, 1):
        return False
    return bool(data) if matching == 0 else len(data) == _HASHES.get(matching, ("", 0))[1]


def fits(
    records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now_s: float
) -> bool:
    """Whether a chain of certificates (DER, the host's own first) is bound by a record.

    DANE-EE looks at the host's own alone, whatever names and times it has (§3.1.1). DANE-TA wants
    a sound chain up to a certificate that fits, and one of `names` in the host's own (§3.1.2).
    """
    from cryptography import x509

    if not chain:
        return False
    try:
        certs = [x509.load_der_x509_certificate(der) for der in chain[:_CHAIN_MAX]]
        if any(_fits(one, certs[0]) for one in records if one[0] == _EE):
            return True
        anchors = [one for one in records if one[0] == _TA]
        return bool(anchors) and _leads_to(anchors, certs, names, now_s)
    except ValueError:
        return False  # a certificate that cannot be read


def _fits(record: Tlsa, cert: Certificate) -> bool:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    _, selector, matching, data = record
    if selector == 0:
        told = cert.public_bytes(Encoding.DER)
    else:
        told = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if matching:
        told = hashlib.new(_HASHES[matching][0], told).digest()
    return told == data


def _leads_to(
    anchors: Sequence[Tlsa], certs: Sequence[Certificate], names: Sequence[str], now_s: float
) -> bool:
    """Walks up from the host's certificate; each is issued by the next, all are in their time."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    if not _is_named(certs[0], names):
        return False
    here = certs[0]
    rest = list(certs[1:])
    for _ in range(_CHAIN_MAX):
        times = here.not_valid_before_utc.timestamp(), here.not_valid_after_utc.timestamp()
        if not times[0] <= now_s <= times[1]:
            return False
        if here is not certs[0] and any(_fits(one, here) for one in anchors):
            return True
        for issuer in rest:
            try:
                here.verify_directly_issued_by(issuer)
            except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
                continue
            if _is_authority(issuer):
                here = issuer
                rest.remove(issuer)
                break
        else:
            return False
    return False


def _is_authority(cert: Certificate) -> bool:
    from cryptography import x509

    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_named(cert: Certificate, names: Sequence[str]) -> bool:
    from cryptography import x509

    try:
        found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    told = {text.lower() for text in found.get_values_for_type(x509.DNSName)}
    return any(one in told or "*." + one.partition(".")[2] in told for one in names)
