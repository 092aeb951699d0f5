// Requests to the own server: JSON in, JSON out, faults as values. Never another host.

import { Fault, faultOfAnswer } from "./faults";
import type { Json } from "./matrix";
import type { NetAnswer, NetRequest } from "./types";

export interface Ask {
    body?: unknown;
    /** A body that is not JSON. */
    raw?: Blob | ArrayBuffer;
    headers?: Record<string, string>;
    /** Without a token, for those who are not signed in. */
    bare?: boolean;
    signal?: AbortSignal;
    timeoutMs?: number;
}

const TIMEOUT_MS = 60_000;
const V3 = "/_matrix/client/v3";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export class Http {
    token: string | undefined;
    /** Told once when the server says that the token has ended. */
    onSignedOut: (soft: boolean) => void = () => undefined;
    /** Told of the line after each request. */
    onLine: (up: boolean) => void = () => undefined;

    constructor(
        readonly base: string,
        readonly fetch: Fetch = (url, init) => globalThis.fetch(url, init),
    ) {}

    /** Asks under /_matrix/client/v3, or at a path that begins with `/_`. Rejects with a `Fault`. */
    async ask<T = Json>(method: string, path: string, ask: Ask = {}): Promise<T> {
        const answer = await this.send(method, path, ask);
        const body = await this.#read(answer);
        if (answer.ok) return body as T;
        const fault = faultOfAnswer(answer.status, body);
        if (fault.code === "signed-out" && !ask.bare) {
            this.onSignedOut((body as Json)["soft_logout"] === true);
        }
        throw fault;
    }

    /** As `ask`; undefined where the server has no such thing. */
    async find<T = Json>(method: string, path: string): Promise<T | undefined> {
        try {
            return await this.ask<T>(method, path);
        } catch (error) {
            if (error instanceof Fault && error.code === "not-found") return undefined;
            throw error;
        }
    }

    /** The bare response, whatever its status. */
    async send(method: string, path: string, ask: Ask = {}): Promise<Response> {
        const headers: Record<string, string> = { ...ask.headers };
        let body: BodyInit | undefined = ask.raw;
        if (ask.body !== undefined) {
            headers["content-type"] = "application/json";
            body = JSON.stringify(ask.body);
        }
        if (!ask.bare && this.token) headers["authorization"] = `Bearer ${this.token}`;
        const url = this.base + (path.startsWith("/_") ? path : V3 + path);
        const timer = new AbortController();
        const late = setTimeout(() => timer.abort(), ask.timeoutMs ?? TIMEOUT_MS);
        const stop = (): void => timer.abort();
        ask.signal?.addEventListener("abort", stop, { once: true });
        if (ask.signal?.aborted) stop();
        try {
            const init: RequestInit = { method, headers, signal: timer.signal, cache: "no-store" };
            if (body !== undefined) init.body = body;
            const answer = await this.fetch(url, init);
            this.onLine(true);
            return answer;
        } catch (error) {
            if (ask.signal?.aborted) throw new Fault("cancelled");
            this.onLine(false);
            throw new Fault("offline", String(error));
        } finally {
            clearTimeout(late);
            ask.signal?.removeEventListener("abort", stop);
        }
    }

    /** For callers outside of the engine: any path of the own server. */
    async request(request: NetRequest): Promise<NetAnswer> {
        if (!/^\/(?![/\\])/.test(request.path)) {
            throw new Fault("bad-input", "a path of the own server is needed");
        }
        const headers: Record<string, string> = { ...request.headers };
        if (this.token) headers["authorization"] = `Bearer ${this.token}`;
        const init: RequestInit = { method: request.method ?? "GET", headers };
        if (request.body !== undefined) init.body = request.body;
        let answer: Response;
        try {
            answer = await this.fetch(this.base + request.path, init);
        } catch (error) {
            throw new Fault("offline", String(error));
        }
        const told: Record<string, string> = {};
        answer.headers.forEach((value, name) => (told[name] = value));
        return { status: answer.status, headers: told, body: await answer.arrayBuffer() };
    }

    async #read(answer: Response): Promise<unknown> {
        let said: string;
        try {
            said = await answer.text();
        } catch (error) {
            this.onLine(false);
            throw new Fault("offline", String(error)); // the line went in the middle
        }
        if (said === "") return {};
        try {
            return JSON.parse(said);
        } catch {
            throw new Fault("server", `not JSON (HTTP ${answer.status})`, { status: answer.status });
        }
    }
}

/** The wait before try `n` (from 0): doubling from a second to a minute, half of it by chance. */
export function backOffMs(n: number, random: () => number = Math.random): number {
    const most = Math.min(60_000, 1000 * 2 ** Math.min(n, 6));
    return Math.round(most / 2 + (most / 2) * random());
}

/** A path with its parts escaped: path`/rooms/${id}/leave`. */
export function path(parts: TemplateStringsArray, ...values: (string | number)[]): string {
    return parts.reduce((done, part, i) => done + encodeURIComponent(values[i - 1] ?? "") + part);
}
