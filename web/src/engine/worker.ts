// The shared worker: one engine for all tabs of a browser profile.

import { startHere } from "./here";
import { Host, type ToHost } from "./port";

const host = new Host(startHere());
const scope = self as unknown as { onconnect: (event: MessageEvent) => void };
let count = 0;

scope.onconnect = (event) => {
    const port = event.ports[0];
    if (!port) return;
    const id = `p${++count}`;
    port.onmessage = (message: MessageEvent<ToHost>) => {
        const said = message.data;
        // a tab holds a lock of its name as long as it lives: who gets it knows that it died
        if (said.kind === "hello") void navigator.locks?.request(said.tab, () => host.detach(id));
        else void host.receive(id, said);
    };
    host.attach(id, (said) => port.postMessage(said));
};
