// Messages that wait. Stored with their transaction id before anything goes out; sent in order in
// each room, once, until the server has them; gone when their echo came back with the sync.

import { Fault, faultOf, isPassing } from "./faults";
import { backOffMs, path } from "./http";
import { asked } from "./idb";
import { isObject, type Json, type OutboxRow, type StoredFile } from "./matrix";
import { isEncrypted, type RoomRecord } from "./room_record";
import type { EngineFault, OutboxEntry, RoomId } from "./types";
import type { Uploads } from "./uploads";
import type { World } from "./world";

const CLEAR_TYPES = new Set(["m.reaction"]); // servers and clients aggregate these

export interface Letter {
    roomId: RoomId;
    type: string;
    content: Json;
    redacts?: string;
    files?: StoredFile[];
}

type Seal = (room: RoomRecord, type: string, content: Json) => Promise<Json>;

export class Outbox {
    readonly #running = new Set<RoomId>();
    readonly #sending = new Set<string>();
    readonly #late = new Map<RoomId, { tries: number; timer: ReturnType<typeof setTimeout> }>();
    #rows = new Map<string, OutboxRow>();
    #seq = 0;
    seal: Seal | undefined;
    /** A room's waiting messages changed: its windows draw anew. */
    onChange: (roomId: RoomId) => void = () => undefined;

    constructor(
        readonly world: World,
        readonly uploads: Uploads,
    ) {}

    async load(): Promise<void> {
        for (const row of await this.world.store.outbox()) {
            if (row.status === "sending") row.status = "queued"; // it was cut: the same txn id goes again
            this.#rows.set(row.txnId, row);
            this.#seq = Math.max(this.#seq, row.seq);
        }
        this.#count();
    }

    stop(): void {
        for (const { timer } of this.#late.values()) clearTimeout(timer);
        this.#late.clear();
    }

    list(): OutboxEntry[] {
        return [...this.#rows.values()].map((row) => this.#entry(row));
    }

    #entry(row: OutboxRow): OutboxEntry {
        const { txnId, roomId, queuedAt, status, tries, fault } = row;
        const entry: OutboxEntry = { txnId, roomId, queuedAt, status, tries };
        if (fault) entry.fault = fault;
        const upload = this.uploads.stateOf(row);
        if (upload) entry.upload = upload;
        return entry;
    }

    #count(): void {
        this.world.waiting.clear();
        for (const { roomId, status } of this.#rows.values()) {
            const [queued, failed] = this.world.waiting.get(roomId) ?? [0, 0];
            const waits = status === "queued" || status === "sending";
            this.world.waiting.set(roomId, [queued + (waits ? 1 : 0), failed + (status === "failed" ? 1 : 0)]);
        }
    }

    #changed(roomId: RoomId): void {
        this.#count();
        this.world.emit("outbox", this.list());
        this.world.told([roomId]);
        this.onChange(roomId);
    }

    /** Stores a letter with its files in one transaction; from then on it is not lost. */
    async add(letter: Letter): Promise<string> {
        const row: OutboxRow = {
            txnId: `k${crypto.randomUUID().replace(/-/g, "")}`,
            roomId: letter.roomId,
            seq: ++this.#seq,
            queuedAt: Date.now(),
            type: letter.type,
            content: letter.content,
            status: "queued",
            tries: 0,
        };
        if (letter.redacts) row.redacts = letter.redacts;
        if (letter.files?.length) row.uploads = letter.files.map((file) => file.id);
        await this.world.store.write(["outbox", "files"], (tx) => {
            tx.objectStore("outbox").put(row);
            for (const file of letter.files ?? []) tx.objectStore("files").put({ ...file, txnId: row.txnId });
        }, "strict");
        this.#rows.set(row.txnId, row);
        this.#changed(row.roomId);
        this.kick(row.roomId);
        return row.txnId;
    }

    /** The line is there again, or the keys: everything may go. */
    kickAll(): void {
        for (const roomId of new Set([...this.#rows.values()].map((row) => row.roomId))) this.kick(roomId);
    }

    kick(roomId: RoomId): void {
        const late = this.#late.get(roomId);
        if (late) clearTimeout(late.timer);
        this.#late.delete(roomId);
        void this.#run(roomId, late?.tries ?? 0);
    }

    #next(roomId: RoomId): OutboxRow | undefined {
        let next: OutboxRow | undefined;
        for (const row of this.#rows.values()) {
            if (row.roomId !== roomId || row.paused || (row.status !== "queued" && row.status !== "sending")) continue;
            if (!next || row.seq < next.seq) next = row;
        }
        return next;
    }

    async #run(roomId: RoomId, tries: number): Promise<void> {
        if (this.#running.has(roomId) || this.world.stopped) return;
        this.#running.add(roomId);
        try {
            for (let row = this.#next(roomId); row && !this.world.stopped; row = this.#next(roomId)) {
                const fault = await this.#send(row);
                if (!fault) {
                    tries = 0;
                    continue;
                }
                if (fault.code === "crypto-loading" || fault.code === "signed-out") return; // kicked when it is there
                if (!isPassing(fault)) continue;
                const wait = fault.retryAfterMs ?? backOffMs(tries);
                const timer = setTimeout(() => this.kick(roomId), wait);
                this.#late.set(roomId, { tries: tries + 1, timer });
                return;
            }
        } catch (error) {
            console.error(faultOf(error).text);
        } finally {
            this.#running.delete(roomId);
        }
    }

    /** One try. A fault that passes leaves the row queued; another one marks it as failed. */
    async #send(row: OutboxRow): Promise<EngineFault | undefined> {
        this.#sending.add(row.txnId);
        row.status = "sending";
        this.#changed(row.roomId);
        try {
            const eventId = await this.#put(row);
            await this.#sent(row, eventId);
            return undefined;
        } catch (error) {
            const fault = faultOf(error);
            if (!this.#rows.has(row.txnId)) return undefined; // its echo came, or it was taken back
            row.tries += 1;
            row.status = isPassing(fault) || fault.code === "crypto-loading" || fault.code === "signed-out" || row.paused ? "queued" : "failed";
            if (row.status === "failed") row.fault = fault;
            await this.#keep(row);
            return row.paused ? undefined : fault;
        } finally {
            this.#sending.delete(row.txnId);
            this.#changed(row.roomId);
        }
    }

    async #put(row: OutboxRow): Promise<string> {
        const { http } = this.world;
        const { roomId, txnId, type } = row;
        if (row.redacts) {
            const url = path`/rooms/${roomId}/redact/${row.redacts}/${txnId}`;
            return (await http.ask<{ event_id: string }>("PUT", url, { body: row.content })).event_id;
        }
        const content = await this.#withFiles(row);
        const room = this.world.room(roomId);
        if (!isEncrypted(room) || CLEAR_TYPES.has(type)) {
            const url = path`/rooms/${roomId}/send/${type}/${txnId}`;
            return (await http.ask<{ event_id: string }>("PUT", url, { body: content })).event_id;
        }
        if (!this.seal) throw new Fault("crypto-loading");
        const sealed = await this.seal(room, type, content);
        if (!this.#rows.has(txnId)) throw new Fault("cancelled");
        const url = path`/rooms/${roomId}/send/m.room.encrypted/${txnId}`;
        return (await http.ask<{ event_id: string }>("PUT", url, { body: sealed })).event_id;
    }

    /** The content with the places of its files, which are brought up first. */
    async #withFiles(row: OutboxRow): Promise<Json> {
        let json = structuredClone(row.content);
        for (const id of [...(row.uploads ?? [])].reverse()) {
            const { mxc, file } = await this.uploads.finish(id); // the small one, the thumbnail, goes first
            json = placed(json, `local:${id}`, mxc, file.secret);
        }
        return json;
    }

    async #sent(row: OutboxRow, eventId: string): Promise<void> {
        row.status = "sent";
        row.eventId = eventId;
        delete row.fault;
        const there = await this.world.store.write(["outbox", "events", "files"], async (tx) => {
            const store = tx.objectStore("outbox");
            const known = await asked(tx.objectStore("events").index("id").getKey([row.roomId, eventId]));
            const held = await asked(store.getKey(row.txnId));
            if (known !== undefined || row.redacts) {
                store.delete(row.txnId);
                for (const id of row.uploads ?? []) tx.objectStore("files").delete(id);
                return false;
            }
            if (held !== undefined) store.put(row);
            return held !== undefined;
        });
        if (!there) this.#rows.delete(row.txnId);
    }

    async #keep(row: OutboxRow): Promise<void> {
        await this.world.store.write(["outbox"], async (tx) => {
            const store = tx.objectStore("outbox");
            if ((await asked(store.getKey(row.txnId))) !== undefined) store.put({ ...row });
        });
    }

    /** Their echoes came with the sync, which removed them from the store. */
    returned(txnIds: string[]): void {
        for (const txnId of txnIds) {
            const row = this.#rows.get(txnId);
            this.#rows.delete(txnId);
            if (row?.uploads) this.uploads.forget(row.uploads);
        }
        if (txnIds.length > 0) {
            this.#count();
            this.world.emit("outbox", this.list());
        }
    }

    #row(txnId: string): OutboxRow {
        const row = this.#rows.get(txnId);
        if (!row) throw new Fault("not-found", "it is sent");
        return row;
    }

    async retry(txnId: string): Promise<void> {
        const row = this.#row(txnId);
        if (row.status !== "failed") return this.kick(row.roomId);
        row.status = "queued";
        delete row.fault;
        await this.#keep(row);
        this.#changed(row.roomId);
        this.kick(row.roomId);
    }

    async cancel(txnId: string): Promise<void> {
        const row = this.#row(txnId);
        const uploading = row.uploads?.some((id) => this.uploads.stateOf({ ...row, uploads: [id] }) !== undefined);
        if (row.status === "sent" || (this.#sending.has(txnId) && !uploading)) throw new Fault("not-found", "it is on its way");
        this.#rows.delete(txnId);
        this.uploads.forget(row.uploads ?? []);
        await this.world.store.write(["outbox", "files"], (tx) => {
            tx.objectStore("outbox").delete(txnId);
            for (const id of row.uploads ?? []) tx.objectStore("files").delete(id);
        });
        this.#changed(row.roomId);
    }

    async pause(txnId: string): Promise<void> {
        const row = this.#row(txnId);
        row.paused = true;
        this.uploads.pause(row.uploads ?? []);
        await this.#keep(row);
        this.#changed(row.roomId);
    }

    async resume(txnId: string): Promise<void> {
        const row = this.#row(txnId);
        delete row.paused;
        await this.#keep(row);
        this.#changed(row.roomId);
        this.kick(row.roomId);
    }
}

/** Puts a place where `local:ID` stands: as `url` for a clear file, as `file` for a sealed one. */
export function placed(json: Json, local: string, mxc: string, secret?: Json): Json {
    const next: Json = {};
    for (const [key, value] of Object.entries(json)) {
        if (isObject(value)) next[key] = placed(value, local, mxc, secret);
        else if (value !== local) next[key] = value;
        else if (!secret) next[key] = mxc;
        else next[key === "thumbnail_url" ? "thumbnail_file" : "file"] = { ...secret, url: mxc };
    }
    return next;
}
