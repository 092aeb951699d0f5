// A room as the engine keeps it, and the summary that views get of it. Pure.

import { isObject, number, text, type Json, type RawEvent } from "./matrix";
import { MEMBER as CALL_MEMBER, seatOf, type Seat } from "./calls/shapes";
import type {
    CallRecord,
    JoinRule,
    Membership,
    Ms,
    Notify,
    Preview,
    Profile,
    RoomId,
    RoomKind,
    RoomRights,
    RoomSummary,
    UserId,
} from "./types";

/** State whose content is kept in the record, by type (state key ""). */
export const KEPT_STATE = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.power_levels",
    "m.room.pinned_events",
    "m.room.tombstone",
    "com.beeper.disappearing_timer",
] as const;

export const TIMER = "com.beeper.disappearing_timer";

export interface RoomRecord {
    id: RoomId;
    membership: Membership;
    state: Record<string, Json>;
    creator?: UserId;
    /** Heroes as the server named them. */
    heroes: Profile[];
    joined: number;
    invited: number;
    dmUser?: UserId;
    inviter?: Profile;
    stranger?: boolean;
    /** Server's counts. */
    unread: number;
    highlights: number;
    markedUnread: boolean;
    tags: Record<string, number>;
    notify: Notify;
    last?: Preview;
    /** Time of what bumped it last. */
    ts: Ms;
    /** Spaces: children with their order. */
    children?: Record<RoomId, string>;
    /** The order of the newest and oldest stored event; none yet: undefined. */
    newest?: number;
    oldest?: number;
    /** From here older events can be asked for; null: the beginning is stored. */
    start?: string | null;
    /** True while `members` holds every member. */
    membersWhole: boolean;
    /** Where one read up to (public or private receipt): event and time. */
    readId?: string;
    readTs?: Ms;
    fullyRead?: string;
    /** Who is in its call, by state key. */
    calls?: Record<string, Seat>;
    callLog?: CallRecord[];
    /** Known by its `initial` data (else: made by an event that came before). */
    known: boolean;
}

export function newRecord(id: RoomId): RoomRecord {
    return {
        id,
        membership: "leave",
        state: {},
        heroes: [],
        joined: 0,
        invited: 0,
        unread: 0,
        highlights: 0,
        markedUnread: false,
        tags: {},
        notify: "all",
        ts: 0,
        membersWhole: false,
        known: false,
    };
}

/** Takes a state event into the record. Gives whether it is one that is kept there. */
export function takeState(room: RoomRecord, event: RawEvent): boolean {
    if (event.type === "m.space.child" && event.state_key) {
        room.children ??= {};
        if (Array.isArray(event.content["via"])) {
            room.children[event.state_key] = text(event.content["order"]) ?? "~";
        } else {
            delete room.children[event.state_key];
        }
        return true;
    }
    if (event.type === CALL_MEMBER && event.state_key) {
        const seat = seatOf(event);
        room.calls ??= {};
        if (seat) room.calls[event.state_key] = seat;
        else delete room.calls[event.state_key];
        return true;
    }
    if (event.state_key !== "" || !(KEPT_STATE as readonly string[]).includes(event.type)) {
        return false;
    }
    room.state[event.type] = event.content;
    if (event.type === "m.room.create") room.creator = event.sender;
    return true;
}

const of = (room: RoomRecord, type: string): Json => room.state[type] ?? {};

export function isEncrypted(room: RoomRecord): boolean {
    return text(of(room, "m.room.encryption")["algorithm"]) !== undefined;
}

export function kindOf(room: RoomRecord): RoomKind {
    if (of(room, "m.room.create")["type"] === "m.space") return "space";
    if (room.dmUser) return "dm";
    const power = of(room, "m.room.power_levels");
    const needed = number(power["events_default"]) ?? 0;
    return needed > (number(power["users_default"]) ?? 0) ? "channel" : "group";
}

export function rosterName(heroes: Profile[]): string {
    return heroes.map((hero) => hero.name ?? localpart(hero.userId)).join(", ");
}

export function localpart(userId: UserId): string {
    return /^@([^:]*):/.exec(userId)?.[1] ?? userId;
}

export interface Besides {
    parents: RoomId[];
    typing: string[];
    draft?: string;
    queued: number;
    failed: number;
    me: UserId;
}

/** What views see of a room. */
export function summaryOf(room: RoomRecord, besides: Besides): RoomSummary {
    const set = text(of(room, "m.room.name")["name"])?.trim() || undefined;
    const heroes = room.heroes;
    const other = room.dmUser ? heroes.find((hero) => hero.userId === room.dmUser) : undefined;
    const made = rosterName(heroes) || (room.dmUser ? localpart(room.dmUser) : "");
    const name = set ?? (made || (room.inviter && rosterName([room.inviter])) || "");
    const summary: RoomSummary = {
        id: room.id,
        kind: kindOf(room),
        membership: room.membership,
        name,
        nameFromHeroes: set === undefined,
        heroes,
        joined: room.joined,
        invited: room.invited,
        encrypted: isEncrypted(room),
        ts: room.ts,
        unread: room.unread,
        highlights: room.highlights,
        markedUnread: room.markedUnread,
        notify: room.notify,
        favourite: "m.favourite" in room.tags,
        lowPriority: "m.lowpriority" in room.tags,
        parents: besides.parents,
        typing: besides.typing,
        queued: besides.queued,
        failed: besides.failed,
        canSend: rightsOf(room, besides.me).send && room.membership === "join",
        pinned: pinnedOf(room),
    };
    const avatar = text(of(room, "m.room.avatar")["url"]) ?? other?.avatar;
    if (avatar) summary.avatar = avatar;
    const topic = text(of(room, "m.room.topic")["topic"]);
    if (topic) summary.topic = topic;
    const alias = text(of(room, "m.room.canonical_alias")["alias"]);
    if (alias) summary.alias = alias;
    if (room.dmUser) summary.dmUser = room.dmUser;
    if (room.last) summary.last = room.last;
    if (room.inviter) summary.inviter = room.inviter;
    if (room.stranger) summary.stranger = true;
    if (besides.draft) summary.draft = besides.draft;
    if (room.children) summary.children = childrenOf(room);
    const replaced = text(of(room, "m.room.tombstone")["replacement_room"]);
    if (replaced) summary.replacedBy = replaced;
    const timer = timerOf(room);
    if (timer) summary.disappearMs = timer;
    return summary;
}

/** In the order of the specification: by `order`, then by id. # CS #ordering-of-children */
export function childrenOf(room: RoomRecord): RoomId[] {
    return Object.entries(room.children ?? {})
        .sort(([a, x], [b, y]) => (x === y ? (a < b ? -1 : 1) : x < y ? -1 : 1))
        .map(([id]) => id);
}

export function pinnedOf(room: RoomRecord): string[] {
    const pinned = of(room, "m.room.pinned_events")["pinned"];
    return Array.isArray(pinned) ? pinned.filter((id): id is string => typeof id === "string") : [];
}

/** After how long messages disappear, where the room says so (docs/disappearing_messages.md). */
export function timerOf(room: RoomRecord): Ms | undefined {
    const timer = of(room, TIMER);
    const ms = number(timer["timer"]);
    return timer["type"] === "after_send" && ms !== undefined && ms >= 10_000 ? ms : undefined;
}

export function powerOf(room: RoomRecord, userId: UserId): number {
    const create = of(room, "m.room.create");
    const version = Number(text(create["room_version"]) ?? "1");
    if (version >= 12) {
        const more = create["additional_creators"];
        const creators = [room.creator, ...(Array.isArray(more) ? more : [])];
        if (creators.includes(userId)) return Infinity; // above everybody # room v12
    }
    const power = room.state["m.room.power_levels"];
    if (!power) return userId === room.creator ? 100 : 0;
    const users = isObject(power["users"]) ? power["users"] : {};
    return number(users[userId]) ?? number(power["users_default"]) ?? 0;
}

export function powerNeeded(room: RoomRecord, type: string, state: boolean): number {
    const power = of(room, "m.room.power_levels");
    const events = isObject(power["events"]) ? power["events"] : {};
    const otherwise = state
        ? (number(power["state_default"]) ?? 50)
        : (number(power["events_default"]) ?? 0);
    return number(events[type]) ?? otherwise;
}

export function rightsOf(room: RoomRecord, me: UserId): RoomRights {
    const mine = powerOf(room, me);
    const power = of(room, "m.room.power_levels");
    const may = (key: string, otherwise: number): boolean =>
        mine >= (number(power[key]) ?? otherwise);
    const state = (type: string): boolean => mine >= powerNeeded(room, type, true);
    const notices = isObject(power["notifications"]) ? power["notifications"] : {};
    const said = isEncrypted(room) ? "m.room.encrypted" : "m.room.message";
    return {
        send: mine >= powerNeeded(room, said, false),
        invite: may("invite", 0),
        kick: may("kick", 50),
        ban: may("ban", 50),
        redactOthers: may("redact", 50),
        name: state("m.room.name"),
        topic: state("m.room.topic"),
        avatar: state("m.room.avatar"),
        pin: state("m.room.pinned_events"),
        power: state("m.room.power_levels"),
        joinRule: state("m.room.join_rules"),
        timer: state(TIMER),
        mentionRoom: mine >= (number(notices["room"]) ?? 50),
        children: state("m.space.child"),
    };
}

export function joinRuleOf(room: RoomRecord): JoinRule {
    const rule = text(of(room, "m.room.join_rules")["join_rule"]);
    if (rule === "knock_restricted") return "knock";
    const known: JoinRule[] = ["public", "invite", "knock", "restricted", "private"];
    return known.find((one) => one === rule) ?? "invite";
}

/** The same words for powers everywhere. */
export function roleOf(power: number): "owner" | "admin" | "moderator" | "member" {
    if (power > 100) return "owner";
    return power >= 100 ? "admin" : power >= 50 ? "moderator" : "member";
}
