"""Names of media: `mxc://<server name>/<media id>` (CS #matrix-content-mxc-uris)."""

from __future__ import annotations

import re
from typing import Final

_MEDIA_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
# CS appendices #server-name; the length is that of the longest user id's domain
_SERVER: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,230})(?::[0-9]{1,5})?", re.ASCII
)


def well_formed(server: str, media_id: str) -> bool:
    """True if both parts may be looked up; nothing else ever reaches a store or a network.

    # CS #content-repo-security-considerations
    """
    return bool(_MEDIA_ID.fullmatch(media_id) and _SERVER.fullmatch(server))


def mxc(server: str, media_id: str) -> str:
    """The URI of a piece of media."""
    return f"mxc://{server}/{media_id}"


def parse_mxc(uri: str) -> tuple[str, str] | None:
    """(server, media id) of a URI; None if it is none."""
    server, slash, media_id = uri.removeprefix("mxc://").partition("/")
    if not uri.startswith("mxc://") or not slash or not well_formed(server, media_id):
        return None
    return server, media_id
