// Where there are no shared workers: the tab that holds a lock runs the engine, the others talk to
// it by a broadcast channel. When it goes, the next one takes over.

import { Host, Remote, type ToHost, type ToTab } from "./port";

const NAME = "kerwen-engine";

type Said =
    | { to: "host"; tab: string; message: ToHost }
    | { to: "tab"; tab: string; message: ToTab }
    | { to: "all"; message: "here" };

export function joinElected(tab: string): Remote {
    const channel = new BroadcastChannel(NAME);
    let host: Host | undefined;
    let known = false;
    const say = (said: Said): void => channel.postMessage(said);
    const waiting: ToHost[] = [];
    const remote = new Remote((message) => {
        if (host) void host.receive(tab, message);
        else if (known) say({ to: "host", tab, message });
        else waiting.push(message);
    });
    const hello = (): void => say({ to: "host", tab, message: { kind: "hello", tab } });
    const send = (): void => {
        for (const message of waiting.splice(0)) remote.post(message);
    };
    channel.onmessage = (event: MessageEvent<Said>) => {
        const said = event.data;
        if (said.to === "tab" && said.tab === tab && !host) {
            const isReady = said.message.kind === "ready";
            if (isReady) known = true;
            remote.receive(said.message);
            if (isReady) send();
        } else if (said.to === "all" && !host) {
            if (known) remote.lost(); // another tab leads now
            known = false;
            hello();
        } else if (said.to === "host" && host) {
            if (said.message.kind === "hello") {
                host.attach(said.tab, (message) => say({ to: "tab", tab: said.tab, message }));
                const other = host;
                void navigator.locks.request(said.tab, () => other.detach(said.tab));
            } else void host.receive(said.tab, said.message);
        }
    };
    hello();
    void navigator.locks.request(NAME, async () => {
        const { startHere } = await import("./here");
        const own = new Host(startHere());
        own.attach(tab, (message) => remote.receive(message));
        if (known) remote.lost();
        host = own;
        send();
        say({ to: "all", message: "here" });
        return new Promise(() => undefined); // held as long as this tab lives
    });
    return remote;
}
