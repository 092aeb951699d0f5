// One answer of sliding sync into the store, in one transaction.

import { addNewest, type Added } from "./events";
import { asked, under } from "./idb";
import { isObject, number, text, type Json, type OutboxRow, type RawEvent, type StoredEvent, type StoredMember, type StoredReceipt } from "./matrix";
import { Projection } from "./projection";
import { newRecord, takeState, type RoomRecord } from "./room_record";
import type { CryptoMail, Store, StoreName } from "./store";
import type { Membership, Notify, Profile, RoomId, UserId } from "./types";

/** A room in an answer. MSC4186 */
export interface SlidingRoom {
    initial?: boolean;
    name?: string | null;
    avatar?: string | null;
    heroes?: { user_id: string; displayname?: string; avatar_url?: string }[];
    is_dm?: boolean;
    joined_count?: number;
    invited_count?: number;
    required_state?: RawEvent[];
    invite_state?: RawEvent[];
    stripped_state?: RawEvent[];
    timeline?: RawEvent[];
    limited?: boolean;
    prev_batch?: string;
    num_live?: number;
    bump_stamp?: number;
    notification_count?: number;
    highlight_count?: number;
}

export interface SlidingAnswer {
    pos: string;
    lists?: Record<string, { count: number }>;
    rooms?: Record<RoomId, SlidingRoom>;
    extensions?: {
        to_device?: { next_batch: string; events?: Json[] };
        e2ee?: {
            device_lists?: { changed?: string[]; left?: string[] };
            device_one_time_keys_count?: Record<string, number>;
            device_unused_fallback_key_types?: string[];
        };
        account_data?: { global?: RawData[]; rooms?: Record<RoomId, RawData[]> };
        receipts?: { rooms?: Record<RoomId, { content: Json }> };
        typing?: { rooms?: Record<RoomId, { content: { user_ids?: string[] } }> };
    };
}

export interface RawData {
    type: string;
    content: Json;
}

/** What the loop goes on from. */
export interface SyncPlace {
    pos?: string;
    toDevice?: string;
}

/** What an answer changed, for those who show it. */
export interface Applied {
    rooms: Set<RoomId>;
    added: Map<RoomId, Added>;
    members: Set<RoomId>;
    receipts: Set<RoomId>;
    accountData: string[];
    typing: Map<RoomId, UserId[]>;
    echoes: string[];
    mail: boolean;
    count: number;
}

const STORES: StoreName[] = [
    "meta", "rooms", "events", "members", "receipts", "accountData", "outbox", "files", "inbox", "words",
];
const LOOK_BACK = 12;

export interface Held {
    rooms: Map<RoomId, RoomRecord>;
    directs: Map<RoomId, UserId>;
    me: UserId;
}

/** Writes an answer; `held.rooms` is changed only when it is stored. */
export async function applySync(store: Store, held: Held, answer: SlidingAnswer, place: SyncPlace): Promise<Applied> {
    const applied: Applied = {
        rooms: new Set(),
        added: new Map(),
        members: new Set(),
        receipts: new Set(),
        accountData: [],
        typing: new Map(),
        echoes: [],
        mail: false,
        count: Math.max(0, ...Object.values(answer.lists ?? {}).map((list) => list.count)),
    };
    const fresh = new Map<RoomId, RoomRecord>();
    const writer = new Writer(held, applied, fresh);
    const directs = await store.write(STORES, async (tx) => {
        const found = writer.globalData(tx, answer.extensions?.account_data?.global ?? []);
        for (const [id, room] of Object.entries(answer.rooms ?? {})) await writer.room(tx, id, room);
        writer.roomData(tx, answer.extensions?.account_data?.rooms ?? {});
        await writer.receipts(tx, answer.extensions?.receipts?.rooms ?? {});
        writer.mail(tx, answer.extensions ?? {});
        for (const [id, added] of applied.added) {
            const room = writer.record(id);
            await refreshLast(tx, room, held.me, added.touched);
        }
        for (const room of fresh.values()) tx.objectStore("rooms").put(room);
        const next: SyncPlace = { pos: answer.pos };
        const toDevice = answer.extensions?.to_device?.next_batch ?? place.toDevice;
        if (toDevice) next.toDevice = toDevice;
        tx.objectStore("meta").put(next, "sync");
        return found;
    });
    for (const [id, room] of fresh) held.rooms.set(id, room);
    if (directs) held.directs = directs;
    for (const [id, typing] of Object.entries(answer.extensions?.typing?.rooms ?? {})) {
        applied.typing.set(id, (typing.content.user_ids ?? []).filter((userId) => userId !== held.me));
        applied.rooms.add(id);
    }
    return applied;
}

class Writer {
    constructor(
        readonly held: Held,
        readonly applied: Applied,
        readonly fresh: Map<RoomId, RoomRecord>,
    ) {}

    /** A copy of the record that may be changed; it is put at the end. */
    record(id: RoomId): RoomRecord {
        let room = this.fresh.get(id);
        if (!room) {
            const known = this.held.rooms.get(id);
            room = known ? structuredClone(known) : newRecord(id);
            this.fresh.set(id, room);
            this.applied.rooms.add(id);
        }
        return room;
    }

    async room(tx: IDBTransaction, id: RoomId, told: SlidingRoom): Promise<void> {
        const room = this.record(id);
        const stripped = told.invite_state ?? told.stripped_state;
        if (stripped) return this.#asked(room, stripped, told);
        if (told.initial) room.known = true;
        const limited = told.limited === true;
        const piece = { events: told.timeline ?? [], limited, initial: told.initial === true, ...(told.prev_batch ? { prevBatch: told.prev_batch } : {}) };
        const added = await addNewest(tx, room, piece);
        // members may have come and gone in what was not told; a longer look back is no gap
        if (told.initial || added.gap) room.membersWhole = false;
        for (const raw of piece.events) this.#state(tx, room, raw);
        for (const raw of told.required_state ?? []) this.#state(tx, room, raw);
        this.#names(room, told);
        if (told.notification_count !== undefined) room.unread = told.notification_count;
        if (told.highlight_count !== undefined) room.highlights = told.highlight_count;
        if (added.events.length > 0) {
            this.applied.added.set(id, added);
            await this.#echoes(tx, id, added.events, added.gap);
        }
        if (room.ts === 0) room.ts = piece.events.at(-1)?.origin_server_ts ?? 0;
    }

    /** State of the room now, whether it came as such or in the timeline. */
    #state(tx: IDBTransaction, room: RoomRecord, raw: RawEvent): void {
        if (raw.state_key === undefined) return;
        if (takeState(room, raw)) return;
        if (raw.type !== "m.room.member") return;
        const member = memberOf(room.id, raw);
        tx.objectStore("members").put(member);
        this.applied.members.add(room.id);
        if (raw.state_key !== this.held.me) {
            const hero = room.heroes.find((one) => one.userId === member.userId);
            if (hero) Object.assign(hero, profileOf(member));
            return;
        }
        const was = room.membership;
        room.membership = member.membership as Membership;
        if (room.membership === "join" && was !== "join") {
            delete room.inviter;
            delete room.stranger;
        }
    }

    /** An invitation or a knock: only stripped state is known. */
    #asked(room: RoomRecord, stripped: RawEvent[], told: SlidingRoom): void {
        for (const raw of stripped) if (raw.state_key !== undefined) takeState(room, raw);
        const members = stripped.filter((raw) => raw.type === "m.room.member");
        const own = members.find((raw) => raw.state_key === this.held.me);
        room.membership = (text(own?.content["membership"]) ?? "invite") as Membership;
        if (room.membership === "invite" && own) {
            const by = members.find((raw) => raw.state_key === own.sender);
            room.inviter = by ? profileOf(memberOf(room.id, by)) : { userId: own.sender };
            room.heroes = [room.inviter];
            if (told.is_dm || own.content["is_direct"] === true) room.dmUser = own.sender;
            room.stranger = !this.#isKnown(own.sender, room.id);
            room.ts = own.origin_server_ts || Date.now();
        }
    }

    /** Somebody with whom we have a direct chat, or who is among the heroes of a room of ours. */
    #isKnown(userId: UserId, besides: RoomId): boolean {
        for (const room of this.held.rooms.values()) {
            if (room.id === besides || room.membership !== "join") continue;
            if (room.dmUser === userId || room.heroes.some((hero) => hero.userId === userId)) return true;
        }
        return false;
    }

    #names(room: RoomRecord, told: SlidingRoom): void {
        if (told.heroes) {
            room.heroes = told.heroes.map((hero) => {
                const profile: Profile = { userId: hero.user_id };
                if (hero.displayname) profile.name = hero.displayname;
                if (hero.avatar_url) profile.avatar = hero.avatar_url;
                return profile;
            });
        }
        if (told.joined_count !== undefined) room.joined = told.joined_count;
        if (told.invited_count !== undefined) room.invited = told.invited_count;
        const direct = this.held.directs.get(room.id);
        if (direct) room.dmUser = direct;
        else if (told.is_dm === false) delete room.dmUser;
    }

    /** Rows of the outbox whose events came back. */
    async #echoes(tx: IDBTransaction, roomId: RoomId, events: StoredEvent[], gap: boolean): Promise<void> {
        const store = tx.objectStore("outbox");
        const rows = (await asked<OutboxRow[]>(store.getAll())).filter((row) => row.roomId === roomId);
        for (const row of rows) {
            const back = events.some((e) => (e.txnId === row.txnId && e.sender === this.held.me) || e.id === row.eventId);
            if (!back && !(gap && row.status === "sent")) continue;
            store.delete(row.txnId);
            for (const id of row.uploads ?? []) tx.objectStore("files").delete(id);
            this.applied.echoes.push(row.txnId);
        }
    }

    globalData(tx: IDBTransaction, data: RawData[]): Map<RoomId, UserId> | undefined {
        let directs: Map<RoomId, UserId> | undefined;
        for (const { type, content } of data) {
            tx.objectStore("accountData").put(content, ["", type]);
            this.applied.accountData.push(type);
            if (type === "m.direct") directs = this.#directs(content);
            if (type === "m.push_rules") this.#pushRules(content);
        }
        return directs;
    }

    #directs(content: Json): Map<RoomId, UserId> {
        const directs = directsOf(content);
        for (const room of [...this.held.rooms.values()]) {
            const now = directs.get(room.id);
            if (room.membership === "invite" || room.dmUser === now) continue;
            const record = this.record(room.id);
            if (now) record.dmUser = now;
            else delete record.dmUser;
        }
        this.held.directs = directs; // for the rooms of the same answer
        return directs;
    }

    #pushRules(content: Json): void {
        const rules = notifyRules(content);
        for (const room of [...this.held.rooms.values()]) {
            const now = rules.get(room.id) ?? "all";
            if (room.notify !== now) this.record(room.id).notify = now;
        }
        this.#rules = rules;
    }

    #rules: Map<RoomId, Notify> | undefined;

    roomData(tx: IDBTransaction, data: Record<RoomId, RawData[]>): void {
        for (const [id, list] of Object.entries(data)) {
            const room = this.record(id);
            for (const { type, content } of list) {
                tx.objectStore("accountData").put(content, [id, type]);
                if (type === "m.tag" && isObject(content["tags"])) {
                    const tags = Object.entries(content["tags"]);
                    room.tags = Object.fromEntries(tags.map(([tag, info]) => [tag, (isObject(info) && number(info["order"])) || 0]));
                }
                if (type === "m.marked_unread") room.markedUnread = content["unread"] === true;
                if (type === "m.fully_read") {
                    const upTo = text(content["event_id"]);
                    if (upTo) room.fullyRead = upTo;
                }
            }
        }
        for (const [id, notify] of this.#rules ?? []) {
            const room = this.fresh.get(id);
            if (room) room.notify = notify;
        }
    }

    async receipts(tx: IDBTransaction, data: Record<RoomId, { content: Json }>): Promise<void> {
        const store = tx.objectStore("receipts");
        for (const [roomId, { content }] of Object.entries(data)) {
            this.applied.receipts.add(roomId);
            for (const receipt of receiptsOf(roomId, content)) {
                const before = await asked<StoredReceipt | undefined>(store.get([roomId, receipt.userId]));
                if (before && before.ts > receipt.ts) continue;
                store.put(receipt);
                if (receipt.userId !== this.held.me) continue;
                const room = this.record(roomId);
                room.readId = receipt.eventId;
                room.readTs = receipt.ts;
            }
        }
    }

    /** To-device messages and device lists wait in the store until the crypto machine took them. */
    mail(tx: IDBTransaction, extensions: NonNullable<SlidingAnswer["extensions"]>): void {
        const { e2ee, to_device: toDevice } = extensions;
        const mail: CryptoMail = {
            toDevice: toDevice?.events ?? [],
            changed: e2ee?.device_lists?.changed ?? [],
            left: e2ee?.device_lists?.left ?? [],
        };
        const counts = e2ee?.device_one_time_keys_count;
        const fallback = e2ee?.device_unused_fallback_key_types;
        if (counts) mail.oneTimeKeys = counts;
        if (fallback) mail.fallbackKeys = fallback;
        if (mail.toDevice.length + mail.changed.length + mail.left.length === 0 && !counts && !fallback) return;
        tx.objectStore("inbox").put(mail);
        this.applied.mail = true;
    }
}

export function memberOf(roomId: RoomId, raw: { state_key?: string; content: Json }): StoredMember {
    const { content } = raw;
    const member: StoredMember = {
        roomId,
        userId: raw.state_key ?? "",
        membership: text(content["membership"]) ?? "leave",
    };
    const name = text(content["displayname"])?.trim();
    const avatar = text(content["avatar_url"]);
    if (name) member.name = name;
    if (avatar) member.avatar = avatar;
    return member;
}

export function profileOf(member: StoredMember): Profile {
    const profile: Profile = { userId: member.userId };
    if (member.name) profile.name = member.name;
    if (member.avatar) profile.avatar = member.avatar;
    return profile;
}

/** # CS #direct-messaging */
export function directsOf(content: Json): Map<RoomId, UserId> {
    const directs = new Map<RoomId, UserId>();
    for (const [userId, rooms] of Object.entries(content)) {
        if (!Array.isArray(rooms)) continue;
        for (const id of rooms) if (typeof id === "string") directs.set(id, userId);
    }
    return directs;
}

/** What rooms were muted by push rules of the kinds `override` and `room`. */
export function notifyRules(content: Json): Map<RoomId, Notify> {
    const rules = new Map<RoomId, Notify>();
    const global = isObject(content["global"]) ? content["global"] : {};
    const list = (kind: string): Json[] => (Array.isArray(global[kind]) ? global[kind].filter(isObject) : []);
    const silent = (rule: Json): boolean =>
        rule["enabled"] !== false && Array.isArray(rule["actions"]) && !rule["actions"].includes("notify");
    for (const rule of list("room")) {
        if (silent(rule)) rules.set(String(rule["rule_id"]), "mentions");
    }
    for (const rule of list("override")) {
        const id = text(rule["rule_id"]) ?? "";
        if (id.startsWith("!") && silent(rule)) rules.set(id, "none");
    }
    return rules;
}

/** # CS #mreceipt */
export function receiptsOf(roomId: RoomId, content: Json): StoredReceipt[] {
    const found: StoredReceipt[] = [];
    for (const [eventId, kinds] of Object.entries(content)) {
        if (!isObject(kinds)) continue;
        for (const kind of ["m.read", "m.read.private"]) {
            const users = kinds[kind];
            if (!isObject(users)) continue;
            for (const [userId, info] of Object.entries(users)) {
                const thread = isObject(info) ? text(info["thread_id"]) : undefined;
                if (thread && thread !== "main") continue;
                found.push({ roomId, userId, eventId, ts: (isObject(info) && number(info["ts"])) || 0 });
            }
        }
    }
    return found;
}

/** Looks anew for the line that lists show of a room. `touched`: events that others changed. */
export async function refreshLast(
    tx: IDBTransaction,
    room: RoomRecord,
    me: UserId,
    touched: Set<string> = new Set(),
): Promise<void> {
    const projection = new Projection(tx, room, me);
    const range = under([room.id]);
    const cursor = tx.objectStore("events").openCursor(range, "prev");
    const events: StoredEvent[] = await new Promise((resolve, reject) => {
        const found: StoredEvent[] = [];
        cursor.onerror = () => reject(cursor.error ?? new Error("IndexedDB"));
        cursor.onsuccess = () => {
            if (!cursor.result || found.length >= LOOK_BACK) return resolve(found);
            found.push(cursor.result.value as StoredEvent);
            cursor.result.continue();
        };
    });
    for (const event of events) {
        if (event.relType === "m.thread" && event.redactedBy !== undefined) continue;
        const preview = await projection.preview(event);
        if (!preview || (preview.kind === "member" && preview.text !== "joined" && preview.text !== "left")) continue;
        room.last = preview;
        room.ts = Math.max(preview.ts, preview.kind === "member" || preview.kind === "state" ? room.ts : 0) || room.ts;
        return;
    }
    if (room.last?.eventId && touched.has(room.last.eventId)) delete room.last;
}
