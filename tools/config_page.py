"""Writes `docs/operate/config.md` from the configuration's own types and words."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from kerwen.base.config import PORTS, Config
from kerwen.cli import key_type

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operate" / "config.md"
HEAD = """# Configuration

`config.toml` in the data folder (or the file that `--config` names). Each key is also a flag of
the command line, with dashes: `port_base = 1000` is `--port-base 1000`. A flag wins over the file.
Whatever is wrong is said in one line, and the program ends with 2.

This page is written by `python tools/config_page.py`; a test compares it with the program.

"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for key in msgspec.structs.fields(Config):
        kind, words = key_type(key.type)
        lines.append(f"## `{key.name}`\n\n{words}\n\nValue: {_value(kind)}.\n")
    lines.append("## Kinds of listeners\n")
    lines.append("| kind | standard port |\n|---|--:|")
    lines += [f"| {kind} | {port} |" for kind, port in PORTS.items()]
    return "\n".join(lines) + "\n"


def _value(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(kind))
    if isinstance(kind, types.GenericAlias):
        return "a list of texts" if kind.__origin__ is list else "a table of kind and place"
    names = {
        bool: "`true` or `false`; as a flag `--no-…` says false",
        int: "a number",
        str: "a text",
    }
    return names[kind]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
