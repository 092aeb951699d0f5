// The sync loop: simplified sliding sync (docs/sliding_sync.md), one request at a time.

import { MEMBER as CALL_MEMBER } from "./calls/shapes";
import { faultOf } from "./faults";
import { backOffMs } from "./http";
import { KEPT_STATE } from "./room_record";
import { applySync, type Applied, type SlidingAnswer, type SyncPlace } from "./sync_apply";
import type { Connection, RoomId } from "./types";
import type { World } from "./world";

const PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
const POLL_MS = 25_000;
const FIRST = 19;
const STEP = 200;
const SUBSCRIPTIONS_MAX = 8;
const OPEN_ROOM_EVENTS = 20;

const STATE: [string, string][] = [
    ...KEPT_STATE.map((type): [string, string] => [type, ""]),
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
    ["m.space.child", "*"],
    [CALL_MEMBER, "*"],
];

export class Sync {
    #place: SyncPlace = {};
    #range = FIRST;
    #count = 0;
    #abort: AbortController | undefined;
    #wake: (() => void) | undefined;
    #tries = 0;
    #stopped = false;
    #connection: Connection = { kind: "connecting", catchingUp: true };
    #open = new Set<RoomId>();
    /** Everything of an answer is stored: show it. Awaited before the next request. */
    onApplied: (applied: Applied) => Promise<void> = async () => undefined;

    constructor(readonly world: World) {}

    get connection(): Connection {
        return this.#connection;
    }

    #say(change: Partial<Connection>): void {
        const next = { ...this.#connection, ...change };
        if (next.kind !== "waiting") delete next.retryAt;
        if (JSON.stringify(next) === JSON.stringify(this.#connection)) return;
        this.#connection = next;
        this.world.emit("connection", next);
    }

    async start(): Promise<void> {
        this.#place = (await this.world.store.get<SyncPlace>("meta", "sync")) ?? {};
        this.#range = Math.max(FIRST, (await this.world.store.get<number>("meta", "range")) ?? FIRST);
        if (typeof addEventListener === "function") {
            addEventListener("online", this.#online);
            addEventListener("offline", this.#offline);
        }
        void this.#run();
    }

    stop(): void {
        this.#stopped = true;
        this.#abort?.abort();
        this.#wake?.();
        if (typeof removeEventListener === "function") {
            removeEventListener("online", this.#online);
            removeEventListener("offline", this.#offline);
        }
        this.#say({ kind: "stopped" });
    }

    readonly #online = (): void => this.retryNow();
    readonly #offline = (): void => this.#say({ kind: "offline" });

    retryNow(): void {
        this.#tries = 0;
        this.#wake?.();
    }

    /** Rooms on screen: what comes for them comes whole. */
    look(rooms: Iterable<RoomId>): void {
        const next = new Set([...rooms].slice(0, SUBSCRIPTIONS_MAX));
        this.#open = next; // with the next request: a long poll is not worth breaking for it
    }

    async #run(): Promise<void> {
        while (!this.#stopped) {
            try {
                await this.#once();
                this.#tries = 0;
            } catch (error) {
                if (this.#stopped) return;
                await this.#failed(error);
            }
        }
    }

    async #once(): Promise<void> {
        const growing = this.#range < this.#count - 1;
        if (growing) this.#range = Math.min(this.#count - 1, this.#range + STEP);
        const catching = this.#connection.catchingUp || growing;
        const answer = await this.#ask(catching ? 0 : POLL_MS);
        const applied = await this.world.exclusive(() => applySync(this.world.store, this.world, answer, this.#place));
        const toDevice = answer.extensions?.to_device?.next_batch ?? this.#place.toDevice;
        this.#place = { pos: answer.pos, ...(toDevice ? { toDevice } : {}) };
        if (answer.lists) this.#count = applied.count;
        if (growing) await this.world.store.put("meta", this.#range, "range");
        await this.onApplied(applied);
        const more = this.#range < this.#count - 1;
        const mail = (answer.extensions?.to_device?.events?.length ?? 0) >= 100;
        this.#say({ kind: "online", catchingUp: more || mail });
    }

    async #ask(timeout: number): Promise<SlidingAnswer> {
        // the list, which holds all rooms, asks for their state already
        const subscribed = { timeline_limit: OPEN_ROOM_EVENTS, required_state: [] };
        const rooms = Object.fromEntries([...this.#open].map((id) => [id, subscribed]));
        const body = {
            conn_id: "kerwen",
            lists: { all: { ranges: [[0, this.#range]], timeline_limit: 1, required_state: STATE } },
            ...(this.#open.size > 0 ? { room_subscriptions: rooms } : {}),
            extensions: {
                to_device: { enabled: true, limit: 100, ...(this.#place.toDevice ? { since: this.#place.toDevice } : {}) },
                e2ee: { enabled: true },
                account_data: { enabled: true },
                receipts: { enabled: true },
                typing: { enabled: true },
            },
        };
        const pos = this.#place.pos ? `&pos=${encodeURIComponent(this.#place.pos)}` : "";
        this.#abort = new AbortController();
        const timeoutMs = timeout + 60_000;
        return this.world.http.ask<SlidingAnswer>("POST", `${PATH}?timeout=${timeout}${pos}`, { body, signal: this.#abort.signal, timeoutMs });
    }

    async #failed(error: unknown): Promise<void> {
        const fault = faultOf(error);
        if (fault.errcode === "M_UNKNOWN_POS") {
            this.#place = this.#place.toDevice ? { toDevice: this.#place.toDevice } : {};
            this.#range = FIRST;
            this.#say({ catchingUp: true });
            return;
        }
        if (fault.code === "signed-out" || fault.code === "locked") {
            this.stop();
            return;
        }
        if (fault.code === "bug" || fault.code === "storage-full") console.error(fault.text);
        const wait = fault.retryAfterMs ?? backOffMs(this.#tries++);
        const offline = typeof navigator === "object" && navigator.onLine === false;
        this.#say({ kind: offline ? "offline" : "waiting", retryAt: Date.now() + wait });
        await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, wait);
            this.#wake = () => {
                clearTimeout(timer);
                resolve();
            };
        });
        this.#wake = undefined;
        if (!this.#stopped) this.#say({ kind: "connecting" });
    }
}

