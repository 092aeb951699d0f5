// Older events, members, single events: what is fetched of a room beside the sync.

import { addOlder, toStored, type Added, type Page } from "./events";
import { Fault } from "./faults";
import { path } from "./http";
import { asked, under } from "./idb";
import type { Json, RawEvent, StoredEvent, StoredMember } from "./matrix";
import { eventById, type StoreName } from "./store";
import { memberOf } from "./sync_apply";
import type { EventId, RoomId } from "./types";
import type { World } from "./world";

const WRITES: StoreName[] = ["rooms", "events", "members", "words"];
const PAGE = 50;

export class History {
    readonly #running = new Map<string, Promise<Added>>();

    constructor(readonly world: World) {}

    /** More events before `edge` (one with a gap) or before the oldest. One request. */
    async older(roomId: RoomId, edge?: StoredEvent, count = PAGE): Promise<Added> {
        const from = edge ? edge.gap : this.world.room(roomId).start;
        if (!from) return { events: [], touched: new Set(), gap: false };
        const key = `${roomId} ${from}`;
        const running = this.#running.get(key);
        if (running) return running;
        const work = this.#older(roomId, from, edge, count).finally(() => this.#running.delete(key));
        this.#running.set(key, work);
        return work;
    }

    async #older(roomId: RoomId, from: string, edge: StoredEvent | undefined, count: number): Promise<Added> {
        const filter = encodeURIComponent(JSON.stringify({ lazy_load_members: true }));
        const query = `?dir=b&limit=${count}&filter=${filter}&from=${encodeURIComponent(from)}`;
        const page = await this.world.http.ask<Page>("GET", path`/rooms/${roomId}/messages` + query);
        const added = await this.world.exclusive(async () => {
            const room = structuredClone(this.world.room(roomId));
            const found = await this.world.store.write(WRITES, async (tx) => {
                for (const raw of page.state ?? []) await keepUnknownMember(tx, roomId, raw);
                // another one may have closed the gap meanwhile
                const now = edge && (await eventById(tx, roomId, edge.id));
                if (edge && now?.gap !== from) return { events: [], touched: new Set<string>(), gap: false };
                const older = await addOlder(tx, room, page, now ?? undefined);
                tx.objectStore("rooms").put(room);
                return older;
            });
            this.world.rooms.set(roomId, room);
            return found;
        });
        await this.unseal(added.events);
        return added;
    }

    /** Opens what is sealed, and keeps what came out. Gives those that changed. */
    async unseal(events: StoredEvent[]): Promise<StoredEvent[]> {
        const shut = events.filter((event) => event.session && !event.clear);
        const sealing = this.world.sealing;
        if (shut.length === 0 || !sealing?.ready) return [];
        const before = shut.map((event) => event.shut);
        await sealing.open(shut);
        const changed = shut.filter((event, i) => event.clear || event.shut !== before[i]);
        const kept = changed.filter((event) => Number.isFinite(event.order));
        if (kept.length > 0) {
            await this.world.store.write(["events"], async (tx) => {
                for (const event of kept) {
                    const now = await eventById(tx, event.roomId, event.id);
                    if (!now || now.redactedBy !== undefined) continue;
                    tx.objectStore("events").put(withClear(now, event));
                }
            });
        }
        return changed;
    }

    /** An event by its id: from the store, else from the server (then it is not stored). */
    async event(roomId: RoomId, id: EventId): Promise<StoredEvent> {
        const known = await this.world.store.event(roomId, id);
        if (known) return known;
        const raw = await this.world.http.ask<RawEvent & Json>("GET", path`/rooms/${roomId}/event/${id}`);
        const event = toStored(roomId, raw);
        event.order = NaN;
        await this.unseal([event]);
        return event;
    }

    /** The replies of a thread that the server has, newest first; not stored. */
    async replies(roomId: RoomId, root: EventId, from?: string): Promise<{ events: StoredEvent[]; next?: string }> {
        const query = `?dir=b&limit=${PAGE}` + (from ? `&from=${encodeURIComponent(from)}` : "");
        const url = path`/_matrix/client/v1/rooms/${roomId}/relations/${root}/m.thread` + query;
        const page = await this.world.http.ask<{ chunk: RawEvent[]; next_batch?: string }>("GET", url);
        const events = await Promise.all(
            page.chunk.map(async (raw) => {
                const known = await this.world.store.event(roomId, raw.event_id);
                return known ?? { ...toStored(roomId, raw), order: NaN };
            }),
        );
        await this.unseal(events);
        return page.next_batch ? { events, next: page.next_batch } : { events };
    }

    /** All members, asked for once; later ones come with the sync. */
    async members(roomId: RoomId): Promise<StoredMember[]> {
        const room = this.world.room(roomId);
        if (!room.membersWhole) {
            const query = "?not_membership=leave";
            const page = await this.world.http.ask<{ chunk: RawEvent[] }>("GET", path`/rooms/${roomId}/members` + query);
            await this.world.exclusive(() => this.#keepMembers(roomId, page.chunk));
        }
        return this.world.store.members(roomId);
    }

    async #keepMembers(roomId: RoomId, chunk: RawEvent[]): Promise<void> {
        const room = { ...structuredClone(this.world.room(roomId)), membersWhole: true };
        await this.world.store.write(["members", "rooms"], async (tx) => {
            const store = tx.objectStore("members");
            const named = new Set(chunk.map((raw) => raw.state_key));
            const before = await asked<StoredMember[]>(store.getAll(under([roomId])));
            for (const member of before) {
                if (!named.has(member.userId) && member.membership !== "leave") store.put({ ...member, membership: "leave" });
            }
            for (const raw of chunk) store.put(memberOf(roomId, raw));
            tx.objectStore("rooms").put(room);
        });
        this.world.rooms.set(roomId, room);
    }

    /** Fetches older events until one is stored; `not-found` when it is too far away. */
    async reach(roomId: RoomId, id: EventId, pages = 40): Promise<StoredEvent> {
        for (let i = 0; i <= pages; i++) {
            const found = await this.world.store.event(roomId, id);
            if (found) return found;
            if (i === pages || !(await this.#fillSomewhere(roomId))) break;
        }
        throw new Fault("not-found", `${id} is not within reach`);
    }

    async #fillSomewhere(roomId: RoomId): Promise<boolean> {
        const edge = await this.newestGap(roomId);
        if (!edge && !this.world.room(roomId).start) return false;
        await this.older(roomId, edge, 100);
        return true;
    }

    /** The newest stored event that has a hole before it. */
    async newestGap(roomId: RoomId): Promise<StoredEvent | undefined> {
        let order = Infinity;
        for (let i = 0; i < 40; i++) {
            const events = await this.world.store.eventsBefore(roomId, order, 100);
            const edge = events.find((event) => event.gap);
            const last = events.at(-1);
            if (edge || !last) return edge;
            order = last.order;
        }
        return undefined;
    }
}

/** What was stored, with what decryption gave. */
function withClear(stored: StoredEvent, opened: StoredEvent): StoredEvent {
    const next = { ...stored };
    if (opened.clear) {
        next.clear = opened.clear;
        next.unindexed = 1;
        delete next.shut;
        delete next.session;
        // what an encrypted event relates to is in clear; one that says it only inside counts too
    } else if (opened.shut) {
        next.shut = opened.shut;
    }
    return next;
}

/** Members that come with older events are of then: they only fill in who is not known at all. */
async function keepUnknownMember(tx: IDBTransaction, roomId: RoomId, raw: RawEvent): Promise<void> {
    if (raw.type !== "m.room.member" || !raw.state_key) return;
    const store = tx.objectStore("members");
    const known = await asked(store.get([roomId, raw.state_key]));
    if (!known) store.put(memberOf(roomId, raw));
}
