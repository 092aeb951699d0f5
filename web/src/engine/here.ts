// The engine in this place (a worker, or the elected tab), with what only browsers have.

import { Core } from "./core";
import { removeCrypto } from "./crypto/remove";
import type { Engine } from "./types";

export function startHere(): Promise<Engine> {
    return Core.start({
        base: "",
        name: "kerwen",
        removeCrypto,
        load: async (session, onProgress) => {
            const { loadCrypto } = await import("./crypto/browser");
            return loadCrypto(session, onProgress);
        },
    });
}
