// A server of one clear room, as far as the engine asks: sliding sync, /messages, sending. What it
// answers is scripted by the test: how much of a burst one answer tells, when `pos` is forgotten.

import type { Fetch } from "../../src/engine/http";
import type { RawEvent } from "../../src/engine/matrix";

export const ROOM = "!room:x";
export const ME = "@me:x";

type Answer = [number, unknown];

export class FakeServer {
    readonly events: RawEvent[] = [];
    /** Transaction ids and what they became. */
    readonly sent = new Map<string, string>();
    readonly requests: string[] = [];
    forgetPos = false;
    messagesCalls = 0;
    #told = 0;

    constructor() {
        this.state("m.room.create", { room_version: "11" });
        this.state("m.room.member", { membership: "join", displayname: "Men" }, ME);
        this.state("m.room.power_levels", { users: { [ME]: 100 } });
    }

    add(more: Partial<RawEvent>): RawEvent {
        const n = this.events.length;
        const event: RawEvent = { event_id: `$${n}`, type: "m.room.message", sender: "@other:x", origin_server_ts: 1_000_000 + n, content: {}, ...more };
        this.events.push(event);
        return event;
    }

    state(type: string, content: Record<string, unknown>, key = ""): void {
        this.add({ type, content, state_key: key, sender: ME });
    }

    say(body: string, more: Partial<RawEvent> = {}): RawEvent {
        return this.add({ content: { msgtype: "m.text", body }, ...more });
    }

    readonly fetch: Fetch = async (url, init) => {
        const path = new URL(url, "http://x");
        this.requests.push(`${init.method} ${path.pathname}`);
        const body = typeof init.body === "string" ? (JSON.parse(init.body) as Record<string, unknown>) : {};
        const [status, said] = await this.#answer(path, String(init.method), body, init.signal ?? undefined);
        return new Response(JSON.stringify(said), { status, headers: { "content-type": "application/json" } });
    };

    async #answer(path: URL, method: string, body: Record<string, unknown>, signal?: AbortSignal): Promise<Answer> {
        if (path.pathname.endsWith("/login")) return [200, { user_id: ME, device_id: "D", access_token: "t" }];
        if (path.pathname.endsWith("/simplified_msc3575/sync") || path.pathname.endsWith("msc3575/sync")) return this.#sync(path, body, signal);
        if (path.pathname.endsWith("/messages")) return this.#messages(path);
        const send = /\/send\/([^/]+)\/([^/]+)$/.exec(path.pathname);
        if (send && method === "PUT") return this.#send(decodeURIComponent(send[1] ?? ""), send[2] ?? "", body);
        return [404, { errcode: "M_NOT_FOUND", error: path.pathname }];
    }

    async #sync(path: URL, body: Record<string, unknown>, signal?: AbortSignal): Promise<Answer> {
        const since = path.searchParams.get("pos");
        if (since !== null && this.forgetPos) {
            this.forgetPos = false;
            return [400, { errcode: "M_UNKNOWN_POS", error: "?" }];
        }
        const from = since === null ? undefined : Number(since.slice(1));
        const end = Date.now() + Number(path.searchParams.get("timeout"));
        while (from === this.events.length && Date.now() < end && !signal?.aborted) await new Promise((resolve) => setTimeout(resolve, 2));
        if (signal?.aborted) throw new DOMException("aborted", "AbortError");
        const open = (body["room_subscriptions"] as Record<string, unknown> | undefined)?.[ROOM] !== undefined;
        return [200, { pos: `p${this.events.length}`, lists: { all: { count: 1 } }, rooms: this.#rooms(from, open ? 4 : 1), extensions: {} }];
    }

    #rooms(from: number | undefined, most: number): Record<string, unknown> {
        const start = Math.max(from ?? 0, this.events.length - most);
        const timeline = this.events.slice(start);
        if (from !== undefined && timeline.length === 0) return {};
        this.#told++;
        const limited = start > (from ?? 0);
        const state = from === undefined ? this.events.filter((event) => event.state_key !== undefined) : [];
        return { [ROOM]: { ...(from === undefined ? { initial: true } : {}), timeline, limited, prev_batch: `t${start}`, required_state: state, joined_count: 2, notification_count: 0, bump_stamp: this.#told } };
    }

    #messages(path: URL): Answer {
        this.messagesCalls++;
        const from = Number(path.searchParams.get("from")?.slice(1));
        const limit = Number(path.searchParams.get("limit"));
        const start = Math.max(0, from - limit);
        const chunk = this.events.slice(start, from).reverse();
        return [200, { chunk, start: `t${from}`, ...(start > 0 ? { end: `t${start}` } : {}) }];
    }

    #send(type: string, txnId: string, content: Record<string, unknown>): Answer {
        const known = this.sent.get(txnId);
        if (known) return [200, { event_id: known }];
        const event = this.add({ type, content, sender: ME, unsigned: { transaction_id: txnId } });
        this.sent.set(txnId, event.event_id);
        return [200, { event_id: event.event_id }];
    }
}
