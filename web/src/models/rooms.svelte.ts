// The list of rooms: kept up to date, ordered and filtered here.

import { choose, isUnread, type RoomFilter } from "../engine/rooms_order";
import type { RoomId, RoomSummary } from "../engine/types";
import { listen, use } from "./engine";

class RoomsModel {
    #rooms = $state.raw<Map<RoomId, RoomSummary>>(new Map());
    loaded = $state(false);
    filter = $state<RoomFilter>("all");
    space = $state<RoomId | undefined>(undefined);
    words = $state("");

    constructor() {
        listen("rooms", ({ changed, gone }) => {
            const next = new Map(this.#rooms);
            for (const room of changed) next.set(room.id, room);
            for (const id of gone) next.delete(id);
            this.#rooms = next;
        });
        listen("session", (state) => {
            if (state.kind === "in") void this.load();
            if (state.kind === "out") [this.#rooms, this.loaded] = [new Map(), false];
        });
        listen("restarted", () => void this.load());
    }

    async load(): Promise<void> {
        const rooms = await use().rooms.list().catch(() => undefined);
        if (!rooms) return;
        this.#rooms = new Map(rooms.map((room) => [room.id, room]));
        this.loaded = true;
    }

    readonly shown = $derived(choose(this.#rooms.values(), this.filter, this.space, this.words));
    readonly spaces = $derived(choose(this.#rooms.values(), "spaces"));
    readonly requests = $derived(choose(this.#rooms.values(), "requests"));
    /** How many chats are unread, for the mark on the rail and the title. */
    readonly unread = $derived([...this.#rooms.values()].filter((room) => room.kind !== "space" && !room.stranger && isUnread(room)).length);

    get(id: RoomId): RoomSummary | undefined {
        return this.#rooms.get(id);
    }

    all(): RoomSummary[] {
        return [...this.#rooms.values()];
    }
}

export const rooms = new RoomsModel();
