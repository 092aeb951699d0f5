// Verifications under way: the one to show, and the rest.

import type { UserId, VerificationState } from "../engine/types";
import { listen, use } from "./engine";

class VerificationModel {
    #all = $state.raw<Map<string, VerificationState>>(new Map());
    /** The one on screen; stays until it is dismissed, also when it ended. */
    readonly current = $derived([...this.#all.values()].at(-1));

    constructor() {
        listen("verification", (state) => {
            const next = new Map(this.#all);
            const ended = state.phase === "done" || state.phase === "cancelled";
            if (ended && !next.has(state.id)) return;
            this.#all = next.set(state.id, state);
        });
        listen("restarted", () => (this.#all = new Map()));
        listen("session", (state) => {
            if (state.kind !== "in") this.#all = new Map();
        });
    }

    dismiss(id: string): void {
        const next = new Map(this.#all);
        next.delete(id);
        this.#all = next;
    }

    async requestOwn(): Promise<void> {
        await use().verification.requestOwn();
    }

    async requestUser(userId: UserId): Promise<void> {
        await use().verification.requestUser(userId);
    }
}

export const verification = new VerificationModel();
