// An engine in Node, against a server: one browser profile of one person.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { Core } from "../../src/engine/core";
import { open } from "../../src/engine/crypto/load";
import { removeCrypto } from "../../src/engine/crypto/remove";
import type { Fetch } from "../../src/engine/http";
import type { TimelineItem, TimelineState, TimelineChange, VerificationState } from "../../src/engine/types";

export const PASSWORD = "correct horse battery staple";
export const URL_ = process.env["KERWEN_TEST_URL"] ?? "";
export const LIVE = URL_ !== "";
const POLL_MS = 15;

export async function until<T>(what: string, question: () => T | Promise<T>, ms = 30_000): Promise<NonNullable<T>> {
    const end = Date.now() + ms;
    for (;;) {
        const answer = await question();
        if (answer) return answer as NonNullable<T>;
        if (Date.now() > end) assert.fail(`too late: ${what}`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
}

export class Person {
    core!: Core;
    /** Known once it was signed in. */
    userId = "";
    readonly verifications = new Map<string, VerificationState>();
    /** Stands between the engine and the line. */
    cut: ((url: string, init: RequestInit, go: () => Promise<Response>) => Promise<Response>) | undefined;

    constructor(
        readonly name: string,
        readonly profile: string,
    ) {}

    readonly #fetch: Fetch = (url, init) => {
        const go = (): Promise<Response> => fetch(url, init);
        return this.cut ? this.cut(url, init, go) : go();
    };

    /** Opens the app, as a tab does. */
    async open(): Promise<this> {
        this.core = await Core.start({
            base: URL_,
            name: `kerwen-${this.profile}`,
            fetch: this.#fetch,
            removeCrypto,
            load: async (session) => {
                const wasm = await import("@matrix-org/matrix-sdk-crypto-wasm");
                await wasm.initAsync();
                return open(wasm, session);
            },
        });
        this.core.on("verification", (state) => this.verifications.set(state.id, state));
        return this;
    }

    async register(): Promise<this> {
        await this.open();
        await this.core.session.register({ name: this.name, password: PASSWORD, deviceName: "test" });
        await this.ready();
        return this;
    }

    async login(): Promise<this> {
        await this.open();
        await this.core.session.login({ name: this.name, password: PASSWORD, deviceName: "test" });
        await this.ready();
        return this;
    }

    async ready(): Promise<void> {
        const state = await this.core.session.state();
        assert.ok(state.kind === "in");
        this.userId = state.userId;
        await until("the first sync", async () => !(await this.core.session.connection()).catchingUp);
        await this.core.session.loadCrypto();
    }


    /** All lines of a room that this device can have, by a view that is kept up to date. */
    async view(roomId: string, at?: string): Promise<View> {
        return View.open(this.core, roomId, at);
    }

    close(): void {
        this.core?.close();
    }
}

export class View {
    items: TimelineItem[] = [];
    before = true;
    state!: TimelineState;

    static async open(core: Core, roomId: string, at?: string): Promise<View> {
        const view = new View();
        const early: TimelineChange[] = [];
        core.on("timeline", (change) => {
            if (!view.state) early.push(change);
            else if (change.view === view.state.view) view.apply(change);
        });
        view.state = await core.timeline.open({ roomId, ...(at ? { at } : {}) });
        view.items = [...view.state.items];
        view.before = view.state.before;
        for (const change of early) if (change.view === view.state.view) view.apply(change);
        return view;
    }

    apply(change: TimelineChange): void {
        this.before = change.before;
        for (const { at, remove, insert } of change.splices) this.items.splice(at, remove, ...insert);
    }

    /** The texts of it, in order. */
    get texts(): string[] {
        return this.items.flatMap((item) => (item.content.kind === "text" ? [item.content.body] : []));
    }

    find(body: string): TimelineItem | undefined {
        return this.items.find((item) => item.content.kind === "text" && item.content.body === body);
    }

    get shut(): TimelineItem[] {
        return this.items.filter((item) => item.content.kind === "undecryptable");
    }
}
