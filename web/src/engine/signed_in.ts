// One signed-in session: everything that runs while somebody is in.

import { Account, type Crypto } from "./account_calls";
import { Calls } from "./calls/calls";
import { Composer } from "./composer";
import { isCallSignal, meaning, mentions, roleOf } from "./content";
import type { Verifications } from "./crypto/verification";
import { sweep } from "./disappear";
import type { Added } from "./events";
import { Fault, quietly, report } from "./faults";
import { History } from "./history";
import { path, type Http } from "./http";
import { asked } from "./idb";
import type { Json, StoredEvent } from "./matrix";
import { Media } from "./media";
import { Outbox } from "./outbox";
import { Projection } from "./projection";
import { isEncrypted, localpart } from "./room_record";
import { Rooms } from "./rooms_calls";
import { Search } from "./search";
import type { Saved } from "./session";
import type { Store } from "./store";
import { Sync } from "./sync";
import { profileOf, refreshLast, type Applied } from "./sync_apply";
import { Timelines } from "./timelines";
import type { CryptoLoad, Membership, Profile, RoomId, TimelineItem, Trust, UserId, VerificationCalls, VerificationState } from "./types";
import { Uploads } from "./uploads";
import { World, type Emit } from "./world";

/** The loaded crypto part: kept out of the first chunk. */
export type LoadCrypto = (session: SignedIn, onProgress: (loaded: number, total: number) => void) => Promise<LoadedCrypto>;

export interface LoadedCrypto extends Crypto {
    verifications: Verifications;
    close(): void;
}

const ARRIVAL_MS = 10_000;
const SWEEP_MS = 30_000;
const VERIFIES_MS = 600_000; // a request lives ten minutes

export class SignedIn {
    readonly world: World;
    readonly history: History;
    readonly timelines: Timelines;
    readonly uploads: Uploads;
    readonly outbox: Outbox;
    readonly media: Media;
    readonly search: Search;
    readonly composer: Composer;
    readonly rooms: Rooms;
    readonly account: Account;
    readonly calls: Calls;
    readonly sync: Sync;
    cryptoLoad: CryptoLoad = { kind: "idle", loaded: 0, total: 0 };
    #crypto: LoadedCrypto | undefined;
    #loading: Promise<void> | undefined;
    #timer: ReturnType<typeof setInterval> | undefined;
    readonly #arrivals = new Set<() => void>();
    readonly #verified = new Set<string>();
    readonly #trusts = new Map<UserId, Trust>();

    constructor(
        readonly saved: Saved,
        store: Store,
        http: Http,
        readonly emit: Emit,
        readonly load: LoadCrypto,
    ) {
        this.world = new World(store, http, saved.userId, saved.deviceId, emit);
        this.history = new History(this.world);
        this.timelines = new Timelines(this.world, this.history);
        this.uploads = new Uploads(this.world);
        this.outbox = new Outbox(this.world, this.uploads);
        this.media = new Media(this.world);
        this.search = new Search(this.world);
        this.composer = new Composer(this.world, this.outbox, this.history);
        this.rooms = new Rooms(this.world, this.history, this.media, {
            look: (visible) => this.look(visible),
            trust: (userId) => this.trust(userId),
            items: (roomId, ids) => this.items(roomId, ids),
            arrival: (roomId, membership) => this.#arrival(roomId, membership),
        });
        this.account = new Account(this.world, this.media, () => this.#crypto, () => this.openShut());
        this.sync = new Sync(this.world);
        this.calls = new Calls(this.world, {
            whisper: (to, type, content) => this.#need().machine.whisper(to, type, content),
            say: (roomId, type, content) => this.composer.event(roomId, type, content),
            name: (roomId, userId) => this.#name(roomId, userId),
            devicesOf: (userId) => this.account.devicesOf(userId),
        });
        this.timelines.transferOf = (row) => this.uploads.stateOf(row);
        this.outbox.onChange = (roomId) => void this.timelines.changed(roomId).catch(report);
        this.sync.onApplied = (applied) => this.#applied(applied);
    }

    /** Reads the store, then opens the line. What is stored can be shown before there is a line. */
    async start(): Promise<void> {
        await this.world.load();
        this.world.saver = (await this.world.store.get<boolean>("meta", "saver")) ?? false;
        for (const [key, draft] of await this.#drafts()) if (!key.includes(" ")) this.world.drafts.set(key, draft);
        await this.outbox.load();
        await this.sync.start();
        this.outbox.kickAll();
        this.#timer = setInterval(() => void this.#sweep(), SWEEP_MS);
        if (typeof this.#timer === "object") (this.#timer as { unref?: () => void }).unref?.();
        void this.#sweep();
    }

    async #drafts(): Promise<[string, string][]> {
        return this.world.store.read(["drafts"], async (tx) => {
            const store = tx.objectStore("drafts");
            const [keys, values] = await Promise.all([asked(store.getAllKeys()), asked<{ text: string }[]>(store.getAll())]);
            return keys.map((key, i) => [String(key), (values[i]?.text ?? "").slice(0, 200)]);
        });
    }

    async #sweep(): Promise<void> {
        const changed = await sweep(this.world).catch(() => [] as RoomId[]);
        for (const roomId of changed) await this.timelines.changed(roomId, [], true).catch(report);
        if (changed.length > 0) this.world.told(changed);
    }

    stop(): void {
        this.world.stopped = true;
        this.sync.stop();
        this.outbox.stop();
        this.calls.stop();
        clearInterval(this.#timer);
        this.#crypto?.close();
        this.#crypto = undefined;
    }

    look(visible: RoomId[]): void {
        const verifying = this.#crypto?.verifications.list().flatMap((one) => one.roomId ?? []) ?? [];
        this.sync.look([...verifying, ...visible, ...this.timelines.rooms()]);
    }

    // ------------------------------------------------------------ after each answer

    async #applied(applied: Applied): Promise<void> {
        for (const [roomId, users] of applied.typing) {
            const names = await Promise.all(users.slice(0, 5).map((userId) => this.#name(roomId, userId)));
            this.world.typing.set(roomId, names);
        }
        for (const roomId of applied.members) this.emit("members", { roomId });
        for (const type of applied.accountData) this.emit("accountData", { type });
        if (applied.accountData.includes("m.ignored_user_list")) await this.world.loadIgnored();
        this.outbox.returned(applied.echoes);
        if (this.#crypto) await this.#cryptoApplied(this.#crypto, applied).catch(report);
        const busy = new Set([...applied.added.keys(), ...applied.receipts]);
        for (const roomId of busy) await this.timelines.changed(roomId, applied.added.get(roomId)?.touched);
        this.world.told(applied.rooms);
        for (const arrived of [...this.#arrivals]) arrived();
        await this.calls.applied(applied.rooms).catch(report);
        await this.#notify(applied).catch(report);
        void this.#afterwards(applied);
    }

    async #name(roomId: RoomId, userId: UserId): Promise<string> {
        const member = await this.world.store.get<{ name?: string }>("members", [roomId, userId]);
        return member?.name ?? localpart(userId);
    }

    /** What may wait: keys to send, gaps of rooms on screen, the index. */
    async #afterwards(applied: Applied): Promise<void> {
        const crypto = this.#crypto;
        if (crypto) {
            await quietly(() => crypto.machine.flush());
            await quietly(() => crypto.keys.backUp());
            if (applied.accountData.includes("m.secret_storage.default_key")) await quietly(() => crypto.keys.look());
        } else if (!this.world.stopped) void this.loadCrypto().catch(() => undefined);
        for (const [roomId, added] of applied.added) await this.#fill(roomId, added);
        await quietly(() => this.search.index());
    }

    /** Fetches what lies in a gap, and the first page of a room that is new here. */
    async #fill(roomId: RoomId, added: Added): Promise<void> {
        const first = added.events[0];
        const room = this.world.rooms.get(roomId);
        const isNew = !added.gap && room?.start && room.oldest === first?.order && added.events.length < 2;
        if (!first || !(added.gap || isNew) || room?.membership !== "join") return;
        const shown = this.timelines.rooms().has(roomId);
        if (!shown && (this.world.saver || this.sync.connection.catchingUp)) return;
        await quietly(async () => {
            const older = await this.history.older(roomId, added.gap ? first : undefined, added.gap ? 50 : 20);
            await this.#verify([...older.events, ...added.events]);
        });
        await this.timelines.changed(roomId).catch(report);
    }

    /** Events of calls are told; those of verifications go to the machine, each once, in their order. */
    async #verify(events: StoredEvent[]): Promise<void> {
        await this.calls.saw(events).catch(report);
        const fresh = events.filter((event) => {
            const { type, content } = meaning(event);
            const isOne = type.startsWith("m.key.verification.") || content["msgtype"] === "m.key.verification.request";
            return isOne && Date.now() - event.ts < VERIFIES_MS && !this.#verified.has(event.id);
        });
        for (const event of fresh.sort((a, b) => a.order - b.order)) {
            this.#verified.add(event.id);
            await this.#crypto?.machine.verificationEvent(event).catch(report);
        }
    }

    async #cryptoApplied(crypto: LoadedCrypto, applied: Applied): Promise<void> {
        if (applied.mail) await crypto.machine.drain();
        const verifying = new Set(crypto.verifications.list().map((one) => one.roomId));
        for (const [roomId, added] of applied.added) {
            const opened = await this.history.unseal(added.events);
            for (const event of opened) added.touched.add(event.id).add(event.rel?.[1] ?? event.id);
            // what lies in the gap comes first; a verification under way does not wait for it
            if (added.gap && verifying.has(roomId)) await this.#fill(roomId, added);
            else if (!added.gap) await this.#verify(added.events);
            if (opened.length > 0) await this.#refresh(roomId, added.touched);
        }
        for (const roomId of applied.members) {
            const members = await this.world.store.members(roomId);
            await crypto.machine.follow(roomId, members.filter((m) => m.membership !== "leave").map((m) => m.userId));
        }
        await crypto.verifications.refresh();
    }

    /** The line that lists show of a room, made anew after events were opened. */
    async #refresh(roomId: RoomId, touched: Set<string>): Promise<void> {
        await this.world.exclusive(async () => {
            const room = structuredClone(this.world.room(roomId));
            await this.world.store.write(["events", "members", "rooms"], async (tx) => {
                await refreshLast(tx, room, this.world.me, touched);
                tx.objectStore("rooms").put(room);
            });
            this.world.rooms.set(roomId, room);
        });
    }

    async #notify(applied: Applied): Promise<void> {
        if (this.sync.connection.catchingUp) return;
        for (const [roomId, added] of applied.added) {
            const room = this.world.rooms.get(roomId);
            for (const event of added.events) {
                const { type, content } = meaning(event);
                if (isCallSignal(type) && event.sender !== this.world.me) this.emit("call", { roomId, sender: event.sender, type, content, ts: event.ts });
                if (!room || event.sender === this.world.me || event.stateKey !== undefined || this.world.ignored.has(event.sender)) continue;
                const named = mentions(content, this.world.me);
                if (named) await this.world.change(roomId, (now) => void (now.highlights = Math.max(1, now.highlights)));
                const quietly = room.notify === "none" || (room.notify === "mentions" && !named);
                if (roleOf(event) !== "item" || quietly || content["msgtype"] === "m.notice" || Date.now() - event.ts > 300_000) continue;
                const [summary, item] = [this.world.summary(roomId), await this.#item(event)];
                if (summary) this.emit("notify", { room: summary, item, loud: named || room.dmUser !== undefined });
            }
        }
    }

    #item(event: StoredEvent): Promise<TimelineItem> {
        const room = this.world.room(event.roomId);
        return this.world.store.read(["events", "members"], (tx) => new Projection(tx, room, this.world.me).item(event));
    }

    async items(roomId: RoomId, ids: string[]): Promise<TimelineItem[]> {
        const found: TimelineItem[] = [];
        for (const id of ids) {
            const event = await this.history.event(roomId, id).catch(() => undefined);
            if (event) found.push(await this.#item(event));
        }
        return found;
    }

    #arrival(roomId: RoomId, membership: Membership): Promise<void> {
        const there = (): boolean => {
            const room = this.world.rooms.get(roomId);
            return room?.membership === membership && room.known;
        };
        if (there()) return Promise.resolve();
        return new Promise((resolve) => {
            const done = (): void => {
                clearTimeout(timer);
                this.#arrivals.delete(look);
                resolve();
            };
            const look = (): void => {
                if (there()) done();
            };
            const timer = setTimeout(done, ARRIVAL_MS);
            this.#arrivals.add(look);
        });
    }

    // ------------------------------------------------------------ crypto

    loadCrypto(): Promise<void> {
        this.#loading ??= this.#loadCrypto().catch((error: unknown) => {
            this.#loading = undefined;
            this.#sayCrypto({ ...this.cryptoLoad, kind: "failed" });
            throw error;
        });
        return this.#loading;
    }

    #sayCrypto(load: CryptoLoad): void {
        this.cryptoLoad = load;
        this.emit("crypto", load);
    }

    async #loadCrypto(): Promise<void> {
        this.#sayCrypto({ kind: "loading", loaded: 0, total: 0 });
        const crypto = await this.load(this, (loaded, total) => this.#sayCrypto({ kind: "loading", loaded, total }));
        if (this.world.stopped) return crypto.close();
        this.#crypto = crypto;
        await crypto.machine.drain();
        this.world.sealing = crypto.machine;
        this.outbox.seal = (room, type, content) => crypto.machine.seal(room, type, content);
        crypto.verifications.onDone = () => void quietly(async () => {
            await crypto.machine.olm.requestMissingSecretsIfNeeded();
            await crypto.machine.flush();
            await crypto.keys.refreshOwn();
            await crypto.keys.look();
        });
        this.#sayCrypto({ ...this.cryptoLoad, kind: "ready" });
        await quietly(() => crypto.machine.flush());
        for (const room of this.world.rooms.values()) {
            if (room.membership !== "join" || !isEncrypted(room)) continue;
            const members = await this.world.store.members(room.id);
            await crypto.machine.follow(room.id, members.filter((m) => m.membership !== "leave").map((m) => m.userId));
        }
        await this.openShut();
        this.outbox.kickAll();
        await quietly(() => crypto.keys.look());
        await quietly(() => crypto.keys.backUp());
    }

    /** What loading and the machine call back with. */
    readonly told = {
        keys: (sessions: { roomId: RoomId; sessionId: string }[]): void => void this.#keysCame(sessions).catch(report),
        identity: (userId: UserId): void => void this.#identity(userId).catch(report),
        devices: (userIds: UserId[]): void => void (userIds.includes(this.world.me) && this.emit("accountData", { type: "devices" })),
        secret: (name: string): void => void quietly(async () => {
            await this.#crypto?.keys.secretCame(name);
            await this.openShut();
        }),
        callKey: (sender: UserId, device: string | undefined, content: Json): void => this.calls.keyCame(sender, device, content),
        verification: (userId: UserId, flowId: string): void => void this.#crypto?.verifications.came(userId, flowId).catch(report),
    };

    async #keysCame(sessions: { roomId: RoomId; sessionId: string }[]): Promise<void> {
        const crypto = this.#crypto;
        if (!crypto || !this.world.sealing) return;
        if (sessions.length > 50) return this.openShut();
        const shut: StoredEvent[] = [];
        for (const { roomId, sessionId } of sessions) shut.push(...(await crypto.machine.shut(roomId, sessionId)));
        await this.#open(shut);
    }

    /** Tries all that could not be opened yet. */
    async openShut(): Promise<void> {
        const crypto = this.#crypto;
        if (crypto && this.world.sealing) await this.#open(await crypto.machine.shut());
    }

    async #open(shut: StoredEvent[]): Promise<void> {
        const opened = await this.history.unseal(shut);
        await this.#verify(opened);
        const byRoom = new Map<RoomId, Set<string>>();
        for (const event of opened) {
            const ids = byRoom.get(event.roomId) ?? new Set<string>();
            byRoom.set(event.roomId, ids.add(event.id).add(event.rel?.[1] ?? event.id));
        }
        for (const [roomId, touched] of byRoom) {
            await this.#refresh(roomId, touched);
            await this.timelines.changed(roomId, touched);
        }
        if (byRoom.size > 0) {
            this.world.told(byRoom.keys());
            void quietly(() => this.search.index());
        }
    }

    async trust(userId: UserId): Promise<Trust> {
        const crypto = this.#crypto;
        if (!crypto) return this.#trusts.get(userId) ?? "unknown";
        const { wasm, olm } = crypto.machine;
        const identity = await olm.getIdentity(new wasm.UserId(userId));
        let trust: Trust = "unknown";
        if (identity instanceof wasm.OwnUserIdentity) trust = identity.isVerified() ? "verified" : "encrypted";
        else if (identity) {
            const changed = identity.hasVerificationViolation() || identity.identityNeedsUserApproval();
            trust = changed ? "changed" : identity.isVerified() ? "verified" : "encrypted";
        } else if ((await olm.getUserDevices(new wasm.UserId(userId), 1)).devices().length > 0) trust = "encrypted";
        this.#trusts.set(userId, trust);
        return trust;
    }

    async #identity(userId: UserId): Promise<void> {
        const before = this.#trusts.get(userId);
        const trust = await this.trust(userId);
        if (before !== trust) this.emit("identity", { userId, trust });
    }

    #need(): LoadedCrypto {
        if (!this.#crypto) throw new Fault("crypto-loading");
        return this.#crypto;
    }

    readonly verification: VerificationCalls = {
        list: async () => this.#crypto?.verifications.list() ?? [],
        requestOwn: async () => this.#need().verifications.requestOwn(),
        requestDevice: async (deviceId) => this.#need().verifications.requestDevice(deviceId),
        requestUser: async (userId) => this.#requestUser(userId),
        accept: async (id) => {
            await this.#need().verifications.accept(id);
            this.look([]);
        },
        startEmoji: async (id) => this.#need().verifications.startEmoji(id),
        same: async (id) => this.#need().verifications.same(id),
        different: async (id) => this.#need().verifications.different(id),
        scanned: async (id, qr) => this.#need().verifications.scanned(id, qr),
        confirmScan: async (id) => this.#need().verifications.confirmScan(id),
        cancel: async (id) => this.#need().verifications.cancel(id),
        trust: (userId) => this.trust(userId),
        acceptIdentity: (userId) => this.#acceptIdentity(userId),
        devicesOf: (userId) => this.account.devicesOf(userId),
    };

    async #requestUser(userId: UserId): Promise<VerificationState> {
        const { verifications, machine } = this.#need();
        const roomId = await this.rooms.openDm(userId);
        this.sync.look([roomId, ...this.timelines.rooms()]);
        return verifications.requestUser(userId, roomId, async (content: Json) => {
            const room = this.world.room(roomId);
            const sealed = isEncrypted(room) ? await machine.seal(room, "m.room.message", content) : content;
            const type = isEncrypted(room) ? "m.room.encrypted" : "m.room.message";
            const url = path`/rooms/${roomId}/send/${type}/${crypto.randomUUID()}`;
            return (await this.world.http.ask<{ event_id: string }>("PUT", url, { body: sealed })).event_id;
        });
    }

    async #acceptIdentity(userId: UserId): Promise<void> {
        const { wasm, olm } = this.#need().machine;
        const identity = await olm.getIdentity(new wasm.UserId(userId));
        if (!(identity instanceof wasm.OtherUserIdentity)) throw new Fault("not-found", "no identity is known");
        if (identity.hasVerificationViolation()) await identity.withdrawVerification();
        await identity.pinCurrentMasterKey();
        this.emit("identity", { userId, trust: await this.trust(userId) });
    }

    // ------------------------------------------------------------ reading beside timelines

    async source(roomId: RoomId, eventId: string): Promise<object> {
        const event = await this.history.event(roomId, eventId);
        const { clear, content, type, sender, ts, id, stateKey } = event;
        const bare = { event_id: id, room_id: roomId, type: clear?.type ?? type, sender, origin_server_ts: ts, content: clear?.content ?? content };
        return stateKey === undefined ? bare : { ...bare, state_key: stateKey };
    }

    async threads(roomId: RoomId): Promise<TimelineItem[]> {
        const url = path`/_matrix/client/v1/rooms/${roomId}/threads` + "?limit=30";
        const page = await this.world.http.ask<{ chunk: { event_id: string }[] }>("GET", url);
        return this.items(roomId, page.chunk.map((raw) => raw.event_id));
    }

    async #profile(roomId: RoomId, userId: UserId): Promise<Profile> {
        const member = await this.world.store.get<Parameters<typeof profileOf>[0]>("members", [roomId, userId]);
        return member ? profileOf(member) : { userId };
    }

    async reactionsOf(roomId: RoomId, eventId: string): Promise<{ key: string; users: Profile[] }[]> {
        const related = (await this.world.store.related(roomId, [eventId])).get(eventId) ?? [];
        const byKey = new Map<string, Set<UserId>>();
        for (const event of related) {
            const relates = event.content["m.relates_to"] as Json | undefined;
            const key = relates?.["key"];
            if (event.relType !== "m.annotation" || event.redactedBy !== undefined || typeof key !== "string") continue;
            byKey.set(key, (byKey.get(key) ?? new Set()).add(event.sender));
        }
        const shown = [...byKey].map(async ([key, users]) => ({ key, users: await Promise.all([...users].map((id) => this.#profile(roomId, id))) }));
        return Promise.all(shown);
    }

    async readersOf(roomId: RoomId, eventId: string): Promise<{ user: Profile; ts: number }[]> {
        const event = await this.world.store.event(roomId, eventId);
        const readers: { user: Profile; ts: number }[] = [];
        for (const receipt of await this.world.store.receipts(roomId)) {
            if (receipt.userId === this.world.me) continue;
            const at = await this.world.store.event(roomId, receipt.eventId);
            if (event && at && at.order >= event.order) readers.push({ user: await this.#profile(roomId, receipt.userId), ts: receipt.ts });
        }
        return readers.sort((a, b) => b.ts - a.ts);
    }
}
