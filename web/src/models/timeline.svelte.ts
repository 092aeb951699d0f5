// One window on a room's timeline, as a list that views draw.

import type { EventId, RoomId, TimelineChange, TimelineItem, TimelineState } from "../engine/types";
import { listen, use } from "./engine";

const open = new Map<string, TimelineModel>();
/** Changes that came before their window was known by name. */
let early: TimelineChange[] = [];
let opening = 0;

listen("timeline", (change) => {
    const model = open.get(change.view);
    if (model) model.apply(change);
    else if (opening > 0) early.push(change);
});
listen("restarted", () => {
    const models = [...open.values()];
    open.clear();
    for (const model of models) void model.reopen();
});

export class TimelineModel {
    items = $state.raw<TimelineItem[]>([]);
    before = $state(true);
    after = $state(false);
    loading = $state(true);
    unreadKey = $state<string | undefined>(undefined);
    focusKey = $state<string | undefined>(undefined);
    failed = $state.raw<unknown>(undefined);
    #view: string | undefined;
    #closed = false;

    constructor(
        readonly roomId: RoomId,
        readonly thread?: EventId,
        readonly at?: EventId,
    ) {}

    /** Opens a window; `close` it when it leaves the screen. */
    static open(roomId: RoomId, more: { thread?: EventId; at?: EventId } = {}): TimelineModel {
        const model = new TimelineModel(roomId, more.thread, more.at);
        void model.reopen();
        return model;
    }

    async reopen(): Promise<void> {
        opening++;
        try {
            const want = { roomId: this.roomId, ...(this.thread ? { thread: this.thread } : {}), ...(this.at ? { at: this.at } : {}) };
            const state = await use().timeline.open(want);
            this.#take(state);
        } catch (error) {
            this.failed = error;
            this.loading = false;
        } finally {
            if (--opening === 0) early = [];
        }
    }

    #take(state: TimelineState): void {
        if (this.#closed) return void use().timeline.close(state.view);
        this.#view = state.view;
        open.set(state.view, this);
        this.items = state.items;
        this.failed = undefined;
        [this.before, this.after, this.loading] = [state.before, state.after, state.loading];
        [this.unreadKey, this.focusKey] = [state.unreadKey, state.focusKey];
        for (const change of early) if (change.view === state.view) this.apply(change);
        early = early.filter((change) => change.view !== state.view);
    }

    apply(change: TimelineChange): void {
        if (change.splices.length > 0) {
            const items = [...this.items];
            for (const { at, remove, insert } of change.splices) items.splice(at, remove, ...insert);
            this.items = items;
        }
        [this.before, this.after, this.loading] = [change.before, change.after, change.loading];
    }

    async loadBefore(count?: number): Promise<void> {
        if (this.#view && this.before && !this.loading) await this.#quietly(use().timeline.loadBefore(this.#view, count));
    }

    async loadAfter(count?: number): Promise<void> {
        if (this.#view && this.after) await this.#quietly(use().timeline.loadAfter(this.#view, count));
    }

    async #quietly(work: Promise<unknown>): Promise<void> {
        try {
            await work;
            this.failed = undefined;
        } catch (error) {
            this.failed = error; // off line: what is stored stays shown
        }
    }

    /** The newest message of others that stands here, for receipts. */
    get newest(): EventId | undefined {
        return this.items.findLast((item) => item.eventId !== undefined)?.eventId;
    }

    close(): void {
        this.#closed = true;
        if (!this.#view) return;
        open.delete(this.#view);
        void use().timeline.close(this.#view).catch(() => undefined);
    }
}
