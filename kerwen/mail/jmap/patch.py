"""PatchObjects: an update names paths below an object, and what stands there from now on."""

# RFC 8620 §5.3

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kerwen.mail.jmap.errors import SetError

_DEPTH_MAX: Final = 16


def apply(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The object after a patch; `old` stays as it is. Raises `SetError(invalidPatch)`."""
    found = dict(old)
    split = {path: _parts(path) for path in patch}
    every = {tuple(parts) for parts in split.values()}
    for parts in split.values():
        if len(parts) > _DEPTH_MAX:
            raise SetError("invalidPatch", "A path is too deep")
        if any(tuple(parts[:count]) in every for count in range(1, len(parts))):
            raise SetError("invalidPatch", "A path stands above another one")
    for path, parts in split.items():
        target = found
        for part in parts[:-1]:
            inner = target.get(part)
            if not isinstance(inner, dict):
                raise SetError("invalidPatch", "A path leads nowhere")
            target[part] = target = dict(inner)
        value = patch[path]
        if value is None and len(parts) > 1:
            target.pop(parts[-1], None)
        else:
            target[parts[-1]] = value
    return found


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]
