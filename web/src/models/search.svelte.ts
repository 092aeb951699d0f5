// Search through everything: names at once, messages as they are found.

import { faultOf } from "../engine/faults";
import type { EngineFault, Profile, RoomId, RoomSummary, SearchHit } from "../engine/types";
import { use } from "./engine";

const WAIT_MS = 150;

export class SearchModel {
    text = $state("");
    rooms = $state.raw<RoomSummary[]>([]);
    people = $state.raw<Profile[]>([]);
    hits = $state.raw<SearchHit[]>([]);
    more = $state(false);
    busy = $state(false);
    failed = $state.raw<EngineFault | undefined>(undefined);
    #timer: ReturnType<typeof setTimeout> | undefined;
    #run = 0;

    constructor(readonly roomId?: RoomId) {}

    /** Call on each change of the text. */
    changed(): void {
        clearTimeout(this.#timer);
        if (this.text.trim() === "") return this.clear();
        this.#timer = setTimeout(() => void this.#search(), WAIT_MS);
    }

    clear(): void {
        this.#run++;
        [this.rooms, this.people, this.hits, this.more, this.busy] = [[], [], [], false, false];
    }

    async #search(): Promise<void> {
        const run = ++this.#run;
        this.busy = true;
        try {
            if (!this.roomId) {
                const names = await use().search.names(this.text);
                if (run !== this.#run) return;
                [this.rooms, this.people] = [names.rooms, names.people];
            }
            const found = await use().search.messages(this.#want());
            if (run === this.#run) [this.hits, this.more, this.failed] = [found.hits, found.more, undefined];
        } catch (error) {
            if (run === this.#run) this.failed = faultOf(error);
        } finally {
            if (run === this.#run) this.busy = false;
        }
    }

    #want(before?: number): { text: string; roomId?: RoomId; before?: number } {
        return { text: this.text, ...(this.roomId ? { roomId: this.roomId } : {}), ...(before ? { before } : {}) };
    }

    async loadMore(): Promise<void> {
        const last = this.hits.at(-1);
        if (!last || !this.more || this.busy) return;
        const run = this.#run;
        const found = await use().search.messages(this.#want(last.item.ts));
        if (run === this.#run) [this.hits, this.more] = [[...this.hits, ...found.hits], found.more];
    }
}
