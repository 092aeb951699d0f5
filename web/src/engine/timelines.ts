// Windows on timelines: what views show of a room, kept up to date by splices.

import { roleOf } from "./content";
import { Fault } from "./faults";
import { asked, under } from "./idb";
import type { History } from "./history";
import type { OutboxRow, StoredEvent, StoredReceipt } from "./matrix";
import { Projection, type Readers } from "./projection";
import { eventById } from "./store";
import type { EventId, RoomId, TimelineChange, TimelineItem, TimelineState, TransferState } from "./types";
import type { World } from "./world";

const SIZE = 40;
const BATCH = 60;
const WINDOW_MAX = 1500;
const WINDOWS_MAX = 24;
const ROUNDS_MAX = 8;

interface Window {
    id: string;
    roomId: RoomId;
    thread?: EventId;
    /** The stored region that was looked through: orders of its ends. */
    lo: number;
    hi: number;
    /** True while the window ends at the newest event. */
    live: boolean;
    events: StoredEvent[];
    items: TimelineItem[];
    cache: Map<string, TimelineItem>;
    before: boolean;
    loading: boolean;
    next?: string;
    unreadKey?: string;
    focusKey?: string;
}

export class Timelines {
    readonly #windows = new Map<string, Window>();
    /** Work on one window is done one after the other. */
    readonly #chains = new Map<string, Promise<unknown>>();
    #count = 0;
    transferOf: (row: OutboxRow) => TransferState | undefined = () => undefined;

    constructor(
        readonly world: World,
        readonly history: History,
    ) {}

    rooms(): Set<RoomId> {
        return new Set([...this.#windows.values()].map((window) => window.roomId));
    }

    async open(want: { roomId: RoomId; thread?: EventId; at?: EventId; size?: number }): Promise<TimelineState> {
        const room = this.world.room(want.roomId);
        const size = Math.min(Math.max(want.size ?? SIZE, 10), 200);
        const window: Window = {
            id: `w${++this.#count}`,
            roomId: room.id,
            lo: Infinity,
            hi: room.newest ?? -Infinity,
            live: true,
            events: [],
            items: [],
            cache: new Map(),
            before: true,
            loading: false,
            ...(want.thread ? { thread: want.thread } : {}),
        };
        while (this.#windows.size >= WINDOWS_MAX) {
            const oldest = this.#windows.keys().next().value;
            if (oldest !== undefined) await this.close(oldest);
        }
        this.#windows.set(window.id, window);
        await this.#chain(window, async () => {
            if (want.thread) await this.#openThread(window, want.thread);
            else if (want.at) await this.#openAt(window, want.at, size);
            else await this.#fromStore(window, size);
            await this.#draw(window, true);
            this.#markUnread(window);
        });
        if (!want.at && window.items.length < size && window.before) {
            void this.loadBefore(window.id, size - window.items.length).catch(() => undefined);
        }
        return this.#state(window);
    }

    async close(id: string): Promise<void> {
        this.#windows.delete(id);
        this.#chains.delete(id);
    }

    #state(window: Window): TimelineState {
        const { id, roomId, items, before, live, loading, unreadKey, focusKey } = window;
        const state: TimelineState = { view: id, roomId, items, before, after: !live, loading };
        if (unreadKey) state.unreadKey = unreadKey;
        if (focusKey) state.focusKey = focusKey;
        return state;
    }

    #chain<T>(window: Window, deed: () => Promise<T>): Promise<T> {
        const before = this.#chains.get(window.id) ?? Promise.resolve();
        const work = before.then(deed, deed);
        this.#chains.set(window.id, work.catch(() => undefined));
        return work;
    }

    #window(id: string): Window {
        const window = this.#windows.get(id);
        if (!window) throw new Fault("not-found", "this view is closed");
        return window;
    }

    async #openAt(window: Window, at: EventId, size: number): Promise<void> {
        const event = await this.history.reach(window.roomId, at);
        window.hi = event.order;
        window.lo = event.order + 1;
        await this.#fromStore(window, Math.ceil(size / 2));
        const after = await this.world.store.eventsAfter(window.roomId, event.order, BATCH);
        this.#take(window, after, "after");
        window.live = after.length < BATCH;
        const shown = window.events.find((one) => one.id === at);
        window.focusKey = shown?.txnId && shown.sender === this.world.me ? shown.txnId : at;
    }

    async #openThread(window: Window, root: EventId): Promise<void> {
        const event = await this.history.event(window.roomId, root);
        const related = await this.world.store.related(window.roomId, [root]);
        const replies = (related.get(root) ?? []).filter((one) => one.relType === "m.thread");
        this.#mergeThread(window, [event, ...replies]);
        window.hi = this.world.room(window.roomId).newest ?? -Infinity;
    }

    #mergeThread(window: Window, events: StoredEvent[]): number {
        const known = new Map(window.events.map((event) => [event.id, event]));
        const size = known.size;
        for (const event of events) if (roleOf(event) === "item") known.set(event.id, event);
        window.events = [...known.values()].sort((a, b) => a.ts - b.ts || (a.id < b.id ? -1 : 1));
        const root = window.events.findIndex((event) => event.id === window.thread);
        if (root > 0) window.events.unshift(...window.events.splice(root, 1));
        return known.size - size;
    }

    /** What of these is a line in this window. */
    #lines(window: Window, events: StoredEvent[]): StoredEvent[] {
        return events.filter((event) => {
            if (roleOf(event) !== "item" || this.world.ignored.has(event.sender)) return false;
            const root = event.relType === "m.thread" ? event.rel?.[1] : undefined;
            return window.thread ? root === window.thread || event.id === window.thread : root === undefined;
        });
    }

    #take(window: Window, events: StoredEvent[], where: "before" | "after"): number {
        const lines = this.#lines(window, events);
        for (const event of events) {
            window.lo = Math.min(window.lo, event.order);
            window.hi = Math.max(window.hi, event.order);
        }
        if (where === "before") window.events.unshift(...[...lines].reverse());
        else window.events.push(...lines);
        return lines.length;
    }

    /** Lines before the window from the store, up to the next gap. */
    async #fromStore(window: Window, count: number): Promise<number> {
        let found = 0;
        for (let round = 0; found < count && round < 20; round++) {
            const edge = await this.#edge(window);
            if (edge?.gap) return found;
            const events = await this.world.store.eventsBefore(window.roomId, window.lo, BATCH);
            const gap = events.findIndex((event) => event.gap);
            const run = gap < 0 ? events : events.slice(0, gap + 1);
            const room = this.world.room(window.roomId);
            if (run.length === 0) {
                window.before = room.start !== null && room.start !== undefined;
                return found;
            }
            found += this.#take(window, run, "before");
        }
        return found;
    }

    /** The event at the lower end of what was looked through. */
    async #edge(window: Window): Promise<StoredEvent | undefined> {
        if (!Number.isFinite(window.lo)) return undefined;
        return this.world.store.get<StoredEvent>("events", [window.roomId, window.lo]);
    }

    async loadBefore(id: string, count = SIZE): Promise<number> {
        const window = this.#window(id);
        return this.#chain(window, async () => {
            if (!window.before) return 0;
            const had = window.items.length;
            try {
                let found = window.thread ? await this.#threadBefore(window) : await this.#fromStore(window, count);
                for (let round = 0; !window.thread && found < count && window.before && round < ROUNDS_MAX; round++) {
                    if (!window.loading) {
                        window.loading = true;
                        await this.#draw(window);
                    }
                    const edge = await this.#edge(window);
                    await this.history.older(window.roomId, edge?.gap ? edge : undefined, Math.max(count, 20));
                    found += await this.#fromStore(window, count - found);
                }
            } finally {
                window.loading = false;
                this.#trim(window, "after");
                await this.#draw(window);
            }
            return Math.max(0, window.items.length - had);
        });
    }

    async #threadBefore(window: Window): Promise<number> {
        const page = await this.history.replies(window.roomId, window.thread ?? "", window.next);
        window.before = page.next !== undefined;
        if (page.next) window.next = page.next;
        return this.#mergeThread(window, page.events);
    }

    async loadAfter(id: string, count = SIZE): Promise<number> {
        const window = this.#window(id);
        return this.#chain(window, async () => {
            if (window.live) return 0;
            const events = await this.world.store.eventsAfter(window.roomId, window.hi, Math.max(count, BATCH));
            const found = this.#take(window, events, "after");
            window.live = events.length === 0 || window.hi >= (this.world.room(window.roomId).newest ?? -Infinity);
            this.#trim(window, "before");
            await this.#draw(window);
            return found;
        });
    }

    #trim(window: Window, end: "before" | "after"): void {
        const over = window.events.length - WINDOW_MAX;
        if (over <= 0 || window.thread) return;
        if (end === "after") {
            window.events.splice(-over);
            window.hi = window.events.at(-1)?.order ?? window.hi;
            window.live = false;
        } else {
            window.events.splice(0, over);
            window.lo = window.events[0]?.order ?? window.lo;
            window.before = true;
        }
        const left = new Set(window.events.map((event) => event.id));
        for (const id of window.cache.keys()) if (!left.has(id)) window.cache.delete(id);
    }

    /** Something of a room changed: new events, events that others touched, the outbox, receipts. */
    async changed(roomId: RoomId, touched: Iterable<string> = [], all = false): Promise<void> {
        const ids = new Set(touched);
        const windows = [...this.#windows.values()].filter((window) => window.roomId === roomId);
        await Promise.all(windows.map((window) => this.#chain(window, () => this.#update(window, ids, all))));
    }

    async #update(window: Window, touched: Set<string>, all: boolean): Promise<void> {
        if (all) window.cache.clear();
        const stale = window.events.filter((event) => touched.has(event.id) || all);
        if (stale.length > 0) {
            const fresh = await this.world.store.read(["events"], (tx) =>
                Promise.all(stale.map((event) => eventById(tx, window.roomId, event.id))),
            );
            const now = new Map(fresh.filter((event) => event !== undefined).map((event) => [event.id, event]));
            window.events = window.events.flatMap((event) => {
                if (!touched.has(event.id) && !all) return [event];
                window.cache.delete(event.id);
                const next = now.get(event.id) ?? (Number.isFinite(event.order) ? undefined : event);
                return next && roleOf(next) === "item" ? [next] : [];
            });
        }
        for (const item of window.cache.values()) {
            // replies show a line of what they answer
            if (item.replyTo && touched.has(item.replyTo.eventId) && item.eventId) window.cache.delete(item.eventId);
        }
        if (window.live) {
            for (;;) {
                const events = await this.world.store.eventsAfter(window.roomId, window.hi, 200);
                if (events.length === 0) break;
                if (window.thread) {
                    window.hi = events.at(-1)?.order ?? window.hi;
                    this.#mergeThread(window, this.#lines(window, events));
                } else if (events.some((event) => event.gap) && events.length >= 200) {
                    window.live = false; // far away by now: it is asked for when it is scrolled to
                    break;
                } else {
                    this.#take(window, events, "after");
                }
            }
            this.#trim(window, "before");
        }
        await this.#draw(window);
    }

    /** Draws what changed, and tells it. */
    async #draw(window: Window, silently = false): Promise<void> {
        const room = this.world.rooms.get(window.roomId);
        if (!room || !this.#windows.has(window.id)) return;
        const rows = window.live ? (await this.world.store.outbox()).filter((row) => row.roomId === room.id) : [];
        const items = await this.world.store.read(["events", "members", "receipts"], async (tx) => {
            const readers = await readersOf(tx, room.id, this.world.me);
            const projection = new Projection(tx, room, this.world.me, readers);
            const drawn = await Promise.all(window.events.map((event) => this.#line(window, projection, readers, event)));
            const known = new Set(drawn.map((item) => item.key));
            for (const row of rows) {
                if (known.has(row.txnId)) continue;
                const echo = await projection.echo(row, this.transferOf(row));
                if (echo && echo.threadRoot === window.thread) drawn.push(echo);
            }
            return drawn;
        });
        const splices = silently ? [] : difference(window.items, items);
        window.items = items;
        if (silently) return;
        this.world.emit("timeline", {
            view: window.id,
            splices,
            before: window.before,
            after: !window.live,
            loading: window.loading,
        });
    }

    async #line(window: Window, projection: Projection, readers: Readers, event: StoredEvent): Promise<TimelineItem> {
        const cached = window.cache.get(event.id);
        const readBy = (readers.at.get(event.id) ?? []).slice(0, 20);
        const read = event.sender === this.world.me && event.order <= readers.upTo;
        if (cached) {
            const same = cached.read === read && cached.readBy.join() === readBy.join();
            if (same) return cached;
            const moved = { ...cached, read, readBy };
            window.cache.set(event.id, moved);
            return moved;
        }
        const item = await projection.item(event);
        window.cache.set(event.id, item);
        return item;
    }

    #markUnread(window: Window): void {
        const room = this.world.room(window.roomId);
        if (window.thread || room.unread === 0) return;
        const read = window.events.findIndex((event) => event.id === room.readId);
        const next = window.items.find((item, i) => i > read && !item.mine && read >= 0);
        if (next) window.unreadKey = next.key;
    }
}

/** Receipts of a room, by event; `upTo` is the highest order that somebody else read. */
export async function readersOf(tx: IDBTransaction, roomId: RoomId, me: string): Promise<Readers> {
    const receipts = await asked<StoredReceipt[]>(tx.objectStore("receipts").getAll(under([roomId])));
    const readers: Readers = { at: new Map(), upTo: -Infinity };
    const newest = receipts.filter((receipt) => receipt.userId !== me).sort((a, b) => b.ts - a.ts);
    for (const receipt of newest) {
        const list = readers.at.get(receipt.eventId);
        if (list) list.push(receipt.userId);
        else readers.at.set(receipt.eventId, [receipt.userId]);
    }
    const targets = [...readers.at.keys()].slice(0, 30);
    const events = await Promise.all(targets.map((id) => eventById(tx, roomId, id)));
    for (const event of events) if (event) readers.upTo = Math.max(readers.upTo, event.order);
    return readers;
}

/** The splices that make `after` of `before`: single ones where only lines changed. */
export function difference(before: TimelineItem[], after: TimelineItem[]): TimelineChange["splices"] {
    let start = 0;
    const least = Math.min(before.length, after.length);
    while (start < least && before[start]?.key === after[start]?.key) start++;
    let end = 0;
    while (end < least - start && before.at(-1 - end)?.key === after.at(-1 - end)?.key) end++;
    const splices: TimelineChange["splices"] = [];
    const changed = (i: number, j: number): void => {
        const [was, is] = [before[i], after[j]];
        if (is && was !== is && JSON.stringify(was) !== JSON.stringify(is)) splices.push({ at: i, remove: 1, insert: [is] });
    };
    for (let i = 0; i < start; i++) changed(i, i);
    for (let i = 1; i <= end; i++) changed(before.length - i, after.length - i);
    const remove = before.length - start - end;
    const insert = after.slice(start, after.length - end);
    if (remove > 0 || insert.length > 0) splices.push({ at: start, remove, insert });
    return splices;
}
