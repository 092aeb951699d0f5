// How lists of rooms are ordered and filtered. Pure, for models.

import type { RoomId, RoomSummary } from "./types";

export type RoomFilter =
    | "all" // everything one is in, but spaces and low priority
    | "unread"
    | "people"
    | "groups"
    | "channels"
    | "favourites"
    | "invites"
    | "requests" // invites from strangers, and knocks of one's own
    | "low"
    | "spaces";

const in_ = (room: RoomSummary): boolean => room.membership === "join";
const chat = (room: RoomSummary): boolean => in_(room) && room.kind !== "space";

export function isUnread(room: RoomSummary): boolean {
    return (
        room.markedUnread ||
        room.highlights > 0 ||
        (room.unread > 0 && room.notify !== "none") ||
        room.membership === "invite"
    );
}

const FILTERS: Record<RoomFilter, (room: RoomSummary) => boolean> = {
    all: (room) => (chat(room) && !room.lowPriority) || (room.membership === "invite" && !room.stranger),
    unread: (room) => (chat(room) || room.membership === "invite") && isUnread(room),
    people: (room) => chat(room) && room.kind === "dm",
    groups: (room) => chat(room) && room.kind === "group",
    channels: (room) => chat(room) && room.kind === "channel",
    favourites: (room) => chat(room) && room.favourite,
    invites: (room) => room.membership === "invite" && !room.stranger,
    requests: (room) =>
        (room.membership === "invite" && room.stranger === true) || room.membership === "knock",
    low: (room) => chat(room) && room.lowPriority,
    spaces: (room) => in_(room) && room.kind === "space",
};

/** Folded for comparing: lower case, marks away, so that `Ňazik` is found by `nazik`. */
export function folded(text: string): string {
    return text
        .normalize("NFKD")
        .replace(/\p{M}+/gu, "")
        .toLowerCase()
        .replace(/ё/g, "е")
        .replace(/ı/g, "i");
}

/** Rooms of a filter, in a space if one is named, whose name has all words of `words`. */
export function choose(
    rooms: Iterable<RoomSummary>,
    filter: RoomFilter,
    space?: RoomId,
    words = "",
): RoomSummary[] {
    const admits = FILTERS[filter];
    const parts = folded(words).split(/\s+/).filter(Boolean);
    const found: RoomSummary[] = [];
    for (const room of rooms) {
        if (!admits(room)) continue;
        if (space && !room.parents.includes(space)) continue;
        if (parts.length > 0) {
            const name = folded(`${room.name} ${room.alias ?? ""} ${room.dmUser ?? ""}`);
            if (!parts.every((part) => name.includes(part))) continue;
        }
        found.push(room);
    }
    return found.sort(byNews);
}

/** Invites first, then favourites, then by time, newest first; equal ones by id. */
export function byNews(a: RoomSummary, b: RoomSummary): number {
    const rank = (room: RoomSummary): number =>
        room.membership === "invite" ? 0 : room.favourite ? 1 : 2;
    return rank(a) - rank(b) || b.ts - a.ts || (a.id < b.id ? -1 : 1);
}
