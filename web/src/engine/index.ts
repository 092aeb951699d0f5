// The way in for views and models: `const engine = await connect()`.

import { scriptUrl } from "../app/trusted";
import { joinElected } from "./elected";
import { Remote, type ToHost, type ToTab } from "./port";
import type { Engine } from "./types";
import workerUrl from "./worker?sharedworker&url";

export type * from "./types";
export { Fault, faultOf } from "./faults";

function joinWorker(tab: string): Remote {
    const worker = new SharedWorker(scriptUrl(workerUrl), { type: "module", name: "kerwen" });
    const remote = new Remote((message: ToHost) => worker.port.postMessage(message));
    worker.port.onmessage = (event: MessageEvent<ToTab>) => remote.receive(event.data);
    worker.port.start();
    remote.post({ kind: "hello", tab });
    return remote;
}

let joined: Promise<Engine> | undefined;

/** The engine of this browser profile; resolves when it can answer. One per tab. */
export function connect(): Promise<Engine> {
    joined ??= join();
    return joined;
}

async function join(): Promise<Engine> {
    const tab = `kerwen-tab-${crypto.randomUUID()}`;
    // held as long as this tab lives, so that the engine knows when it died
    await new Promise<void>((resolve) => {
        void navigator.locks.request(tab, () => {
            resolve();
            return new Promise(() => undefined);
        });
    });
    const remote = typeof SharedWorker === "function" ? joinWorker(tab) : joinElected(tab);
    addEventListener("pagehide", (event) => {
        if (!(event as PageTransitionEvent).persisted) remote.post({ kind: "bye" });
    });
    await remote.ready;
    return remote.engine;
}
