// The crypto machine: what comes with the sync goes in, what it wants to send goes out, events are
// sealed and opened. The cryptography is all matrix-sdk-crypto's.

import type * as Sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { identityOf, KEYS as CALL_KEYS } from "../calls/shapes";
import { isCallSignal } from "../content";
import { Fault } from "../faults";
import type { History } from "../history";
import { path } from "../http";
import { asked } from "../idb";
import { isObject, text, type Json, type Seal, type StoredEvent, type StoredMember } from "../matrix";
import { isEncrypted, type RoomRecord } from "../room_record";
import type { CryptoMail } from "../store";
import type { RoomId, UserId } from "../types";
import type { World } from "../world";

export type Wasm = typeof Sdk;

const MAIL_BATCH = 20;
const ROUNDS_MAX = 20;

/** What sealing needs to tell others. */
export interface Told {
    /** Room keys came: events that are shut under these sessions may open now. */
    keys(sessions: { roomId: RoomId; sessionId: string }[]): void;
    identity(userId: UserId): void;
    devices(userIds: UserId[]): void;
    secret(name: string): void;
    verification(userId: UserId, flowId: string): void;
    /** `device`: the one that sealed it; undefined where it came in clear. */
    callKey(sender: UserId, device: string | undefined, content: Json): void;
}

export class Machine {
    #lock: Promise<unknown> = Promise.resolve();
    /** Since when this device is there: older events need the backup. */
    readonly since: number;
    backupReady = false;
    /** Fetches a key from the backup; true if it came. */
    fromBackup: ((roomId: RoomId, sessionId: string) => Promise<boolean>) | undefined;
    readonly #asked = new Set<string>();

    constructor(
        readonly wasm: Wasm,
        readonly olm: Sdk.OlmMachine,
        readonly world: World,
        readonly history: History,
        readonly told: Told,
    ) {
        this.since = olm.deviceCreationTimeMs;
        olm.roomKeyRequestsEnabled = false;
        olm.roomKeyForwardingEnabled = false;
        void olm.registerRoomKeyUpdatedCallback(async (infos) => {
            told.keys(infos.map((info) => ({ roomId: info.roomId.toString(), sessionId: info.sessionId })));
        });
        void olm.registerRoomKeysWithheldCallback(async (infos) => {
            told.keys(infos.map((info) => ({ roomId: info.roomId.toString(), sessionId: info.sessionId })));
        });
        void olm.registerUserIdentityUpdatedCallback(async (userId) => told.identity(userId.toString()));
        void olm.registerDevicesUpdatedCallback(async (userIds) => told.devices(userIds));
        void olm.registerReceiveSecretCallback(async (name) => told.secret(name));
    }

    static async open(wasm: Wasm, world: World, history: History, name: string, told: Told): Promise<Machine> {
        const olm = await wasm.OlmMachine.initialize(new wasm.UserId(world.me), new wasm.DeviceId(world.deviceId), name);
        return new Machine(wasm, olm, world, history, told);
    }

    close(): void {
        this.olm.close();
    }

    get ready(): boolean {
        return !this.world.stopped;
    }

    /** One at a time: the machine's own order of reading and sending. */
    exclusive<T>(deed: () => Promise<T>): Promise<T> {
        const work = this.#lock.then(deed, deed);
        this.#lock = work.catch(() => undefined);
        return work;
    }

    // ------------------------------------------------------------ in

    /** Takes what the sync stored for the machine, and forgets it when it is taken. */
    async drain(): Promise<void> {
        await this.exclusive(async () => {
            for (;;) {
                const mails = await this.world.store.read(["inbox"], (tx) =>
                    asked<CryptoMail[]>(tx.objectStore("inbox").getAll(null, MAIL_BATCH)),
                );
                if (mails.length === 0) return;
                for (const mail of mails) await this.#take(mail);
                const last = mails.at(-1)?.seq ?? 0;
                await this.world.store.write(["inbox"], (tx) =>
                    void tx.objectStore("inbox").delete(IDBKeyRange.upperBound(last)),
                );
            }
        });
    }

    async #take(mail: CryptoMail): Promise<void> {
        const { wasm } = this;
        const users = (ids: string[]): Sdk.UserId[] => ids.map((id) => new wasm.UserId(id));
        const lists = new wasm.DeviceLists(users(mail.changed), users(mail.left));
        const counts = new Map(Object.entries(mail.oneTimeKeys ?? {}));
        const fallback = mail.fallbackKeys ? new Set(mail.fallbackKeys) : undefined;
        const settings = new wasm.DecryptionSettings(wasm.TrustRequirement.Untrusted);
        const json = JSON.stringify(mail.toDevice);
        const events = await this.olm.receiveSyncChangesMsc4186(json, lists, counts, fallback, settings);
        for (const event of events) {
            const device = event instanceof wasm.DecryptedToDeviceEvent ? event.encryptionInfo.senderDevice?.toString() : undefined;
            this.#tell(JSON.parse(event.rawEvent) as Json, device);
        }
    }

    #tell(raw: Json, device: string | undefined): void {
        const [type, sender] = [text(raw["type"]) ?? "", text(raw["sender"]) ?? ""];
        const content = isObject(raw["content"]) ? raw["content"] : {};
        if (type.startsWith("m.key.verification.")) {
            const flow = text(content["transaction_id"]);
            if (flow) this.told.verification(sender, flow);
        } else if (type === CALL_KEYS) {
            this.told.callKey(sender, device, content);
        } else if (isCallSignal(type)) {
            this.world.emit("call", { sender, type, content, ts: Date.now() });
        }
    }

    /** An event of a verification in a room, decrypted. */
    async verificationEvent(event: StoredEvent): Promise<void> {
        const { type, content } = event.clear ?? event;
        const raw = { event_id: event.id, sender: event.sender, origin_server_ts: event.ts, room_id: event.roomId, type, content };
        const relates = event.content["m.relates_to"];
        if (isObject(relates) && !content["m.relates_to"]) raw.content = { ...content, "m.relates_to": relates };
        const device = text(raw.content["from_device"]);
        if (device && event.sender !== this.world.me) await this.#know(event.sender, device);
        await this.olm.receiveVerificationEvent(JSON.stringify(raw), new this.wasm.RoomId(event.roomId));
        const related = raw.content["m.relates_to"];
        const flow = isObject(related) ? text(related["event_id"]) : undefined;
        this.told.verification(event.sender, flow ?? event.id);
    }

    /** The machine drops what comes from devices that it does not know yet. */
    async #know(userId: UserId, deviceId: string): Promise<void> {
        const { wasm, olm } = this;
        if (await olm.getDevice(new wasm.UserId(userId), new wasm.DeviceId(deviceId))) return;
        await this.exclusive(() => this.send(olm.queryKeysForUsers([new wasm.UserId(userId)])));
    }

    // ------------------------------------------------------------ out

    /** Sends what the machine wants to send, until it wants nothing. */
    async flush(): Promise<void> {
        await this.exclusive(() => this.#flush());
    }

    async #flush(): Promise<void> {
        for (let round = 0; round < ROUNDS_MAX; round++) {
            const requests = await this.olm.outgoingRequests();
            if (requests.length === 0) return;
            for (const request of requests) await this.send(request);
        }
    }

    /** One request of the machine; rejects with a fault when the line or the server fails. */
    async send(request: Sdk.KeysUploadRequest | Sdk.KeysQueryRequest | Sdk.KeysClaimRequest | Sdk.ToDeviceRequest | Sdk.SignatureUploadRequest | Sdk.RoomMessageRequest | Sdk.KeysBackupRequest): Promise<void> {
        const [method, url] = this.#place(request);
        const body = JSON.parse(request.body) as unknown;
        const answer = await this.world.http.ask(method, url, { body });
        if (request.id) await this.olm.markRequestAsSent(request.id, request.type, JSON.stringify(answer));
    }

    #place(request: { type: Sdk.RequestType }): [string, string] {
        const { RequestType } = this.wasm;
        switch (request.type) {
            case RequestType.KeysUpload:
                return ["POST", "/keys/upload"];
            case RequestType.KeysQuery:
                return ["POST", "/keys/query"];
            case RequestType.KeysClaim:
                return ["POST", "/keys/claim"];
            case RequestType.SignatureUpload:
                return ["POST", "/keys/signatures/upload"];
            case RequestType.KeysBackup: {
                const { version } = request as Sdk.KeysBackupRequest;
                return ["PUT", `/room_keys/keys?version=${encodeURIComponent(version)}`];
            }
            case RequestType.ToDevice: {
                const { event_type, txn_id } = request as Sdk.ToDeviceRequest;
                return ["PUT", path`/sendToDevice/${event_type}/${txn_id}`];
            }
            case RequestType.RoomMessage: {
                const { room_id, event_type, txn_id } = request as Sdk.RoomMessageRequest;
                return ["PUT", path`/rooms/${room_id}/send/${event_type}/${txn_id}`];
            }
            default:
                throw new Fault("bug", "a request of an unknown kind");
        }
    }

    // ------------------------------------------------------------ sealing

    /** Seals a content for a room, after its key is with everybody who should have it. */
    async seal(room: RoomRecord, type: string, content: Json): Promise<Json> {
        const members = await this.history.members(room.id);
        return this.exclusive(async () => {
            await this.#share(room, readersOf(room, members));
            const sealed = await this.olm.encryptRoomEvent(new this.wasm.RoomId(room.id), type, JSON.stringify(content));
            return JSON.parse(sealed) as Json;
        });
    }

    async #share(room: RoomRecord, userIds: UserId[]): Promise<void> {
        const { wasm, olm } = this;
        const users = (): Sdk.UserId[] => userIds.map((id) => new wasm.UserId(id)); // wasm takes them away
        await olm.updateTrackedUsers(users());
        await this.#flush();
        const claim = await olm.getMissingSessions(users());
        if (claim) await this.send(claim);
        const settings = new wasm.EncryptionSettings();
        const told = room.state["m.room.encryption"] ?? {};
        const [messages, period] = [told["rotation_period_msgs"], told["rotation_period_ms"]];
        if (typeof messages === "number" && messages > 0) settings.rotationPeriodMessages = BigInt(Math.round(messages));
        if (typeof period === "number" && period > 0) settings.rotationPeriod = BigInt(Math.round(period)) * 1000n;
        const visibility = room.state["m.room.history_visibility"]?.["history_visibility"];
        const kinds: Record<string, Sdk.HistoryVisibility> = {
            invited: wasm.HistoryVisibility.Invited,
            joined: wasm.HistoryVisibility.Joined,
            world_readable: wasm.HistoryVisibility.WorldReadable,
        };
        settings.historyVisibility = kinds[String(visibility)] ?? wasm.HistoryVisibility.Shared;
        settings.sharingStrategy = wasm.CollectStrategy.allDevices();
        for (const request of await olm.shareRoomKey(new wasm.RoomId(room.id), users(), settings)) await this.send(request);
    }

    /** Seals a content for single devices and sends it; the identities of those that could be reached. */
    async whisper(to: { userId: UserId; deviceId: string }[], type: string, content: Json): Promise<string[]> {
        if (to.length === 0) return [];
        const { wasm, olm } = this;
        const users = (): Sdk.UserId[] => [...new Set(to.map((one) => one.userId))].map((id) => new wasm.UserId(id));
        return this.exclusive(async () => {
            await olm.updateTrackedUsers(users());
            await this.#flush();
            const claim = await olm.getMissingSessions(users());
            if (claim) await this.send(claim);
            const messages: Record<UserId, Record<string, Json>> = {};
            const reached: string[] = [];
            for (const { userId, deviceId } of to) {
                const device = await olm.getDevice(new wasm.UserId(userId), new wasm.DeviceId(deviceId));
                const sealed = await device?.encryptToDeviceEvent(type, content).catch(() => undefined);
                if (!sealed) continue;
                (messages[userId] ??= {})[deviceId] = JSON.parse(sealed) as Json;
                reached.push(identityOf({ userId, deviceId }));
            }
            if (reached.length > 0) await this.world.http.ask("PUT", path`/sendToDevice/m.room.encrypted/${crypto.randomUUID()}`, { body: { messages } });
            return reached;
        });
    }

    /** Follows the devices of the people of encrypted rooms that one is in. */
    async follow(roomId: RoomId, userIds: UserId[]): Promise<void> {
        const room = this.world.rooms.get(roomId);
        if (!room || !isEncrypted(room)) return;
        await this.olm.updateTrackedUsers(userIds.map((id) => new this.wasm.UserId(id)));
    }

    // ------------------------------------------------------------ opening

    /** Opens events; what cannot be opened says why in `shut`. */
    async open(events: StoredEvent[]): Promise<void> {
        const late: StoredEvent[] = [];
        for (const event of events) {
            await this.#openOne(event);
            if (event.shut === "no-key" || event.shut === "before-device") late.push(event);
        }
        const fetch = this.fromBackup;
        if (!fetch || !this.backupReady) return;
        for (const event of late) {
            const session = event.session?.[1];
            if (!session || this.#asked.has(session)) continue;
            if (this.#asked.size > 5000) this.#asked.clear();
            this.#asked.add(session);
            const came = await fetch(event.roomId, session).catch(() => {
                this.#asked.delete(session);
                return false;
            });
            if (came) for (const other of late) if (other.session?.[1] === session) await this.#openOne(other);
        }
    }

    async #openOne(event: StoredEvent): Promise<void> {
        const { wasm } = this;
        const raw = { event_id: event.id, type: event.type, sender: event.sender, origin_server_ts: event.ts, room_id: event.roomId, content: event.content };
        try {
            const settings = new wasm.DecryptionSettings(wasm.TrustRequirement.Untrusted);
            const opened = await this.olm.decryptRoomEvent(JSON.stringify(raw), new wasm.RoomId(event.roomId), settings);
            const plain = JSON.parse(opened.event) as Json;
            const content = isObject(plain["content"]) ? plain["content"] : {};
            const ours = event.sender === this.world.me && opened.senderDevice?.toString() === this.world.deviceId;
            const seal = ours ? "sealed" : this.#sealOf(opened.shieldState(false));
            event.clear = { type: text(plain["type"]) ?? "", content, seal };
            delete event.shut;
            delete event.session;
        } catch (error) {
            event.shut = this.#why(error, event);
        }
    }

    #sealOf(shield: Sdk.ShieldState): Seal {
        const { ShieldColor, ShieldStateCode } = this.wasm;
        if (shield.color === ShieldColor.None) return "sealed";
        if (shield.code === ShieldStateCode.MismatchedSender) return "mismatch";
        if (shield.code === ShieldStateCode.UnknownDevice) return "unknown-device";
        if (shield.code === ShieldStateCode.AuthenticityNotGuaranteed) return "sealed"; // from the backup
        return "unverified";
    }

    #why(error: unknown, event: StoredEvent): NonNullable<StoredEvent["shut"]> {
        const { MegolmDecryptionError, DecryptionErrorCode } = this.wasm;
        if (!(error instanceof MegolmDecryptionError)) return "broken";
        if (error.maybe_withheld !== undefined) return "withheld";
        const missing = [DecryptionErrorCode.MissingRoomKey, DecryptionErrorCode.UnknownMessageIndex];
        if (!missing.includes(error.code)) return "broken";
        return event.ts < this.since ? "before-device" : "no-key";
    }

    /** Events that are shut under a session, or under any. */
    async shut(roomId?: RoomId, sessionId?: string): Promise<StoredEvent[]> {
        const range = roomId ? IDBKeyRange.only([roomId, sessionId ?? ""]) : undefined;
        return this.world.store.read(["events"], (tx) =>
            asked<StoredEvent[]>(tx.objectStore("events").index("session").getAll(range, 2000)),
        );
    }
}

/** Who gets the key of a room: those in it, and those invited where they may read from then on. */
function readersOf(room: RoomRecord, members: StoredMember[]): UserId[] {
    const visibility = room.state["m.room.history_visibility"]?.["history_visibility"];
    const admitted = visibility === "joined" ? ["join"] : ["join", "invite"];
    return members.filter((member) => admitted.includes(member.membership)).map((member) => member.userId);
}
