// A device that sleeps on the server (MSC3814): while somebody has no other, it is given the keys
// of what is said, and the next device that has the recovery key wakes it and takes them.

import type * as Sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { Fault } from "../faults";
import type { Json } from "../matrix";
import type { Machine } from "./machine";

const PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";
const NAME = "Kerwen";
const RENEW_MS = 7 * 24 * 3_600_000;
const PAGES_MAX = 1000;

interface Sleeping {
    device_id: string;
    device_data: Json;
}

export class Dehydrated {
    constructor(readonly machine: Machine) {}

    async #sleeping(): Promise<Sleeping | undefined> {
        try {
            return await this.machine.world.http.ask<Sleeping>("GET", PATH);
        } catch (error) {
            // none, or a server that has no such thing
            if (error instanceof Fault && (error.code === "not-found" || error.fault.errcode === "M_UNRECOGNIZED")) return undefined;
            throw error;
        }
    }

    /** Takes the keys that came to the sleeping device. How many there were. */
    async wake(key: Sdk.DehydratedDeviceKey): Promise<number> {
        const sleeping = await this.#sleeping();
        if (!sleeping) return 0;
        const { wasm, olm, world } = this.machine;
        const id = new wasm.DeviceId(sleeping.device_id);
        const woken = await olm.dehydratedDevices().rehydrate(key, id, JSON.stringify(sleeping.device_data));
        let count = 0;
        let next: string | undefined;
        for (let page = 0; page < PAGES_MAX; page++) {
            const url = `${PATH}/${encodeURIComponent(sleeping.device_id)}/events`;
            const told: { events: Json[]; next_batch?: string } = await world.http.ask("POST", url, { body: next ? { next_batch: next } : {} });
            if (told.events.length === 0) break;
            const settings = new wasm.DecryptionSettings(wasm.TrustRequirement.Untrusted);
            count += (await woken.receiveEvents(JSON.stringify(told.events), settings)).length;
            next = told.next_batch;
        }
        return count;
    }

    /** Puts a fresh device to sleep in the place of the one before. */
    async renew(key: Sdk.DehydratedDeviceKey): Promise<void> {
        const { olm, world } = this.machine;
        const device = await olm.dehydratedDevices().create();
        const request = await device.keysForUpload(NAME, key);
        await world.http.ask("PUT", PATH, { body: JSON.parse(request.body) as Json });
        await world.store.put("meta", Date.now(), "dehydrated");
    }

    /** Once a week, where this device has the key. */
    async renewIfOld(): Promise<void> {
        const made = (await this.machine.world.store.get<number>("meta", "dehydrated")) ?? 0;
        if (Date.now() - made < RENEW_MS) return;
        const key = await this.machine.olm.dehydratedDevices().getDehydratedDeviceKey();
        if (key) await this.renew(key);
    }
}
