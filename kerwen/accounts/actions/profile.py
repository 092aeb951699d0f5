"""Profiles: what people show of themselves to all others."""

# CS #profiles

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from kerwen.accounts import account_data_store, profile_store
from kerwen.accounts.profile_store import Profile
from kerwen.base import canonical_json
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database

NAME_MAX: Final = 256  # characters of a display name
AVATAR_MAX: Final = 1_000
KEY_MAX: Final = 255  # bytes of a field's name
PROFILE_BYTES_MAX: Final = 65_535  # "under 64 KiB"
_KEY: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", re.ASCII)
_IN_ROOMS: Final = ("displayname", "avatar_url")

Changed = Callable[[int], Awaitable[None]]
"""Told an account whose name or picture changed: it brings its member events up to date."""
Remote = Callable[[str, str | None], Awaitable[dict[str, Any]]]
"""Asks another server for a profile: (user id, one field or all); `Refused(NOT_FOUND)`."""


MakeUser = Callable[[str], Awaitable[bool]]
"""Asks for a user of ours who does not exist: whether an application service has made them."""


async def _nobody(user_id: str) -> bool:
    return False


class Profiles:
    """Reads and changes profiles."""

    __slots__ = ("_changed", "_db", "_make_user", "_remote", "_server_name")

    def __init__(
        self,
        db: Database,
        server_name: str,
        on_profile_changed: Changed,
        remote: Remote | None = None,
        make_user: MakeUser = _nobody,
    ) -> None:
        self._make_user = make_user
        self._db = db
        self._server_name = server_name
        self._changed = on_profile_changed
        self._remote = remote

    async def get(self, user_id: str) -> dict[str, Any]:
        """The whole profile of anybody. Says `NOT_FOUND`."""
        if not self._is_ours(user_id):
            return await self._ask(user_id, None)
        async with self._db.read() as snap:
            found = await profile_store.of_user(snap, user_id)
        if found is None and await self._make_user(user_id):
            async with self._db.read() as snap:
                found = await profile_store.of_user(snap, user_id)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "Profile not found")
        return found[1].shown()

    async def field(self, user_id: str, key: str) -> Any:
        """One field of anybody's profile. Says `NOT_FOUND`."""
        check_key(key)
        ours = self._is_ours(user_id)
        profile = await (self.get(user_id) if ours else self._ask(user_id, key))
        if key not in profile:
            raise Refused(Reason.NOT_FOUND, "The profile has no such field")
        return profile[key]

    async def set(self, account_no: int, key: str, value: Any) -> None:
        """Sets a field of one's own profile; says what is wrong with it.

        QUIRK: an empty name or picture takes it away: so clients unset them since ever.
        """
        check_key(key)
        check_value(key, value)
        if key in _IN_ROOMS and value == "":
            await self.delete(account_no, key)
            return
        await self._change(account_no, key, value, keep=True)

    async def delete(self, account_no: int, key: str) -> None:
        """Takes a field away; one that is not there is gone already."""
        check_key(key)
        await self._change(account_no, key, None, keep=False)

    async def _change(self, account_no: int, key: str, value: Any, *, keep: bool) -> None:
        async with self._db.write() as tx:
            await account_data_store.lock(tx, account_no)
            profile = await profile_store.get(tx, account_no)
            if not _apply(profile, key, value, keep):
                return
            if keep and len(canonical_json.encode(profile.shown())) > PROFILE_BYTES_MAX:
                raise Refused(Reason.PROFILE_TOO_LARGE, "A profile must be under 64 KiB")
            await profile_store.set_profile(tx, account_no, profile)
        if key in _IN_ROOMS:
            await self._changed(account_no)

    def _is_ours(self, user_id: str) -> bool:
        name, _, server = user_id.partition(":")
        if not name.startswith("@") or not server:
            raise Refused(Reason.INVALID_PARAM, "That is not a user id")
        return server == self._server_name

    async def _ask(self, user_id: str, key: str | None) -> dict[str, Any]:
        if self._remote is None:
            raise Refused(Reason.NOT_FOUND, "Profile not found")
        return await self._remote(user_id, key)


def check_key(key: str) -> None:
    """Says `PROFILE_KEY_TOO_LARGE`, or `INVALID_PARAM` for a name that no field may have."""
    if len(key.encode(errors="replace")) > KEY_MAX:
        raise Refused(Reason.PROFILE_KEY_TOO_LARGE, f"A field's name has at most {KEY_MAX} bytes")
    if key not in _IN_ROOMS and not _KEY.fullmatch(key):
        raise Refused(Reason.INVALID_PARAM, "Invalid profile key")


def check_value(key: str, value: Any) -> None:
    """Says what is wrong with a field's value."""
    if key in (*_IN_ROOMS, "m.tz") and not isinstance(value, str):
        raise Refused(Reason.BAD_JSON, f"{key} must be a string")
    if key == "displayname" and len(value) > NAME_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A display name may have {NAME_MAX} characters")
    if key == "avatar_url" and value and not value.startswith("mxc://"):
        raise Refused(Reason.INVALID_PARAM, "avatar_url must be an mxc:// URI")
    if key == "avatar_url" and len(value) > AVATAR_MAX:
        raise Refused(Reason.INVALID_PARAM, f"avatar_url may have {AVATAR_MAX} characters")
    if key == "m.tz" and not 0 < len(value) <= KEY_MAX:
        raise Refused(Reason.INVALID_PARAM, "m.tz must be a time zone")
    if len(canonical_json.encode(value)) > PROFILE_BYTES_MAX:
        raise Refused(Reason.PROFILE_TOO_LARGE, "A profile must be under 64 KiB")


def _apply(profile: Profile, key: str, value: Any, keep: bool) -> bool:
    """Changes a profile; whether it is another one now."""
    if key in _IN_ROOMS:
        if getattr(profile, key) == value:
            return False
        setattr(profile, key, value)
        return True
    if not keep:
        if key not in profile.fields:
            return False
        del profile.fields[key]
        return True
    if key in profile.fields and profile.fields[key] == value:
        return False
    profile.fields[key] = value
    return True
