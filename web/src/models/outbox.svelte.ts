// What waits to be sent, and files under way.

import type { OutboxEntry, TransferState } from "../engine/types";
import { listen, use } from "./engine";

class OutboxModel {
    entries = $state.raw<OutboxEntry[]>([]);
    transfers = $state.raw<Map<string, TransferState>>(new Map());
    readonly waiting = $derived(this.entries.filter((entry) => entry.status === "queued" || entry.status === "sending").length);
    readonly failed = $derived(this.entries.filter((entry) => entry.status === "failed"));

    constructor() {
        listen("outbox", (entries) => (this.entries = entries));
        listen("transfer", (transfer) => {
            const next = new Map(this.transfers).set(transfer.id, transfer);
            if (transfer.done >= transfer.total && transfer.total > 0 && transfer.direction === "down") next.delete(transfer.id);
            this.transfers = next;
        });
        listen("session", (state) => {
            if (state.kind === "in") void this.load();
            if (state.kind === "out") [this.entries, this.transfers] = [[], new Map()];
        });
        listen("restarted", () => void this.load());
    }

    async load(): Promise<void> {
        this.entries = await use().outbox.list().catch(() => this.entries);
    }

    /** Of a file under way, by the address or the id that its message names. */
    transfer(id: string | undefined): TransferState | undefined {
        return id ? this.transfers.get(id) : undefined;
    }
}

export const outbox = new OutboxModel();
