"""Publishes cross-signing keys, and the signatures made with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kerwen.base import limits, signing
from kerwen.base.errors import Reason, Refused
from kerwen.keys import cross_signing
from kerwen.keys.actions.upload import Device
from kerwen.keys.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING, CrossSigningKey, Keys
from kerwen.keys.device_keys import as_object, ed25519_key
from kerwen.keys.key_cache import KeyCache
from kerwen.keys.store import cross_signing as store
from kerwen.keys.store import device_keys
from kerwen.storage.database import Database, Snap, Tx

Failures = dict[str, dict[str, Refused]]
"""What was not taken, by user id and key id."""


class CrossSign:
    """CS #cross-signing."""

    def __init__(self, db: Database, cache: KeyCache) -> None:
        self._db = db
        self._cache = cache

    async def upload(
        self, device: Device, body: Mapping[str, Any], prove: Callable[[], Awaitable[bool]]
    ) -> bool:
        """POST /keys/device_signing/upload. False if `prove` was needed and said no.

        `prove` is asked only after all else is found right, so that nobody types a password
        for keys that are refused anyway.
        """
        given = cross_signing.upload(body, device.user_id)
        async with self._db.read() as snap:
            stored = await store.user_keys(snap, device.account_no)
            await self._check(snap, device, given, stored)
        if not cross_signing.brings_new_keys(given, stored):
            return True
        proved = cross_signing.needs_proof(given, stored)
        if proved and not await prove():
            return False
        if await self._store(device, given, proved):
            return True
        return await prove() and await self._store(device, given, True)

    async def _store(self, device: Device, given: Keys, proved: bool) -> bool:
        """False if another device of the user was first, so that proof is needed after all."""
        async with self._db.write() as tx:
            await store.lock_user(tx, device.account_no)
            stored = await store.user_keys(tx, device.account_no)
            if cross_signing.needs_proof(given, stored) and not proved:
                return False
            await self._check(tx, device, given, stored)
            await self._replace(tx, device.account_no, given, stored)
        return True

    async def _check(self, snap: Snap, device: Device, given: Keys, stored: Keys) -> None:
        cross_signing.verify_upload(given, stored, device.user_id)
        names = [key.public_key for key in given.values()]
        if await device_keys.device_ids_among(snap, device.account_no, names):
            raise Refused(Reason.FORBIDDEN, "Key ID in use")

    async def _replace(self, tx: Tx, account_no: int, given: Keys, stored: Keys) -> None:
        """Stores new keys. With a new master key, the keys that it did not sign go."""
        renewed = MASTER in given and cross_signing.brings_new_keys({MASTER: given[MASTER]}, stored)
        for usage, old in stored.items():
            key = given.get(usage)
            if (key is None and renewed) or (key and key.public_key != old.public_key):
                await store.remove_key(tx, account_no, old)
        for key in given.values():
            await store.set_key(tx, account_no, key)
        device_keys.mark_device_list(tx, account_no)
        tx.after(lambda: self._cache.forget(account_no))

    async def sign(self, device: Device, body: Mapping[str, Any]) -> Failures:
        """POST /keys/signatures/upload: takes what is right, and says what is not."""
        if sum(len(as_object(by_key, "A user's keys")) for by_key in body.values()) > (
            limits.SIGNATURES_MAX
        ):
            raise Refused(Reason.TOO_LARGE, f"At most {limits.SIGNATURES_MAX} signed keys")
        failures: Failures = {}
        async with self._db.write() as tx:
            await store.lock_user(tx, device.account_no)
            signing_act = _Signing(tx, device, await store.user_keys(tx, device.account_no))
            for user_id, by_key in body.items():
                for key_id, value in by_key.items():
                    try:
                        await signing_act.take(user_id, key_id, value)
                    except Refused as refusal:
                        failures.setdefault(user_id, {})[key_id] = refusal
            signing_act.tell()
            tx.after(lambda: self._cache.forget(device.account_no))
        return failures


class _Signing:
    """One upload of signatures, within its transaction."""

    def __init__(self, tx: Tx, device: Device, keys: Keys) -> None:
        self._tx = tx
        self._device = device
        self._keys = keys
        self._own_changed = False
        self._others_changed: set[int] = set()

    async def take(self, user_id: str, key_id: str, value: object) -> None:
        """One signed object; `Refused` if it is not taken."""
        given = as_object(value, "A signed key")
        if user_id == self._device.user_id:
            master = self._keys.get(MASTER)
            if master is not None and key_id == master.public_key:
                await self._own_master(given, master)
            else:
                await self._own_device(given, key_id)
        else:
            await self._other_master(given, user_id, key_id)

    async def _own_device(self, given: Mapping[str, Any], device_id: str) -> None:
        """A device of ours, signed by our self-signing key."""
        account_no, user_id = self._device.account_no, self._device.user_id
        body = None
        if "\0" not in device_id:
            body = await device_keys.device_body_by_id(self._tx, account_no, device_id)
        if body is None:
            raise Refused(Reason.NOT_FOUND, "No such key")
        signer = self._need(SELF_SIGNING)
        cross_signing.check_signed_object(given, body)
        found = cross_signing.verified(given, user_id, {signer.key_id: signer.public_bytes})
        await self._keep(account_no, device_id, found)

    async def _own_master(self, given: Mapping[str, Any], master: CrossSigningKey) -> None:
        """Our master key, signed by devices of ours."""
        account_no, user_id = self._device.account_no, self._device.user_id
        cross_signing.check_signed_object(given, master.body)
        devices = (await device_keys.stored_devices(self._tx, [account_no])).get(account_no, [])
        signers: dict[str, bytes] = {}
        for device in devices:
            public_key = ed25519_key(device.body, device.device_id)
            if public_key is not None:
                signers[f"ed25519:{device.device_id}"] = _key_bytes(public_key)
        found = cross_signing.verified(given, user_id, signers)
        await self._keep(account_no, master.public_key, found)

    async def _other_master(self, given: Mapping[str, Any], user_id: str, key_id: str) -> None:
        """Somebody else's master key, signed by our user-signing key."""
        numbers = {}
        if "\0" not in user_id:
            numbers = await device_keys.user_numbers(self._tx, [user_id])
        user_no = numbers.get(user_id)
        master = None
        if user_no is not None:
            master = (await store.user_keys(self._tx, user_no)).get(MASTER)
        if user_no is None or master is None or master.public_key != key_id:
            raise Refused(Reason.NOT_FOUND, "No such key")
        signer = self._need(USER_SIGNING)
        cross_signing.check_signed_object(given, master.body)
        found = cross_signing.verified(
            given, self._device.user_id, {signer.key_id: signer.public_bytes}
        )
        await self._keep(user_no, master.public_key, found)

    def _need(self, usage: str) -> CrossSigningKey:
        key = self._keys.get(usage)
        if key is None:
            raise Refused(Reason.NOT_FOUND, f"There is no {usage} key to sign with")
        return key

    async def _keep(self, user_no: int, target: str, found: Mapping[str, str]) -> None:
        device = self._device
        for key_id, signature in found.items():
            fresh = await store.add_signature(
                self._tx,
                user_no,
                target,
                device.account_no,
                (device.user_id, key_id, signature),
            )
            if fresh and user_no == device.account_no:
                self._own_changed = True
            elif fresh:
                self._others_changed.add(user_no)

    def tell(self) -> None:
        """Others must look again where they see the signature; we, where only we do."""
        if self._own_changed:
            device_keys.mark_device_list(self._tx, self._device.account_no)
        for user_no in sorted(self._others_changed):
            store.mark_own_signature(self._tx, self._device.account_no, user_no)


def _key_bytes(public_key: str) -> bytes:
    """A key as bytes; of nonsense, what no signature fits."""
    try:
        return signing.decode_base64(public_key)
    except ValueError:
        return b""
