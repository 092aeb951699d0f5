// The engine over a message port: calls one way, answers and events the other.

import { Fault, faultOf } from "./faults";
import type { Engine, EngineCalls, EngineEvents, EngineFault, EventName, TimelineState } from "./types";

export type ToHost =
    | { kind: "call"; id: number; group: keyof EngineCalls; method: string; args: unknown[] }
    | { kind: "hello"; tab: string }
    | { kind: "bye" };

export type ToTab =
    | { kind: "answer"; id: number; value?: unknown; fault?: EngineFault }
    | { kind: "event"; name: EventName; data: unknown }
    | { kind: "ready" };

const GROUPS: (keyof EngineCalls)[] = [
    "session", "account", "verification", "rooms", "timeline", "composer", "outbox", "media", "search", "storage", "calls",
];
const EVENTS: EventName[] = [
    "session", "connection", "crypto", "keys", "rooms", "timeline", "members", "outbox", "transfer",
    "verification", "identity", "profile", "notify", "call", "ring", "callMembers", "callKey", "callDeclined", "callLogged", "accountData", "restarted",
];

/** The side of a tab. */
export class Remote {
    #count = 0;
    readonly #pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: Fault) => void }>();
    readonly #listeners = new Map<EventName, Set<(data: never) => void>>();
    readonly engine: Engine;
    readonly ready: Promise<void>;
    #readyNow: () => void = () => undefined;

    constructor(public post: (message: ToHost) => void) {
        this.ready = new Promise((resolve) => (this.#readyNow = resolve));
        const groups = Object.fromEntries(GROUPS.map((group) => [group, this.#group(group)]));
        const on: Engine["on"] = (name, listener) => {
            const set = this.#listeners.get(name) ?? new Set();
            this.#listeners.set(name, set.add(listener as (data: never) => void));
            return () => set.delete(listener as (data: never) => void);
        };
        this.engine = { ...groups, on } as unknown as Engine;
    }

    #group(group: keyof EngineCalls): object {
        return new Proxy({}, {
            // a group is no promise, though `await` asks
            get: (_, method) => (typeof method !== "string" || method === "then" ? undefined : (...args: unknown[]) => this.#call(group, method, args)),
        });
    }

    #call(group: keyof EngineCalls, method: string, args: unknown[]): Promise<unknown> {
        const id = ++this.#count;
        return new Promise((resolve, reject) => {
            this.#pending.set(id, { resolve, reject });
            this.post({ kind: "call", id, group, method, args });
        });
    }

    receive(message: ToTab): void {
        if (message.kind === "ready") this.#readyNow();
        else if (message.kind === "answer") {
            const waiting = this.#pending.get(message.id);
            this.#pending.delete(message.id);
            if (message.fault) waiting?.reject(new Fault(message.fault.code, message.fault.text, message.fault));
            else waiting?.resolve(message.value);
        } else this.emit(message.name, message.data as never);
    }

    emit<K extends EventName>(name: K, data: EngineEvents[K]): void {
        for (const listener of [...(this.#listeners.get(name) ?? [])]) (listener as (data: EngineEvents[K]) => void)(data);
    }

    /** The other side is gone: what it did not answer may or may not be done. */
    lost(): void {
        for (const { reject } of this.#pending.values()) reject(new Fault("cancelled", "the engine moved to another tab"));
        this.#pending.clear();
        this.emit("restarted", null);
    }
}

interface Tab {
    post: (message: ToTab) => void;
    views: Set<string>;
}

/** The side of the engine: any number of tabs. */
export class Host {
    readonly #tabs = new Map<string, Tab>();
    readonly #engine: Promise<Engine>;

    constructor(engine: Promise<Engine>) {
        this.#engine = engine;
        void engine.then((ready) => {
            for (const name of EVENTS) ready.on(name, (data) => this.#tell(name, data));
            for (const tab of this.#tabs.values()) tab.post({ kind: "ready" });
        });
    }

    #tell(name: EventName, data: unknown): void {
        const view = name === "timeline" ? (data as EngineEvents["timeline"]).view : undefined;
        for (const tab of this.#tabs.values()) {
            if (view === undefined || tab.views.has(view)) tab.post({ kind: "event", name, data });
        }
    }

    attach(id: string, post: (message: ToTab) => void): void {
        this.#tabs.set(id, { post, views: new Set() });
        void this.#engine.then(() => post({ kind: "ready" }));
    }

    async detach(id: string): Promise<void> {
        const views = this.#tabs.get(id)?.views ?? [];
        this.#tabs.delete(id);
        const engine = await this.#engine;
        for (const view of views) await Promise.resolve().then(() => engine.timeline.close(view)).catch(() => undefined);
    }

    async receive(id: string, message: ToHost): Promise<void> {
        if (message.kind === "bye") return this.detach(id);
        const tab = this.#tabs.get(id);
        if (message.kind !== "call" || !tab) return;
        const answer: ToTab = { kind: "answer", id: message.id };
        try {
            const value = await this.#do(message);
            if (message.group === "timeline" && message.method === "open") tab.views.add((value as TimelineState).view);
            if (message.group === "timeline" && message.method === "close") tab.views.delete(String(message.args[0]));
            answer.value = value;
        } catch (error) {
            answer.fault = faultOf(error);
        }
        tab.post(answer);
    }

    async #do(call: ToHost & { kind: "call" }): Promise<unknown> {
        const engine = await this.#engine;
        if (!GROUPS.includes(call.group)) throw new Fault("bug", `no group ${String(call.group)}`);
        const group = engine[call.group] as unknown as Record<string, unknown>;
        const method = group[call.method];
        if (typeof method !== "function") throw new Fault("bug", `no call ${call.group}.${call.method}`);
        return (method as (...args: unknown[]) => Promise<unknown>).apply(group, call.args);
    }
}
