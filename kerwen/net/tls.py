"""TLS contexts: for our listeners, and for connections that we open."""

from __future__ import annotations

import ssl
from pathlib import Path


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """For listeners: TLS 1.2 and later, forward secrecy only. Raises `OSError`, `SSLError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(cert, key)
    return context


def client_context(authorities: Path | None = None, *, only: bool = False) -> ssl.SSLContext:
    """For connections that we open: the system's authorities, and those of a PEM file.

    With `only`, nobody but the file is trusted: the rule of a development server.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if only else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context


def unproved_context() -> ssl.SSLContext:
    """For connections that are encrypted, whoever is at the other end (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
