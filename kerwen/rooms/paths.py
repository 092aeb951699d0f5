"""Dot-separated property paths: `content.m\\.relates_to.rel_type`."""

from __future__ import annotations


def path_parts(key: str) -> tuple[str, ...]:
    """The names of a dot-separated path (SPEC appendices #dot-separated-property-paths)."""
    parts, part, index = [], "", 0
    while index < len(key):
        letter = key[index]
        if letter == "\\" and key[index + 1 : index + 2] in (".", "\\"):
            index += 1
            part += key[index]
        elif letter == ".":
            parts.append(part)
            part = ""
        else:
            part += letter
        index += 1
    return (*parts, part)
