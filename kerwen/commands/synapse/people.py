"""Accounts with their passwords, devices, sessions and profiles."""

from __future__ import annotations

from typing import Any

import orjson

from kerwen.accounts import profile_store
from kerwen.accounts.address import localpart_named
from kerwen.accounts.old_hash import is_old_hash, kept_of
from kerwen.accounts.profile_store import Profile
from kerwen.accounts.store import accounts, devices, invitations, tokens
from kerwen.accounts.tokens import token_hash
from kerwen.app_services import store as app_services
from kerwen.commands.synapse.ledger import Ledger
from kerwen.commands.synapse.source import read

_SECONDS_MAX = 10**11  # a time below this is in seconds


async def import_people(ledger: Ledger) -> None:
    """Everything about accounts that needs no room."""
    await _accounts(ledger)
    await _devices(ledger)
    await _access_tokens(ledger, await _refresh_tokens(ledger))
    await _profiles(ledger)
    await _invitations(ledger)


async def _accounts(ledger: Ledger) -> None:
    erased = {row[0] for row in read(ledger.source, "erased_users", "user_id")}
    rows = read(
        ledger.source, "users", "name", "password_hash", "creation_ts", "admin", "is_guest",
        "appservice_id", "user_type", "deactivated", "locked", "suspended", "shadow_banned",
        rest="order by creation_ts, name",
    )  # fmt: skip
    for row in ledger.counted("accounts", rows):
        name, password, created, admin, guest, service, kind, gone, locked, suspended, shadow = row
        localpart, _, domain = name[1:].partition(":")
        if guest or domain != ledger.domain:
            ledger.left_out["guests" if guest else "accounts of another domain"] += 1
            continue
        account_no = ledger.accounts[name] = await ledger.user(name)
        created_ms = _ms(created or 0)
        sort = "bot" if kind == "bot" or service else "person"
        tx = ledger.tx
        await accounts.add(tx, account_no, localpart, created_ms, kind=sort, admin=bool(admin))
        if locked:
            await accounts.set_locked(tx, account_no, True)
        if suspended:
            await accounts.set_suspended(tx, account_no, True)
        if service:
            await app_services.add_user(tx, account_no, service)
        if shadow:
            ledger.left_out["shadow bans (the accounts came)"] += 1
        if gone:
            await accounts.close(tx, account_no, ledger.now_ms, name in erased)
        elif password and is_old_hash(password):
            await accounts.set_password(tx, account_no, kept_of(password), created_ms)
            if localpart_named(localpart, ledger.domain) is None:
                ledger.left_out["names that cannot log in by password here"] += 1
        elif not service:
            ledger.left_out["passwords (those accounts had none)"] += 1


def _ms(time: int) -> int:
    return time * 1_000 if time < _SECONDS_MAX else time


async def _devices(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "devices", "user_id", "device_id", "display_name", "last_seen", "hidden",
        rest="order by user_id, device_id",
    )  # fmt: skip
    for user_id, device_id, name, seen, hidden in ledger.counted("devices", rows):
        account_no = ledger.accounts.get(user_id)
        if account_no is None or hidden:  # Synapse hides cross-signing keys there
            continue
        device_no = ledger.take("device")
        seen_ms = seen or ledger.now_ms
        await devices.add(ledger.tx, device_no, account_no, device_id, name, "", seen_ms)
        ledger.devices[user_id, device_id] = device_no


async def _refresh_tokens(ledger: Ledger) -> dict[int, int]:
    """Synapse's number → ours, of those that were not used up."""
    found = {}
    rows = read(
        ledger.source, "refresh_tokens", "id", "user_id", "device_id", "token", "expiry_ts",
        rest="where next_token_id is null",
    )  # fmt: skip
    for old_no, user_id, device_id, token, expires_ms in ledger.counted("refresh tokens", rows):
        device_no = ledger.devices.get((user_id, device_id))
        if device_no is None or 0 < (expires_ms or 0) <= ledger.now_ms:
            continue
        token_no = found[old_no] = ledger.take("refresh_token")
        await tokens.add_refresh(
            ledger.tx,
            token_no,
            token_hash(token),
            ledger.accounts[user_id],
            device_no,
            ledger.now_ms,
            expires_ms=expires_ms or 0,
        )
    return found


async def _access_tokens(ledger: Ledger, refresh_nos: dict[int, int]) -> None:
    rows = read(
        ledger.source, "access_tokens", "user_id", "device_id", "token", "valid_until_ms",
        "puppets_user_id", "refresh_token_id",
    )  # fmt: skip
    for row in ledger.counted("access tokens", rows):
        user_id, device_id, token, until_ms, puppet, refresh = row
        device_no = ledger.devices.get((user_id, device_id))
        if puppet is not None:
            ledger.left_out["tokens by which an administrator was somebody else"] += 1
        elif device_no is not None and not 0 < (until_ms or 0) <= ledger.now_ms:
            await tokens.add_access(
                ledger.tx,
                ledger.take("access_token"),
                token_hash(token),
                ledger.accounts[user_id],
                device_no,
                ledger.now_ms,
                refresh_no=refresh_nos.get(refresh or 0, 0),
                expires_ms=until_ms or 0,
            )
    # what is not known from now on ends softly: clients log in again and keep their keys
    await tokens.note_restore(ledger.tx, ledger.now_ms)


async def _profiles(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "profiles", "user_id", "full_user_id", "displayname", "avatar_url", "fields"
    )
    for local, full, name, avatar, fields in ledger.counted("profiles", rows):
        account_no = ledger.accounts.get(full or ledger.mine(local))
        if account_no is None:
            continue
        more: dict[str, Any] = orjson.loads(fields) if fields else {}
        await profile_store.set_profile(ledger.tx, account_no, Profile(name, avatar, more))


async def _invitations(ledger: Ledger) -> None:
    rows = read(
        ledger.source, "registration_tokens", "token", "uses_allowed", "completed", "expiry_time"
    )
    for token, allowed, completed, expires in ledger.counted("registration tokens", rows):
        uses = max((allowed or 0) - completed, 0)
        if (allowed is None or uses) and not 0 < (expires or 0) <= ledger.now_ms:
            await invitations.add_token(ledger.tx, token, uses, expires or 0, ledger.now_ms, 0)
