"""What an operator may set about media."""

from __future__ import annotations

from dataclasses import dataclass

from kerwen.base import limits


@dataclass(frozen=True, slots=True)
class MediaRules:
    """Sizes in bytes, times in ms.

    Media created before `legacy_before_ms` answers on the old paths without a token; 0 means that
    nothing does (CS #content-repo-client-behaviour: the freeze).
    """

    upload_bytes_max: int = limits.UPLOAD_BYTES_MAX
    quota: int = limits.MEDIA_QUOTA
    pending_max: int = limits.UPLOADS_PENDING_MAX
    pending_ms: int = limits.UPLOAD_PENDING_MS
    legacy_before_ms: int = 0
