// The one engine of this tab, and how models stand on it.

import { connect, type Engine, type EngineEvents, type EventName } from "../engine/index";

let engine: Engine | undefined;
const waiting: (() => void)[] = [];

/** Connects once, before the first view is drawn. */
export async function begin(): Promise<Engine> {
    if (!engine) {
        engine = await connect();
        for (const begun of waiting.splice(0)) begun();
    }
    return engine;
}

/** The engine; only after `begin`. */
export function use(): Engine {
    if (!engine) throw new Error("begin() was not awaited");
    return engine;
}

/** Listens now, or as soon as there is an engine. */
export function listen<K extends EventName>(name: K, listener: (data: EngineEvents[K]) => void): void {
    if (engine) engine.on(name, listener);
    else waiting.push(() => void engine?.on(name, listener));
}
