// Stored events → lines of a timeline. Reads, writes nothing.

import { contentOf, countPoll, inOneLine, isPoll, meaning, mentions, roleOf, saidContent } from "./content";
import { editedContent } from "./events";
import { asked } from "./idb";
import { isObject, number, repliesTo, text, type OutboxRow, type StoredEvent, type StoredMember } from "./matrix";
import { localpart, pinnedOf, powerOf, rightsOf, type RoomRecord } from "./room_record";
import { eventById } from "./store";
import type { Preview, Reaction, ReplyTo, TimelineItem, TransferState, UserId } from "./types";

const NAMES_MAX = 20;

/** Who read up to where, of one room. */
export interface Readers {
    /** By event: who has the newest receipt there. */
    at: Map<string, UserId[]>;
    /** The highest order that anybody else read. */
    upTo: number;
}

/** Makes lines in one read transaction over `events` and `members`. */
export class Projection {
    readonly #members = new Map<UserId, Promise<StoredMember | undefined>>();
    readonly #pinned: Set<string>;

    constructor(
        readonly tx: IDBTransaction,
        readonly room: RoomRecord,
        readonly me: UserId,
        readonly readers: Readers = { at: new Map(), upTo: -Infinity },
    ) {
        this.#pinned = new Set(pinnedOf(room));
    }

    member(userId: UserId): Promise<StoredMember | undefined> {
        let found = this.#members.get(userId);
        if (!found) {
            const store = this.tx.objectStore("members");
            found = asked<StoredMember | undefined>(store.get([this.room.id, userId]));
            this.#members.set(userId, found);
        }
        return found;
    }

    async name(userId: UserId): Promise<string> {
        return (await this.member(userId))?.name ?? localpart(userId);
    }

    async #related(target: string): Promise<StoredEvent[]> {
        const index = this.tx.objectStore("events").index("rel");
        return asked<StoredEvent[]>(index.getAll([this.room.id, target]));
    }

    /** The one line of an event; undefined for what is no line. */
    async preview(event: StoredEvent, related?: StoredEvent[]): Promise<Preview | undefined> {
        if (roleOf(event) !== "item") return undefined;
        const edited = editedContent(event, related ?? (await this.#related(event.id)));
        const said = inOneLine(contentOf(event, edited));
        return {
            eventId: event.id,
            sender: event.sender,
            senderName: await this.name(event.sender),
            mine: event.sender === this.me,
            ts: event.ts,
            ...said,
        };
    }

    async item(event: StoredEvent): Promise<TimelineItem> {
        const [related, sender] = await Promise.all([this.#related(event.id), this.member(event.sender)]);
        const edited = editedContent(event, related);
        const { content } = meaning(event);
        const item = this.#base(event, sender);
        item.content = contentOf(event, edited);
        item.edited = edited !== undefined;
        if (item.content.kind === "redacted" && item.content.by) {
            item.content.byName = await this.name(item.content.by);
        }
        if (item.content.kind === "member" && !item.content.userName) {
            item.content.userName = await this.name(item.content.user);
        }
        if (event.redactedBy === undefined) {
            const [replyTo, reactions] = await Promise.all([this.#reply(content), this.#reactions(related)]);
            if (replyTo) item.replyTo = replyTo;
            item.reactions = reactions;
            item.mentionsMe = event.sender !== this.me && mentions(edited ?? content, this.me);
            await this.#thread(item, event, related);
        }
        if (item.content.kind === "poll") {
            const mayEnd = (userId: UserId): boolean =>
                userId === event.sender || rightsOf(this.room, userId).redactOthers;
            item.content.poll = countPoll(item.content.poll, related, this.me, mayEnd);
        }
        return item;
    }

    #base(event: StoredEvent, sender: StoredMember | undefined): TimelineItem {
        const mine = event.sender === this.me;
        const gone = event.redactedBy !== undefined;
        const said = meaning(event);
        const editable = said.type === "m.room.message" || isPoll(said.type);
        const item: TimelineItem = {
            key: event.txnId && mine ? event.txnId : event.id,
            eventId: event.id,
            roomId: event.roomId,
            sender: event.sender,
            senderName: sender?.name ?? localpart(event.sender),
            mine,
            ts: event.ts,
            content: { kind: "redacted" },
            status: "sent",
            edited: false,
            reactions: [],
            readBy: (this.readers.at.get(event.id) ?? []).slice(0, NAMES_MAX),
            read: mine && event.order <= this.readers.upTo,
            seal: event.clear?.seal ?? (event.type === "m.room.encrypted" ? "sealed" : "clear"),
            mentionsMe: false,
            pinned: this.#pinned.has(event.id),
            canEdit: mine && !gone && editable && event.stateKey === undefined,
            canRedact: !gone && event.stateKey === undefined && this.#mayRedact(event),
        };
        if (sender?.avatar) item.senderAvatar = sender.avatar;
        if (event.txnId && mine) item.txnId = event.txnId;
        if (event.relType === "m.thread" && event.rel) item.threadRoot = event.rel[1];
        return item;
    }

    #mayRedact(event: StoredEvent): boolean {
        if (event.sender === this.me) return true;
        return rightsOf(this.room, this.me).redactOthers && powerOf(this.room, event.sender) <= powerOf(this.room, this.me);
    }

    async #reply(content: Record<string, unknown>): Promise<ReplyTo | undefined> {
        const target = repliesTo(content);
        if (!target) return undefined;
        const event = await eventById(this.tx, this.room.id, target);
        const preview = event && (await this.preview(event));
        return preview ? { eventId: target, preview } : { eventId: target };
    }

    async #reactions(related: StoredEvent[]): Promise<Reaction[]> {
        const byKey = new Map<string, Map<UserId, number>>();
        for (const event of related) {
            if (event.relType !== "m.annotation" || event.redactedBy !== undefined) continue;
            const { type, content } = meaning(event);
            const relates = content["m.relates_to"] ?? event.content["m.relates_to"];
            const key = isObject(relates) ? text(relates["key"]) : undefined;
            if (type !== "m.reaction" || !key || key.length > 100) continue;
            const senders = byKey.get(key) ?? new Map<UserId, number>();
            byKey.set(key, senders.set(event.sender, event.ts));
        }
        const shown: Reaction[] = [];
        for (const [key, senders] of byKey) {
            const first = [...senders.keys()].slice(0, NAMES_MAX);
            const names = await Promise.all(first.map((userId) => this.name(userId)));
            shown.push({ key, count: senders.size, mine: senders.has(this.me), names });
        }
        return shown.sort((a, b) => b.count - a.count);
    }

    async #thread(item: TimelineItem, event: StoredEvent, related: StoredEvent[]): Promise<void> {
        const replies = related.filter((e) => e.relType === "m.thread" && e.redactedBy === undefined);
        const bundled = event.bundled?.["m.thread"];
        const told = isObject(bundled) ? (number(bundled["count"]) ?? 0) : 0;
        const count = Math.max(told, replies.length);
        if (count === 0) return;
        item.thread = { count };
        const newest = replies.reduce<StoredEvent | undefined>((a, b) => (a && a.ts > b.ts ? a : b), undefined);
        const last = newest && (await this.preview(newest));
        if (last) item.thread.last = last;
    }

    /** The line of a message that waits. */
    async echo(row: OutboxRow, transfer?: TransferState): Promise<TimelineItem | undefined> {
        const related = isObject(row.content["m.relates_to"]) ? row.content["m.relates_to"] : {};
        const relType = text(related["rel_type"]);
        if (row.redacts || row.type === "m.reaction" || relType === "m.replace") return undefined;
        const content = saidContent(row.type, row.content);
        if (content.kind === "unsupported") return undefined;
        const sender = await this.member(this.me);
        const item: TimelineItem = {
            key: row.txnId,
            txnId: row.txnId,
            roomId: row.roomId,
            sender: this.me,
            senderName: sender?.name ?? localpart(this.me),
            mine: true,
            ts: row.queuedAt,
            content,
            status: row.status,
            edited: false,
            reactions: [],
            readBy: [],
            read: false,
            seal: this.room.state["m.room.encryption"] ? "sealed" : "clear",
            mentionsMe: false,
            pinned: false,
            canEdit: false,
            canRedact: false,
        };
        if (sender?.avatar) item.senderAvatar = sender.avatar;
        if (row.eventId) item.eventId = row.eventId;
        if (row.fault) item.fault = row.fault;
        if (transfer) item.upload = transfer;
        const root = text(related["event_id"]);
        if (relType === "m.thread" && root) item.threadRoot = root;
        const reply = await this.#reply(row.content);
        if (reply) item.replyTo = reply;
        return item;
    }
}
