// The engine itself: holds the session, whichever it is, and answers calls.

import { Fault } from "./faults";
import { Http, type Fetch } from "./http";
import { inviteValid, login, loginByToken, nameFree, offerOf, register, type Saved } from "./session";
import { SignedIn, type LoadCrypto } from "./signed_in";
import { Store } from "./store";
import type { Engine, EngineCalls, EngineEvents, EventName, NetAnswer, NetRequest, SessionCalls, SessionState, StorageCalls } from "./types";

export interface Options {
    /** "" for the place that the app came from. */
    base: string;
    /** The database's name: one per browser profile. */
    name: string;
    load: LoadCrypto;
    /** Removes what the crypto part stored for somebody. */
    removeCrypto: (userId: string) => Promise<void>;
    fetch?: Fetch;
}

type Listener = (data: never) => void;

export class Core implements Engine {
    readonly #http: Http;
    readonly #listeners = new Map<EventName, Set<Listener>>();
    #state: SessionState = { kind: "starting" };
    #store!: Store;
    #in: SignedIn | undefined;

    constructor(readonly options: Options) {
        this.#http = new Http(options.base, options.fetch);
        this.#http.onSignedOut = (soft) => void this.#signedOut(soft);
    }

    /** Opens the store and goes on with the session that is in it. */
    static async start(options: Options): Promise<Core> {
        const core = new Core(options);
        core.#store = await Store.open(options.name);
        const saved = await core.#store.get<Saved>("meta", "session");
        if (!saved) core.#set({ kind: "out" });
        else if (saved.soft) core.#set({ kind: "soft-out", userId: saved.userId, deviceId: saved.deviceId });
        else await core.#begin(saved);
        return core;
    }

    on<K extends EventName>(name: K, listener: (data: EngineEvents[K]) => void): () => void {
        const set = this.#listeners.get(name) ?? new Set();
        this.#listeners.set(name, set.add(listener as Listener));
        return () => set.delete(listener as Listener);
    }

    readonly #emit = <K extends EventName>(name: K, data: EngineEvents[K]): void => {
        for (const listener of this.#listeners.get(name) ?? []) (listener as (data: EngineEvents[K]) => void)(data);
    };

    #set(state: SessionState): void {
        this.#state = state;
        this.#emit("session", state);
    }

    async #begin(saved: Saved): Promise<void> {
        this.#http.token = saved.token;
        const session = new SignedIn(saved, this.#store, this.#http, this.#emit, this.options.load);
        this.#in = session;
        await session.start();
        this.#set({ kind: "in", userId: saved.userId, deviceId: saved.deviceId, domain: session.world.domain });
    }

    /** A new session: what another account left here goes first. */
    async #enter(saved: Saved): Promise<void> {
        this.#in?.stop();
        const before = await this.#store.get<Saved>("meta", "session");
        await this.#store.clear();
        if (before) await this.options.removeCrypto(before.userId);
        await this.options.removeCrypto(saved.userId);
        await this.#store.put("meta", saved, "session");
        await this.#begin(saved);
    }

    async #signedOut(soft: boolean): Promise<void> {
        const session = this.#in;
        if (!session) return;
        session.stop();
        this.#in = undefined;
        this.#http.token = undefined;
        const { userId, deviceId } = session.saved;
        if (!soft) return this.#leave("removed");
        await this.#store.put("meta", { ...session.saved, soft: true } satisfies Saved, "session");
        this.#set({ kind: "soft-out", userId, deviceId });
    }

    async #leave(reason: "logged-out" | "removed" | "wiped"): Promise<void> {
        const saved = this.#in?.saved ?? (await this.#store.get<Saved>("meta", "session"));
        this.#in?.stop();
        this.#in = undefined;
        this.#http.token = undefined;
        await this.#store.clear();
        if (saved) await this.options.removeCrypto(saved.userId);
        this.#set({ kind: "out", reason });
    }

    get #need(): SignedIn {
        if (!this.#in) throw new Fault("signed-out", "nobody is signed in");
        return this.#in;
    }

    /** Stops without forgetting anything, as a closed tab does. */
    close(): void {
        this.#in?.stop();
        this.#in = undefined;
        this.#store.close();
    }

    readonly session: SessionCalls = {
        state: async () => this.#state,
        offer: () => offerOf(this.#http),
        nameFree: (name) => nameFree(this.#http, name),
        inviteValid: (token) => inviteValid(this.#http, token),
        register: async (want) => this.#enter(await register(this.#http, want)),
        login: async (want) => this.#enter(await login(this.#http, want)),
        loginByToken: async (token, deviceName) => this.#enter(await loginByToken(this.#http, token, deviceName)),
        relogin: (password, code) => this.#relogin(password, code),
        logout: async () => {
            await this.#http.ask("POST", "/logout", { body: {} }).catch(() => undefined);
            await this.#leave("logged-out");
        },
        wipe: () => this.#leave("wiped"),
        connection: async () => this.#in?.sync.connection ?? { kind: "stopped", catchingUp: false },
        crypto: async () => this.#in?.cryptoLoad ?? { kind: "idle", loaded: 0, total: 0 },
        loadCrypto: () => this.#need.loadCrypto(),
        retryNow: async () => {
            this.#in?.sync.retryNow();
            this.#in?.outbox.kickAll();
        },
        request: (request: NetRequest): Promise<NetAnswer> => this.#http.request(request),
        token: async () => {
            if (!this.#http.token) throw new Fault("signed-out");
            return this.#http.token;
        },
    };

    async #relogin(password: string, code?: string): Promise<void> {
        const before = await this.#store.get<Saved>("meta", "session");
        if (!before) throw new Fault("signed-out");
        const want = { name: before.userId, password, deviceId: before.deviceId, ...(code ? { code } : {}) };
        const saved = await login(this.#http, want);
        await this.#store.put("meta", saved, "session");
        await this.#begin(saved);
    }

    readonly storage: StorageCalls = {
        use: async () => {
            const storage = globalThis.navigator?.storage;
            const told = await storage?.estimate?.();
            const persisted = (await storage?.persisted?.()) ?? false;
            return { bytes: told?.usage ?? 0, quota: told?.quota ?? 0, mediaBytes: (await this.#in?.media.use()) ?? 0, persisted };
        },
        persist: async () => (await globalThis.navigator?.storage?.persist?.()) ?? false,
        clearMedia: () => this.#need.media.clear(),
        setSaver: async (on) => {
            this.#need.world.saver = on;
            await this.#store.put("meta", on, "saver");
        },
    };

    get account(): EngineCalls["account"] {
        return this.#need.account;
    }

    get verification(): EngineCalls["verification"] {
        return this.#need.verification;
    }

    get rooms(): EngineCalls["rooms"] {
        return this.#need.rooms;
    }

    get timeline(): EngineCalls["timeline"] {
        const session = this.#need;
        const { timelines } = session;
        return {
            open: async (want) => {
                const state = await timelines.open(want);
                session.look([want.roomId]);
                return state;
            },
            loadBefore: (view, count) => timelines.loadBefore(view, count),
            loadAfter: (view, count) => timelines.loadAfter(view, count),
            close: (view) => timelines.close(view),
            source: (roomId, eventId) => session.source(roomId, eventId),
            threads: (roomId) => session.threads(roomId),
            reactionsOf: (roomId, eventId) => session.reactionsOf(roomId, eventId),
            readersOf: (roomId, eventId) => session.readersOf(roomId, eventId),
        };
    }

    get composer(): EngineCalls["composer"] {
        return this.#need.composer;
    }

    get outbox(): EngineCalls["outbox"] {
        const { outbox } = this.#need;
        return {
            list: async () => outbox.list(),
            retry: (txnId) => outbox.retry(txnId),
            cancel: (txnId) => outbox.cancel(txnId),
            pause: (txnId) => outbox.pause(txnId),
            resume: (txnId) => outbox.resume(txnId),
        };
    }

    get media(): EngineCalls["media"] {
        return this.#need.media;
    }

    get calls(): EngineCalls["calls"] {
        return this.#need.calls;
    }

    get search(): EngineCalls["search"] {
        return this.#need.search;
    }
}
