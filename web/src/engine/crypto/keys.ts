// The account's keys: its identity (cross-signing), secret storage, key backup, and the recovery
// key that all of them and the vault hang on.

import type * as Sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { Fault, quietly } from "../faults";
import { path } from "../http";
import { isObject, text, type Json } from "../matrix";
import type { ImportProgress, KeyState, RoomId } from "../types";
import { canonicalJson, fromBase64, toBase64 } from "./base64";
import { Dehydrated } from "./dehydrated";
import type { Machine } from "./machine";
import { slotKey, typed, written } from "./recovery_key";
import * as storage from "./secret_storage";

const SECRETS = {
    master: "m.cross_signing.master",
    selfSigning: "m.cross_signing.self_signing",
    userSigning: "m.cross_signing.user_signing",
    backup: "m.megolm_backup.v1",
    sleeping: "org.matrix.msc3814",
} as const;
const BACKUP_ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2";
const IMPORT_AT_ONCE = 200;

interface BackupInfo {
    algorithm: string;
    auth_data: { public_key: string; signatures?: Json };
    version: string;
    count?: number;
}

interface BackedUp {
    first_message_index: number;
    forwarded_count: number;
    is_verified: boolean;
    session_data: { ephemeral: string; ciphertext: string; mac: string };
}

/** Repeats a request with the owner's password where the server asks who it is. */
export type Proof = <T>(method: string, url: string, body: Json) => Promise<T>;

export class Keys {
    #state: KeyState = { recovery: "unknown", verified: false, backup: { on: false, pending: 0 } };
    #backingUp = false;
    #version: string | undefined;
    readonly #dehydrated: Dehydrated;

    constructor(readonly machine: Machine) {
        this.#dehydrated = new Dehydrated(machine);
        machine.fromBackup = (roomId, sessionId) => this.#fetchOne(roomId, sessionId);
    }

    get state(): KeyState {
        return this.#state;
    }

    #set(change: Partial<KeyState>): void {
        const next = { ...this.#state, ...change };
        if (JSON.stringify(next) === JSON.stringify(this.#state)) return;
        this.#state = next;
        this.machine.world.emit("keys", next);
    }

    /** After start and whenever something changed: how the account's keys are on this device. */
    async look(): Promise<KeyState> {
        const { olm } = this.machine;
        const status = await olm.crossSigningStatus();
        const own = await this.#ownIdentity();
        const verified = own !== undefined && status.hasSelfSigning && (await own.trustsOurOwnDevice());
        const hasStorage = (await this.#defaultKey()) !== undefined;
        await this.#startBackup();
        const ready = verified && hasStorage && status.hasMaster;
        const recovery = ready ? "ready" : hasStorage || (own && !status.hasMaster) ? "locked" : "none";
        const backup = { ...this.#state.backup, on: this.#version !== undefined };
        if (this.#version) backup.version = this.#version;
        this.#set({ verified, recovery, backup });
        if (ready) void quietly(() => this.#dehydrated.renewIfOld());
        return this.#state;
    }

    async #ownIdentity(): Promise<Sdk.OwnUserIdentity | undefined> {
        const { olm, wasm, world } = this.machine;
        const found = await olm.getIdentity(new wasm.UserId(world.me));
        return found as Sdk.OwnUserIdentity | undefined;
    }

    /** Asks for one's own keys anew. */
    async refreshOwn(): Promise<void> {
        const { olm, wasm, world } = this.machine;
        await this.machine.exclusive(() => this.machine.send(olm.queryKeysForUsers([new wasm.UserId(world.me)])));
    }

    // ------------------------------------------------------------ secret storage

    async #data(type: string): Promise<Json | undefined> {
        const { http, me } = this.machine.world;
        return http.find("GET", path`/user/${me}/account_data/${type}`);
    }

    async #setData(type: string, content: Json): Promise<void> {
        const { http, me } = this.machine.world;
        await http.ask("PUT", path`/user/${me}/account_data/${type}`, { body: content });
    }

    async #defaultKey(): Promise<{ id: string; description: Json } | undefined> {
        const id = text((await this.#data("m.secret_storage.default_key"))?.["key"]);
        const description = id ? await this.#data(`m.secret_storage.key.${id}`) : undefined;
        return id && description ? { id, description } : undefined;
    }

    async #secret(name: string, id: string, key: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
        const encrypted = (await this.#data(name))?.["encrypted"];
        if (!isObject(encrypted) || !encrypted[id]) return undefined;
        return storage.open(key, name, encrypted[id]);
    }

    // ------------------------------------------------------------ made for the first time

    /** Makes everything from a new recovery key. Tells it once. */
    async create(proof: Proof): Promise<string> {
        const { olm, wasm } = this.machine;
        await this.machine.flush();
        await this.refreshOwn();
        const reset = (await olm.crossSigningStatus()).hasMaster === false && (await this.#ownIdentity()) !== undefined;
        await this.#bootstrapIdentity(proof, reset);
        const raw = crypto.getRandomValues(new Uint8Array(32));
        const backup = wasm.BackupDecryptionKey.createRandomKey();
        const secret = backup.toBase64();
        const publicKey = backup.megolmV1PublicKey.publicKeyBase64;
        const sleeping = wasm.DehydratedDeviceKey.createRandomKey();
        await this.#store(raw, secret, sleeping.toBase64());
        await this.#newBackup(secret, publicKey);
        await olm.dehydratedDevices().saveDehydratedDeviceKey(sleeping);
        await quietly(() => this.#dehydrated.renew(sleeping));
        await proof("POST", "/_kerwen/account/recovery_key", { slot_key: toBase64(await slotKey(raw)) }).catch((error: unknown) => {
            if (!(error instanceof Fault) || error.code !== "not-found") throw error; // another server
        });
        await this.look();
        void this.backUp();
        return written(raw);
    }

    async #bootstrapIdentity(proof: Proof, reset: boolean): Promise<void> {
        const { olm } = this.machine;
        await this.machine.exclusive(async () => {
            const requests = await olm.bootstrapCrossSigning(reset);
            const upload = requests.uploadKeysRequest as Sdk.KeysUploadRequest | undefined;
            if (upload) await this.machine.send(upload);
            await proof("POST", "/keys/device_signing/upload", JSON.parse(requests.uploadSigningKeysRequest.body) as Json);
            await this.machine.send(requests.uploadSignaturesRequest);
        });
        await this.refreshOwn();
    }

    async #store(raw: Uint8Array<ArrayBuffer>, backup: string, sleeping: string): Promise<void> {
        const id = toBase64(crypto.getRandomValues(new Uint8Array(24))).replace(/[+/]/g, "x");
        const exported = await this.machine.olm.exportCrossSigningKeys();
        const secrets: [string, string | undefined][] = [
            [SECRETS.master, exported?.masterKey],
            [SECRETS.selfSigning, exported?.self_signing_key],
            [SECRETS.userSigning, exported?.userSigningKey],
            [SECRETS.backup, backup],
            [SECRETS.sleeping, sleeping],
        ];
        await this.#setData(`m.secret_storage.key.${id}`, await storage.describe(raw));
        for (const [name, secret] of secrets) {
            if (!secret) throw new Fault("bug", `${name} is not here`);
            await this.#setData(name, { encrypted: { [id]: await storage.seal(raw, name, secret) } });
        }
        await this.#setData("m.secret_storage.default_key", { key: id }); // the last: now all of it counts
    }

    async #newBackup(secret: string, publicKey: string): Promise<void> {
        const { olm, wasm, world } = this.machine;
        const authData: Json = { public_key: publicKey };
        const signatures = await olm.sign(canonicalJson(authData));
        authData["signatures"] = JSON.parse(signatures.asJSON()) as Json;
        const body = { algorithm: BACKUP_ALGORITHM, auth_data: authData };
        const { version } = await world.http.ask<{ version: string }>("POST", "/room_keys/version", { body });
        await olm.saveBackupDecryptionKey(wasm.BackupDecryptionKey.fromBase64(secret), version);
        await olm.enableBackupV1(publicKey, version);
        this.#version = version;
    }

    // ------------------------------------------------------------ with the key, on a new device

    async recover(typedKey: string, onRestoring?: (progress: ImportProgress) => void): Promise<ImportProgress> {
        const raw = typed(typedKey);
        const found = await this.#defaultKey();
        if (!found) throw new Fault("no-recovery", "this account has no recovery key");
        if (!(await storage.matches(raw, found.description))) throw new Fault("bad-key", "another account's key");
        const { olm } = this.machine;
        await this.machine.flush();
        await this.refreshOwn();
        const [master, selfSigning, userSigning, backup, sleeping] = await Promise.all(
            Object.values(SECRETS).map((name) => this.#secret(name, found.id, raw)),
        );
        if (master && selfSigning && userSigning) {
            await olm.importCrossSigningKeys(master, selfSigning, userSigning);
            await this.#signThisDevice();
        }
        await this.#openVault(raw);
        let progress: ImportProgress = { imported: 0, total: 0 };
        if (backup && (await this.#takeBackupKey(backup))) progress = await this.restore(onRestoring);
        if (sleeping) await quietly(() => this.#wake(sleeping));
        await this.look();
        return progress;
    }

    async #signThisDevice(): Promise<void> {
        const { olm, wasm, world } = this.machine;
        await this.machine.exclusive(async () => {
            const device = await olm.getDevice(new wasm.UserId(world.me), new wasm.DeviceId(world.deviceId));
            if (!device) throw new Fault("server", "the server does not know this device's keys");
            await this.machine.send(await device.verify());
            const own = await this.#ownIdentity();
            if (own && !own.isVerified()) await this.machine.send(await own.verify());
        });
        await this.refreshOwn();
    }

    /** Keys that came while no device was there; then another one sleeps in its place. */
    async #wake(secret: string): Promise<void> {
        const { olm, wasm } = this.machine;
        const key = (): Sdk.DehydratedDeviceKey => wasm.DehydratedDeviceKey.createKeyFromArray(fromBase64(secret));
        await this.#dehydrated.wake(key());
        await olm.dehydratedDevices().saveDehydratedDeviceKey(key());
        await this.#dehydrated.renew(key());
        void this.backUp();
    }

    /** The same key opens the vault, where its slot for this session is shut (docs/vault.md). */
    async #openVault(raw: Uint8Array<ArrayBuffer>): Promise<void> {
        const body = { slot_key: toBase64(await slotKey(raw)) };
        await quietly(() => this.machine.world.http.ask("POST", "/_kerwen/account/recovery_key/open", { body }));
    }

    // ------------------------------------------------------------ backup

    async #info(): Promise<BackupInfo | undefined> {
        return this.machine.world.http.find("GET", "/room_keys/version");
    }

    /** Goes on with the backup whose key this device has. */
    async #startBackup(): Promise<void> {
        const { olm } = this.machine;
        const { decryptionKey } = await olm.getBackupKeys();
        this.machine.backupReady = decryptionKey !== undefined;
        if (this.#version && (await olm.isBackupEnabled())) return;
        if (!decryptionKey) return;
        const info = await this.#info();
        const publicKey = decryptionKey.megolmV1PublicKey.publicKeyBase64;
        if (!info || info.auth_data.public_key !== publicKey) {
            this.machine.backupReady = false;
            return;
        }
        await olm.enableBackupV1(publicKey, info.version);
        this.#version = info.version;
    }

    async #takeBackupKey(secret: string): Promise<boolean> {
        const { olm, wasm } = this.machine;
        const key = wasm.BackupDecryptionKey.fromBase64(secret);
        const publicKey = key.megolmV1PublicKey.publicKeyBase64;
        const info = await this.#info();
        if (!info || info.auth_data.public_key !== publicKey) return false;
        await olm.saveBackupDecryptionKey(key, info.version);
        await olm.enableBackupV1(publicKey, info.version);
        this.#version = info.version;
        this.machine.backupReady = true;
        return true;
    }

    /** Uploads what is not backed up yet; one run at a time. */
    async backUp(): Promise<void> {
        if (this.#backingUp || !this.#version) return;
        this.#backingUp = true;
        try {
            for (;;) {
                const request = await this.machine.exclusive(async () => {
                    const wanted = await this.machine.olm.backupRoomKeys();
                    if (wanted) await this.machine.send(wanted);
                    return wanted;
                });
                const counts = await this.machine.olm.roomKeyCounts();
                const pending = counts.total - counts.backedUp;
                this.#set({ backup: { ...this.#state.backup, on: true, pending } });
                if (!request) break;
            }
        } catch (error) {
            if (error instanceof Fault && error.fault.errcode === "M_WRONG_ROOM_KEYS_VERSION") {
                this.#version = undefined;
                await this.machine.olm.disableBackup();
                await quietly(() => this.look());
            }
        } finally {
            this.#backingUp = false;
        }
    }

    /** A secret came from another device of one's own. */
    async secretCame(name: string): Promise<void> {
        const { olm } = this.machine;
        if (name === SECRETS.backup) {
            for (const secret of await olm.getSecretsFromInbox(name)) {
                if (!(await this.#takeBackupKey(secret))) continue;
                await olm.deleteSecretsFromInbox(name);
                await this.restore();
                break;
            }
        }
        await this.look();
    }

    async #decrypted(key: Sdk.BackupDecryptionKey, sessions: Record<string, BackedUp>): Promise<Map<string, unknown>> {
        const opened = new Map<string, unknown>();
        for (const [id, { session_data: box }] of Object.entries(sessions)) {
            try {
                const plain = JSON.parse(key.decryptV1(box.ephemeral, box.mac, box.ciphertext)) as Json;
                plain["session_id"] ??= id;
                opened.set(id, plain);
            } catch {
                // a damaged entry must not stop the others
            }
        }
        return opened;
    }

    async restore(onProgress?: (progress: ImportProgress) => void): Promise<ImportProgress> {
        const { olm, wasm, world } = this.machine;
        const { decryptionKey } = await olm.getBackupKeys();
        const version = this.#version;
        if (!decryptionKey || !version) throw new Fault("no-recovery", "the backup's key is not here");
        const url = `/room_keys/keys?version=${encodeURIComponent(version)}`;
        const { rooms } = await world.http.ask<{ rooms: Record<RoomId, { sessions: Record<string, BackedUp> }> }>("GET", url, { timeoutMs: 600_000 });
        const all = Object.entries(rooms).flatMap(([roomId, { sessions }]) => Object.entries(sessions).map(([id, box]) => ({ roomId, id, box })));
        const progress = { imported: 0, total: all.length };
        for (let at = 0; at < all.length; at += IMPORT_AT_ONCE) {
            const part = new Map<string, Record<string, BackedUp>>();
            for (const { roomId, id, box } of all.slice(at, at + IMPORT_AT_ONCE)) {
                part.set(roomId, { ...part.get(roomId), [id]: box });
            }
            const opened = new Map<Sdk.RoomId, Map<string, unknown>>();
            for (const [roomId, sessions] of part) opened.set(new wasm.RoomId(roomId), await this.#decrypted(decryptionKey, sessions));
            const result = await this.machine.exclusive(() => olm.importBackedUpRoomKeys(opened, () => undefined, version));
            progress.imported += result.importedCount;
            this.#set({ restoring: { done: Math.min(at + IMPORT_AT_ONCE, all.length), total: all.length } });
            onProgress?.({ ...progress });
        }
        const state = { ...this.#state };
        delete state.restoring;
        this.#state = state;
        this.machine.world.emit("keys", state);
        return progress;
    }

    async #fetchOne(roomId: RoomId, sessionId: string): Promise<boolean> {
        const { olm, wasm, world } = this.machine;
        const { decryptionKey } = await olm.getBackupKeys();
        if (!decryptionKey || !this.#version) return false;
        const url = path`/room_keys/keys/${roomId}/${sessionId}?version=` + encodeURIComponent(this.#version);
        const box = await world.http.find<BackedUp>("GET", url);
        if (!box) return false;
        const opened = await this.#decrypted(decryptionKey, { [sessionId]: box });
        const map = new Map([[new wasm.RoomId(roomId), opened]]);
        const version = this.#version;
        const result = await olm.importBackedUpRoomKeys(map, () => undefined, version);
        return result.importedCount > 0;
    }
}
