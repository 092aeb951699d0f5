"""What `homeserver.yaml` says that an import must know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerwen.base.config import BadConfig
from kerwen.base.signing import SigningKey, decode_base64


@dataclass(frozen=True, slots=True)
class Settings:
    """`pepper` is added to passwords before they are hashed. `signing_key` is a line of text."""

    server_name: str | None = None
    database: str | None = None
    media: Path | None = None
    pepper: str = ""
    signing_key: str | None = None


def read_settings(file: Path) -> Settings:
    """Reads a configuration of Synapse's. Raises `BadConfig`."""
    import yaml  # type: ignore[import-untyped]

    try:
        said = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadConfig(f"{file}: {error}") from None
    if not isinstance(said, dict) or not isinstance(said.get("server_name"), str):
        raise BadConfig(f"{file}: that is no configuration of Synapse, it names no server")
    name: str = said["server_name"]
    folder = file.absolute().parent
    passwords = said.get("password_config") or {}
    media = said.get("media_store_path", "media_store")
    return Settings(
        name,
        _database(said.get("database") or {}, folder),
        folder / media,
        str(passwords.get("pepper") or "") if isinstance(passwords, dict) else "",
        _signing_key(said, folder, name),
    )


def _database(said: dict[str, Any], folder: Path) -> str | None:
    args = said.get("args") or {}
    if said.get("name") == "sqlite3":
        return str(folder / args.get("database", "homeserver.db"))
    return None  # psycopg2's arguments are its own: the operator gives a DSN


def _signing_key(said: dict[str, Any], folder: Path, name: str) -> str | None:
    """The line of the signing key that is in use; it must be readable if it is named."""
    text = said.get("signing_key")
    if not isinstance(text, str):
        path = folder / said.get("signing_key_path", f"{name}.signing.key")
        if not path.exists() and "signing_key_path" not in said:
            return None
        try:
            text = path.read_text("ascii")
        except (OSError, ValueError) as error:
            raise BadConfig(f"{path}: {error}") from None
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[0] == "ed25519":
            try:
                SigningKey(parts[1], decode_base64(parts[2]))
            except ValueError as error:
                raise BadConfig(f"the signing key of {name}: {error}") from None
            return " ".join(parts)
    raise BadConfig(f"the signing key of {name} is not of the kind ed25519")
