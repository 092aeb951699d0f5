// What all parts of a signed-in engine share: the store, the line, the rooms in memory.

import { Fault } from "./faults";
import type { Http } from "./http";
import { isObject, type Json, type StoredEvent } from "./matrix";
import { summaryOf, type RoomRecord } from "./room_record";
import type { Store } from "./store";
import { directsOf } from "./sync_apply";
import type { EngineEvents, EventName, RoomId, RoomSummary, UserId } from "./types";

export type Emit = <K extends EventName>(name: K, data: EngineEvents[K]) => void;

/** What the rest needs of the crypto machine. */
export interface Sealing {
    readonly ready: boolean;
    /** Tries to open events; sets `clear` or `shut` of each. */
    open(events: StoredEvent[]): Promise<void>;
}

export class World {
    readonly rooms = new Map<RoomId, RoomRecord>();
    directs = new Map<RoomId, UserId>();
    readonly typing = new Map<RoomId, UserId[]>();
    readonly drafts = new Map<RoomId, string>();
    /** Messages that wait, by room: [queued, failed]. */
    readonly waiting = new Map<RoomId, [number, number]>();
    readonly ignored = new Set<UserId>();
    sealing: Sealing | undefined;
    saver = false;
    stopped = false;
    #writing: Promise<unknown> = Promise.resolve();

    constructor(
        readonly store: Store,
        readonly http: Http,
        readonly me: UserId,
        readonly deviceId: string,
        readonly emit: Emit,
    ) {}

    get domain(): string {
        return this.me.slice(this.me.indexOf(":") + 1);
    }

    async load(): Promise<void> {
        for (const room of await this.store.rooms()) this.rooms.set(room.id, room);
        this.directs = directsOf((await this.store.get<Json>("accountData", ["", "m.direct"])) ?? {});
        await this.loadIgnored();
    }

    async loadIgnored(): Promise<void> {
        const list = await this.store.get<Record<string, unknown>>("accountData", ["", "m.ignored_user_list"]);
        this.ignored.clear();
        const users = list?.["ignored_users"];
        if (isObject(users)) for (const userId of Object.keys(users)) this.ignored.add(userId);
    }

    /**
     * Whoever changes records of rooms does it here, one after the other: each takes the record of
     * memory, writes it, and puts it back. Two at once would lose what one of them wrote.
     */
    exclusive<T>(deed: () => Promise<T>): Promise<T> {
        const work = this.#writing.then(deed, deed);
        this.#writing = work.catch(() => undefined);
        return work;
    }

    room(id: RoomId): RoomRecord {
        const room = this.rooms.get(id);
        if (!room) throw new Fault("not-found", `no room ${id}`);
        return room;
    }

    /** Changes a record in the store, then in memory. */
    async change(id: RoomId, deed: (room: RoomRecord) => void): Promise<void> {
        await this.exclusive(async () => {
            const room = structuredClone(this.room(id));
            deed(room);
            await this.store.put("rooms", room);
            this.rooms.set(id, room);
        });
        this.told([id]);
    }

    parents(): Map<RoomId, RoomId[]> {
        const parents = new Map<RoomId, RoomId[]>();
        for (const space of this.rooms.values()) {
            if (!space.children || space.membership !== "join") continue;
            for (const child of Object.keys(space.children)) {
                parents.set(child, [...(parents.get(child) ?? []), space.id]);
            }
        }
        return parents;
    }

    summary(id: RoomId, parents = this.parents()): RoomSummary | undefined {
        const room = this.rooms.get(id);
        if (!room || !isListed(room)) return undefined;
        const [queued, failed] = this.waiting.get(id) ?? [0, 0];
        const draft = this.drafts.get(id);
        const typing = (this.typing.get(id) ?? []).filter((userId) => !this.ignored.has(userId));
        const summary = summaryOf(room, {
            parents: parents.get(id) ?? [],
            typing,
            queued,
            failed,
            me: this.me,
            ...(draft ? { draft } : {}),
        });
        if (room.inviter && this.ignored.has(room.inviter.userId) && room.membership === "invite") return undefined;
        return summary;
    }

    summaries(): RoomSummary[] {
        const parents = this.parents();
        const all = [...this.rooms.keys()].map((id) => this.summary(id, parents));
        return all.filter((summary): summary is RoomSummary => summary !== undefined);
    }

    /** Tells views that rooms changed. A space tells of its rooms as well. */
    told(ids: Iterable<RoomId>): void {
        const parents = this.parents();
        const changed: RoomSummary[] = [];
        const gone: RoomId[] = [];
        for (const id of new Set(ids)) {
            const summary = this.summary(id, parents);
            if (summary) changed.push(summary);
            else gone.push(id);
        }
        if (changed.length + gone.length > 0) this.emit("rooms", { changed, gone });
    }
}

function isListed(room: RoomRecord): boolean {
    return room.membership === "join" || room.membership === "invite" || room.membership === "knock";
}
