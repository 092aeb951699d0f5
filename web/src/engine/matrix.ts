// Shapes of the client-server API that the engine touches, and of what it stores of them.

import type { EngineFault, Ms, RoomId, UserId } from "./types";

export type Json = Record<string, unknown>;

/** An event as /sync and /messages give it. # CS #room-event-format */
export interface RawEvent {
    event_id: string;
    type: string;
    sender: string;
    origin_server_ts: number;
    content: Json;
    state_key?: string;
    redacts?: string;
    unsigned?: Json;
}

/** How far the device that sent an encrypted event is known. */
export type Seal = "clear" | "sealed" | "unverified" | "unknown-device" | "mismatch";

/** What decryption gave, kept beside the event. */
export interface Clear {
    type: string;
    content: Json;
    seal: Seal;
}

/** An event as it is stored: `[roomId, order]` is its key. */
export interface StoredEvent {
    roomId: RoomId;
    /** Its place in the room: live ones count up, older ones down. */
    order: number;
    id: string;
    type: string;
    sender: UserId;
    ts: Ms;
    content: Json;
    stateKey?: string;
    prev?: Json;
    redacts?: string;
    txnId?: string;
    /** `[roomId, target]` of what it relates to; absent: relates to nothing. */
    rel?: [RoomId, string];
    relType?: string;
    /** Between this and the stored event before it there are others: from this token backwards. */
    gap?: string;
    redactedBy?: UserId;
    clear?: Clear;
    /** Why it could not be read when it was last tried. */
    shut?: "loading" | "no-key" | "before-device" | "withheld" | "broken";
    /** The megolm session, while it is shut: `[roomId, session]`. */
    session?: [RoomId, string];
    /** Bundled aggregations (`m.thread`, `m.replace`) that the server gave. */
    bundled?: Json;
    /** 1 while its words are not in the search index. */
    unindexed?: 1;
}

export interface StoredMember {
    roomId: RoomId;
    userId: UserId;
    membership: string;
    name?: string;
    avatar?: string;
}

export interface StoredReceipt {
    roomId: RoomId;
    userId: UserId;
    eventId: string;
    ts: Ms;
}

/** A message that waits, or whose echo has not come back. */
export interface OutboxRow {
    txnId: string;
    roomId: RoomId;
    seq: number;
    queuedAt: Ms;
    type: string;
    content: Json;
    /** PUT /redact instead of /send. */
    redacts?: string;
    status: "queued" | "sending" | "sent" | "failed";
    /** Set once the server said so. */
    eventId?: string;
    tries: number;
    fault?: EngineFault;
    paused?: boolean;
    /** Ids in `files` whose upload belongs to it, in order; `content` has `local:` urls. */
    uploads?: string[];
}

/** A file that is being uploaded: all that a reload needs to go on. */
export interface StoredFile {
    id: string;
    txnId?: string;
    blob: Blob;
    mime: string;
    name: string;
    encrypted: boolean;
    /** Of an encrypted one: as in `EncryptedFile`, without the url. */
    secret?: Json;
    /** Its bytes as they go up. */
    sealed?: Blob;
    /** Where it goes, once announced. */
    mxc?: string;
    expiresAt?: Ms;
    sent: number;
    done: boolean;
}

export function isObject(value: unknown): value is Json {
    return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function text(value: unknown): string | undefined {
    return typeof value === "string" ? value : undefined;
}

export function number(value: unknown): number | undefined {
    return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** What an event relates to: the kind and the target. # CS #forming-relationships-between-events */
export function relation(content: Json): { type?: string; target: string } | undefined {
    const relates = content["m.relates_to"];
    if (!isObject(relates)) return undefined;
    const target = text(relates["event_id"]);
    const type = text(relates["rel_type"]);
    return target && type ? { type, target } : undefined;
}

/** The event that this one answers, also as the fallback in threads. */
export function repliesTo(content: Json): string | undefined {
    const relates = content["m.relates_to"];
    if (!isObject(relates)) return undefined;
    if (relates["rel_type"] === "m.thread" && relates["is_falling_back"] === true) return undefined;
    const reply = relates["m.in_reply_to"];
    return isObject(reply) ? text(reply["event_id"]) : undefined;
}
