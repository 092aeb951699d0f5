"""Certificates by ACME: asked for, proved, fetched and renewed (RFC 8555)."""
