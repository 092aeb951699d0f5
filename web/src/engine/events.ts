// Events into the store: their order, their gaps, what they change of others.

import { asked } from "./idb";
import { isObject, relation, text, type Json, type RawEvent, type StoredEvent } from "./matrix";
import type { RoomRecord } from "./room_record";
import { eventById } from "./store";
import type { RoomId, UserId } from "./types";

/** Room between two pieces of a timeline, for what will be fetched of the gap. */
const GAP = 1e9;

/** An event as it is stored; its order is given by whoever adds it. */
export function toStored(roomId: RoomId, raw: RawEvent): StoredEvent {
    const event: StoredEvent = {
        roomId,
        order: 0,
        id: raw.event_id,
        type: raw.type,
        sender: raw.sender,
        ts: raw.origin_server_ts,
        content: isObject(raw.content) ? raw.content : {},
    };
    const unsigned = isObject(raw.unsigned) ? raw.unsigned : {};
    if (raw.state_key !== undefined) event.stateKey = raw.state_key;
    const prev = unsigned["prev_content"];
    if (isObject(prev)) event.prev = prev;
    const redacts = text(raw.redacts) ?? text(event.content["redacts"]);
    if (redacts && raw.type === "m.room.redaction") event.redacts = redacts;
    const txnId = text(unsigned["transaction_id"]);
    if (txnId) event.txnId = txnId;
    const because = unsigned["redacted_because"];
    if (isObject(because)) {
        event.redactedBy = text(because["sender"]) ?? raw.sender;
    } else {
        const related = relation(event.content);
        if (related) {
            event.rel = [roomId, related.target];
            if (related.type) event.relType = related.type;
        }
        const bundled = unsigned["m.relations"];
        if (isObject(bundled)) event.bundled = bundled;
        if (raw.type === "m.room.encrypted" && raw.state_key === undefined) shutIn(event);
        else if (raw.type === "m.room.message" || raw.type.includes("poll.start")) event.unindexed = 1;
    }
    return event;
}

function shutIn(event: StoredEvent): void {
    event.shut = "loading";
    const session = text(event.content["session_id"]);
    event.session = [event.roomId, session ?? ""];
}

/** Takes away what a redaction takes away, for what is shown. # CS #redactions */
export function redact(event: StoredEvent, by: UserId): StoredEvent {
    const { roomId, order, id, type, sender, ts } = event;
    const left: StoredEvent = { roomId, order, id, type, sender, ts, content: {}, redactedBy: by };
    if (event.stateKey !== undefined) left.stateKey = event.stateKey;
    if (event.txnId) left.txnId = event.txnId;
    if (event.gap) left.gap = event.gap;
    if (event.rel) left.rel = event.rel; // its target is drawn anew, and does not count it
    if (event.relType) left.relType = event.relType;
    return left;
}

export interface Added {
    events: StoredEvent[];
    /** Events that others changed: their ids. */
    touched: Set<string>;
    /** There is a hole before the first of them. */
    gap: boolean;
}

export interface Piece {
    events: RawEvent[];
    limited: boolean;
    initial: boolean;
    prevBatch?: string;
}

/**
 * Adds the newest piece of a timeline behind what is stored. Pieces may overlap with what is
 * there; what is known is left as it is. Changes `room` (not yet stored).
 */
export async function addNewest(tx: IDBTransaction, room: RoomRecord, piece: Piece): Promise<Added> {
    const store = tx.objectStore("events");
    const known = await Promise.all(piece.events.map((raw) => eventById(tx, room.id, raw.event_id)));
    let last = known.length - 1;
    while (last >= 0 && known[last] === undefined) last--;
    const fresh = piece.events.slice(last + 1).map((raw) => toStored(room.id, raw));
    const added: Added = { events: fresh, touched: new Set(), gap: false };
    if (fresh.length === 0) return added;
    let order = 0;
    if (room.newest === undefined) {
        room.oldest = 0;
        room.start = piece.limited || !piece.initial ? (piece.prevBatch ?? null) : null;
    } else {
        const joined = last >= 0 || (!piece.limited && !piece.initial);
        added.gap = !joined && piece.prevBatch !== undefined;
        order = room.newest + (added.gap ? GAP : 1);
        const first = fresh[0];
        if (added.gap && first && piece.prevBatch) first.gap = piece.prevBatch;
    }
    for (const event of fresh) {
        event.order = order++;
        store.put(event);
        await touch(tx, event, added.touched);
    }
    room.newest = order - 1;
    return added;
}

/** What a new event does to those that are stored. */
export async function touch(tx: IDBTransaction, event: StoredEvent, touched: Set<string>): Promise<void> {
    if (event.rel) touched.add(event.rel[1]);
    if (!event.redacts) return;
    const target = await eventById(tx, event.roomId, event.redacts);
    if (!target || target.redactedBy !== undefined) return;
    tx.objectStore("events").put(redact(target, event.sender));
    tx.objectStore("words").delete([target.roomId, target.id]);
    touched.add(target.id);
    if (target.rel) touched.add(target.rel[1]);
}

/** The answer of /messages backwards: newest first. */
export interface Page {
    chunk: RawEvent[];
    end?: string;
    state?: RawEvent[];
}

/**
 * Puts a page of older events before what is stored: before `edge`, the event with the gap, or
 * before the oldest. Where it meets what is stored, the gap is closed.
 */
export async function addOlder(
    tx: IDBTransaction,
    room: RoomRecord,
    page: Page,
    edge?: StoredEvent,
): Promise<Added> {
    const store = tx.objectStore("events");
    const added: Added = { events: [], touched: new Set(), gap: false };
    let order = (edge ? edge.order : (room.oldest ?? 1)) - 1;
    let met = false;
    for (const raw of page.chunk) {
        const known = await eventById(tx, room.id, raw.event_id);
        if (known) {
            if (edge && known.order >= edge.order) continue; // it is behind us
            met = edge !== undefined;
            if (met) break;
            continue;
        }
        const event = toStored(room.id, raw);
        event.order = order--;
        store.put(event);
        added.events.push(event);
        await touch(tx, event, added.touched);
    }
    const more = met ? undefined : page.end;
    const first = added.events.at(-1);
    if (edge) {
        const now = await asked<StoredEvent | undefined>(store.get([edge.roomId, edge.order]));
        if (now) {
            delete now.gap;
            if (!first && more) now.gap = more;
            store.put(now);
        }
        if (first && more) {
            first.gap = more;
            store.put(first);
        }
    } else {
        if (first) room.oldest = first.order;
        room.newest ??= room.oldest;
        room.start = more ?? null;
    }
    return added;
}

/** The content that counts of an event: by its newest edit, by the same sender. */
export function editedContent(event: StoredEvent, related: StoredEvent[]): Json | undefined {
    let newest: StoredEvent | undefined;
    for (const edit of related) {
        if (edit.relType !== "m.replace" || edit.sender !== event.sender) continue;
        if (edit.redactedBy !== undefined || (edit.type === "m.room.encrypted" && !edit.clear)) continue;
        const isNewer = !newest || edit.ts > newest.ts || (edit.ts === newest.ts && edit.id > newest.id);
        if (isNewer) newest = edit;
    }
    if (newest) {
        const fresh = (newest.clear?.content ?? newest.content)["m.new_content"];
        return isObject(fresh) ? fresh : undefined;
    }
    const bundled = event.bundled?.["m.replace"];
    const content = isObject(bundled) && isObject(bundled["content"]) ? bundled["content"] : {};
    const fresh = content["m.new_content"];
    return isObject(fresh) && event.type !== "m.room.encrypted" ? fresh : undefined;
}
