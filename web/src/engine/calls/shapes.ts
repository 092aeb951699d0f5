// What the events of a call say (MSC3401, MSC4143, MSC4075, MSC4310). Pure.

import { isObject, number, text, type Json } from "../matrix";
import type { Ms, RoomId, UserId } from "../types";

export const MEMBER = "org.matrix.msc3401.call.member";
export const RING = "org.matrix.msc4075.rtc.notification";
export const DECLINE = "org.matrix.msc4310.rtc.decline";
export const KEYS = "io.element.call.encryption_keys";

/** How long a ring lasts at most, whatever it says. */
export const RING_MS = 30_000;
const RING_MOST_MS = 120_000;
const MEMBER_MS = 4 * 3_600_000; // where an event says nothing
const OWN_MEMBER_MS = 24 * 3_600_000; // the leave that was handed over ends it sooner
const KEY_BYTES_MOST = 64;
const KEY_INDEX_MOST = 255;

/** One device in the call of a room, as its state event says it. */
export interface Seat {
    userId: UserId;
    deviceId: string;
    eventId: string;
    since: Ms;
    until: Ms;
    video: boolean;
}

/** The seat that a state event takes; nothing where it is empty or not of a call of the room. */
export function seatOf(raw: { event_id: string; sender: UserId; origin_server_ts: Ms; content: Json }): Seat | undefined {
    const { content } = raw;
    const deviceId = text(content["device_id"]);
    if (content["application"] !== "m.call" || !deviceId) return undefined;
    const since = number(content["created_ts"]) ?? raw.origin_server_ts;
    const until = since + (number(content["expires"]) ?? MEMBER_MS);
    const video = content["m.call.intent"] !== "audio";
    return { userId: raw.sender, deviceId, eventId: raw.event_id, since, until, video };
}

/** The name of a device in the call itself. */
export function identityOf(seat: { userId: UserId; deviceId: string }): string {
    return `${seat.userId}:${seat.deviceId}`;
}

export function memberKey(userId: UserId, deviceId: string): string {
    return `_${userId}_${deviceId}_m.call`;
}

export function memberContent(want: { deviceId: string; transport: Json; video: boolean; since?: Ms }): Json {
    return {
        application: "m.call",
        call_id: "",
        scope: "m.room",
        device_id: want.deviceId,
        expires: OWN_MEMBER_MS,
        foci_preferred: [want.transport],
        focus_active: { type: "livekit", focus_selection: "multi_sfu" },
        "m.call.intent": want.video ? "video" : "audio",
        ...(want.since ? { created_ts: want.since } : {}),
    };
}

export function ringContent(memberEvent: string, video: boolean, now: Ms): Json {
    return {
        notification_type: "ring",
        lifetime: RING_MS,
        sender_ts: now,
        "m.call.intent": video ? "video" : "audio",
        "m.mentions": { room: true },
        "m.relates_to": { rel_type: "m.reference", event_id: memberEvent },
    };
}

/** Until when a notification rings; undefined for one that does not. */
export function ringUntil(content: Json, ts: Ms): Ms | undefined {
    if (content["notification_type"] !== "ring") return undefined;
    const sent = number(content["sender_ts"]) ?? ts;
    const begun = Math.abs(sent - ts) < 20_000 ? sent : ts; // the sender's clock, where it is near
    return begun + Math.min(Math.max(0, number(content["lifetime"]) ?? RING_MS), RING_MOST_MS);
}

export interface KeyTold {
    roomId: RoomId;
    deviceId: string;
    index: number;
    key: string;
}

/** What a key message says, checked. */
export function keyTold(content: Json): KeyTold | undefined {
    const keys = isObject(content["keys"]) ? content["keys"] : {};
    const member = isObject(content["member"]) ? content["member"] : {};
    const [roomId, deviceId] = [text(content["room_id"]), text(member["claimed_device_id"])];
    const [index, key] = [number(keys["index"]), text(keys["key"])];
    if (!roomId || !deviceId || !key || index === undefined) return undefined;
    if (!Number.isInteger(index) || index < 0 || index > KEY_INDEX_MOST || key.length > KEY_BYTES_MOST * 2) return undefined;
    return { roomId, deviceId, index, key };
}

export function keyContent(roomId: RoomId, deviceId: string, index: number, key: string): Json {
    return {
        keys: { index, key },
        member: { claimed_device_id: deviceId },
        room_id: roomId,
        session: { application: "m.call", call_id: "", scope: "m.room" },
        sent_ts: Date.now(),
    };
}
