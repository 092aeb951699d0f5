// One's own devices, and how the account's keys are on this one.

import type { DeviceInfo, ImportProgress, KeyState } from "../engine/types";
import { listen, use } from "./engine";

class DevicesModel {
    list = $state.raw<DeviceInfo[]>([]);
    keys = $state.raw<KeyState>({ recovery: "unknown", verified: false, backup: { on: false, pending: 0 } });
    loading = $state(false);

    constructor() {
        listen("keys", (keys) => (this.keys = keys));
        listen("accountData", ({ type }) => {
            if (type === "devices" && this.list.length > 0) void this.load();
        });
        listen("session", (state) => {
            if (state.kind === "in") void this.loadKeys();
            if (state.kind === "out") this.list = [];
        });
    }

    async loadKeys(): Promise<void> {
        this.keys = await use().account.keys().catch(() => this.keys);
    }

    async load(): Promise<void> {
        this.loading = true;
        try {
            this.list = await use().account.devices();
        } finally {
            this.loading = false;
        }
    }

    async remove(ids: string[], password: string, code?: string): Promise<void> {
        await use().account.removeDevices(ids, password, code);
        await this.load();
    }

    async rename(id: string, name: string): Promise<void> {
        await use().account.renameDevice(id, name);
        await this.load();
    }

    /** The key is given once: show it, print it, forget it. */
    async createKey(password: string, code?: string): Promise<string> {
        return (await use().account.createRecoveryKey(password, code)).key;
    }

    enterKey(key: string): Promise<ImportProgress> {
        return use().account.enterRecoveryKey(key);
    }
}

export const devices = new DevicesModel();
