// Who is signed in, how the line is, and where the part that encrypts stands.

import type { Connection, CryptoLoad, Profile, ServerOffer, SessionState } from "../engine/types";
import { begin, listen, use } from "./engine";

class SessionModel {
    state = $state.raw<SessionState>({ kind: "starting" });
    connection = $state.raw<Connection>({ kind: "connecting", catchingUp: true });
    crypto = $state.raw<CryptoLoad>({ kind: "idle", loaded: 0, total: 0 });
    offer = $state.raw<ServerOffer | undefined>(undefined);
    profile = $state.raw<Profile | undefined>(undefined);

    constructor() {
        listen("session", (state) => this.#set(state));
        listen("connection", (connection) => (this.connection = connection));
        listen("crypto", (crypto) => (this.crypto = crypto));
        listen("profile", (profile) => {
            if (profile.userId === this.userId) this.profile = profile;
        });
        listen("restarted", () => void this.start());
    }

    get userId(): string | undefined {
        return "userId" in this.state ? this.state.userId : undefined;
    }

    get signedIn(): boolean {
        return this.state.kind === "in";
    }

    #set(state: SessionState): void {
        const entered = state.kind === "in" && this.state.kind !== "in";
        this.state = state;
        if (entered) void this.#profile();
        if (state.kind === "out") this.profile = undefined;
    }

    async #profile(): Promise<void> {
        this.profile = await use().account.profile().catch(() => this.profile);
    }

    /** Connects to the engine and reads how things are. */
    async start(): Promise<void> {
        const engine = await begin();
        this.#set(await engine.session.state());
        [this.connection, this.crypto] = await Promise.all([engine.session.connection(), engine.session.crypto()]);
    }

    async askOffer(): Promise<ServerOffer> {
        this.offer = await use().session.offer();
        return this.offer;
    }

    register(want: { name: string; password: string; invite?: string; deviceName: string }): Promise<void> {
        return use().session.register(want);
    }

    login(want: { name: string; password: string; code?: string; deviceName: string }): Promise<void> {
        return use().session.login(want);
    }

    relogin(password: string, code?: string): Promise<void> {
        return use().session.relogin(password, code);
    }

    logout(): Promise<void> {
        return use().session.logout();
    }
}

export const session = new SessionModel();
