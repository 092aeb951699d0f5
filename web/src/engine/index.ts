// The way in for views and models: `const engine = await connect()`.

import { joinElected } from "./elected";
import { Remote, type ToHost, type ToTab } from "./port";
import type { Engine } from "./types";
import workerUrl from "./worker?sharedworker&url";

export type * from "./types";
export { Fault, faultOf } from "./faults";

interface Policies {
    createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): { createScriptURL: (url: string) => string };
}

/** The page demands trusted types; the one script that we start is our own. */
function trusted(url: string): string {
    const policies = (globalThis as { trustedTypes?: Policies }).trustedTypes;
    if (!policies) return url;
    return policies.createPolicy("kerwen-engine", { createScriptURL: (own) => own }).createScriptURL(url);
}

function joinWorker(tab: string): Remote {
    const worker = new SharedWorker(trusted(workerUrl), { type: "module", name: "kerwen" });
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
