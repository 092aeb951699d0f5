// The people of one room, and its details.

import type { MemberInfo, RoomDetails, RoomId } from "../engine/types";
import { listen, use } from "./engine";

const shown = new Set<MembersModel>();
listen("members", ({ roomId }) => {
    for (const model of shown) if (model.roomId === roomId) model.stale();
});
listen("rooms", ({ changed }) => {
    for (const model of shown) if (changed.some((room) => room.id === model.roomId)) model.stale();
});
listen("identity", () => {
    for (const model of shown) model.stale();
});

export class MembersModel {
    list = $state.raw<MemberInfo[]>([]);
    details = $state.raw<RoomDetails | undefined>(undefined);
    loading = $state(true);
    #timer: ReturnType<typeof setTimeout> | undefined;

    constructor(readonly roomId: RoomId) {
        shown.add(this);
        void this.load();
    }

    /** Many changes come together: one look for all of them. */
    stale(): void {
        this.#timer ??= setTimeout(() => {
            this.#timer = undefined;
            void this.load();
        }, 300);
    }

    async load(): Promise<void> {
        const { rooms } = use();
        const [details, list] = await Promise.all([rooms.details(this.roomId).catch(() => undefined), rooms.members(this.roomId).catch(() => [])]);
        this.details = details;
        this.list = list;
        this.loading = false;
    }

    close(): void {
        clearTimeout(this.#timer);
        shown.delete(this);
    }
}
