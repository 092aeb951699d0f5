// Search over what this device has and could read. The index is built behind the timelines, a
// few events at a time, and lives in the same database.

import { meaning, searchable } from "./content";
import { editedContent } from "./events";
import { asked } from "./idb";
import type { StoredEvent } from "./matrix";
import { Projection } from "./projection";
import { localpart } from "./room_record";
import { eventById } from "./store";
import type { Profile, RoomId, RoomSummary, SearchCalls, SearchHit, UserId } from "./types";
import { beginning, folded, matching, wordsOf } from "./words";
import type { World } from "./world";

const BATCH = 100;
const CANDIDATES_MAX = 2000;
const INDEX_MAX = 200_000;

interface Entry {
    roomId: RoomId;
    id: string;
    ts: number;
    words: string[];
}

export class Search implements SearchCalls {
    #running = false;

    constructor(readonly world: World) {}

    /** Puts what is new into the index; gives way between batches. */
    async index(): Promise<void> {
        if (this.#running || this.world.stopped) return;
        this.#running = true;
        try {
            while (!this.world.stopped && (await this.#batch())) await new Promise((resolve) => setTimeout(resolve, 0));
        } finally {
            this.#running = false;
        }
    }

    #batch(): Promise<boolean> {
        return this.world.store.write(["events", "words"], async (tx) => {
            const [events, words] = [tx.objectStore("events"), tx.objectStore("words")];
            const fresh = await asked<StoredEvent[]>(events.index("unindexed").getAll(1, BATCH));
            const full = fresh.length > 0 && (await asked(words.count())) > INDEX_MAX;
            for (const event of fresh) {
                const { type, content } = meaning(event);
                const isEdit = event.relType === "m.replace";
                const said = event.redactedBy === undefined ? searchable(type, isEdit ? (editedFrom(event) ?? content) : content) : "";
                const found = wordsOf(said);
                const id = isEdit && event.rel ? event.rel[1] : event.id;
                if (found.length > 0) words.put({ roomId: event.roomId, id, ts: event.ts, words: found } satisfies Entry);
                const done = { ...event };
                delete done.unindexed;
                events.put(done);
            }
            if (full) await dropOldest(words);
            return fresh.length === BATCH;
        });
    }

    async messages(want: { text: string; roomId?: RoomId; sender?: UserId; before?: number; limit?: number }): Promise<{ hits: SearchHit[]; more: boolean }> {
        await this.index();
        const prefixes = wordsOf(want.text);
        const limit = Math.min(want.limit ?? 30, 100);
        if (prefixes.length === 0) return { hits: [], more: false };
        const entries = await this.world.store.read(["words"], (tx) => this.#entries(tx, prefixes));
        const fits = entries
            .filter((entry) => (!want.roomId || entry.roomId === want.roomId) && entry.ts < (want.before ?? Infinity) && this.world.rooms.get(entry.roomId)?.membership === "join")
            .sort((a, b) => b.ts - a.ts);
        const hits: SearchHit[] = [];
        let at = 0;
        for (; at < fits.length && hits.length < limit; at++) {
            const entry = fits[at];
            const hit = entry && (await this.#hit(entry, prefixes, want.sender));
            if (hit) hits.push(hit);
        }
        return { hits, more: at < fits.length };
    }

    /** Entries that have a word for each prefix: the longest prefix, which is the rarest, is looked up. */
    async #entries(tx: IDBTransaction, prefixes: string[]): Promise<Entry[]> {
        const [first, ...others] = [...prefixes].sort((a, b) => b.length - a.length);
        const range = IDBKeyRange.bound(...beginning(first ?? ""));
        const found = await asked<Entry[]>(tx.objectStore("words").index("word").getAll(range, CANDIDATES_MAX));
        const once = new Map(found.map((entry) => [`${entry.roomId} ${entry.id}`, entry]));
        return [...once.values()].filter((entry) => others.every((prefix) => entry.words.some((word) => word.startsWith(prefix))));
    }

    async #hit(entry: Entry, prefixes: string[], sender?: UserId): Promise<SearchHit | undefined> {
        const room = this.world.rooms.get(entry.roomId);
        if (!room) return undefined;
        return this.world.store.read(["events", "members"], async (tx) => {
            const event = await eventById(tx, entry.roomId, entry.id);
            if (!event || event.redactedBy !== undefined || (sender && event.sender !== sender)) return undefined;
            const item = await new Projection(tx, room, this.world.me).item(event);
            const related = await asked<StoredEvent[]>(tx.objectStore("events").index("rel").getAll([entry.roomId, entry.id]));
            const { type, content } = meaning(event);
            const said = searchable(type, editedContent(event, related) ?? content);
            return { roomId: entry.roomId, roomName: this.world.summary(entry.roomId)?.name ?? "", item, words: matching(said, prefixes) };
        });
    }

    async names(text: string, limit = 20): Promise<{ rooms: RoomSummary[]; people: Profile[] }> {
        const parts = folded(text).split(/\s+/).filter(Boolean);
        if (parts.length === 0) return { rooms: [], people: [] };
        const has = (name: string): boolean => parts.every((part) => folded(name).includes(part));
        const rooms = this.world.summaries().filter((room) => has(`${room.name} ${room.alias ?? ""}`)).sort((a, b) => b.ts - a.ts);
        const people = new Map<UserId, Profile>();
        for (const room of this.world.rooms.values()) {
            for (const hero of room.heroes) if (has(`${hero.name ?? ""} ${localpart(hero.userId)}`)) people.set(hero.userId, hero);
        }
        return { rooms: rooms.slice(0, limit), people: [...people.values()].slice(0, limit) };
    }

    async progress(): Promise<{ indexed: number; rooms: number }> {
        const indexed = await this.world.store.read(["words"], (tx) => asked(tx.objectStore("words").count()));
        return { indexed, rooms: this.world.rooms.size };
    }
}

function editedFrom(event: StoredEvent): Record<string, unknown> | undefined {
    const fresh = meaning(event).content["m.new_content"];
    return typeof fresh === "object" && fresh !== null ? (fresh as Record<string, unknown>) : undefined;
}

/** The index stays bounded: entries of what lies first in it go. Old messages are then found by scrolling. */
function dropOldest(words: IDBObjectStore): Promise<void> {
    return new Promise((resolve, reject) => {
        let left = BATCH * 2;
        const request = words.openCursor();
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
        request.onsuccess = () => {
            const cursor = request.result;
            if (!cursor || left-- <= 0) return resolve();
            cursor.delete();
            cursor.continue();
        };
    });
}
