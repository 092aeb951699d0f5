// What people do with rooms.

import { Fault } from "./faults";
import type { History } from "./history";
import { path } from "./http";
import { under } from "./idb";
import { isObject, number, text, type Json } from "./matrix";
import type { Media } from "./media";
import { joinRuleOf, pinnedOf, powerOf, rightsOf, roleOf, TIMER, isEncrypted } from "./room_record";
import { profileOf } from "./sync_apply";
import type { JoinRule, MemberInfo, Membership, NewRoom, Notify, Profile, RoomCalls, RoomDetails, RoomGlimpse, RoomId, RoomSummary, TimelineItem, Trust, UserId } from "./types";
import { folded } from "./words";
import type { World } from "./world";

const MEGOLM = { algorithm: "m.megolm.v1.aes-sha2" };
const SUMMARY = "/_matrix/client/v1/room_summary/";

export interface Outside {
    look(visible: RoomId[]): void;
    trust(userId: UserId): Promise<Trust>;
    items(roomId: RoomId, ids: string[]): Promise<TimelineItem[]>;
    /** Waits until the sync brought a room (or a while). */
    arrival(roomId: RoomId, membership: Membership): Promise<void>;
}

export class Rooms implements RoomCalls {
    constructor(
        readonly world: World,
        readonly history: History,
        readonly media: Media,
        readonly outside: Outside,
    ) {}

    get #http() {
        return this.world.http;
    }

    async list(): Promise<RoomSummary[]> {
        return this.world.summaries();
    }

    async get(roomId: RoomId): Promise<RoomSummary | undefined> {
        return this.world.summary(roomId);
    }

    async details(roomId: RoomId): Promise<RoomDetails> {
        const room = this.world.room(roomId);
        const summary = this.world.summary(roomId);
        if (!summary) throw new Fault("not-found", "one is not in this room");
        const visibility = text(room.state["m.room.history_visibility"]?.["history_visibility"]);
        const alt = room.state["m.room.canonical_alias"]?.["alt_aliases"];
        const details: RoomDetails = {
            summary,
            rights: rightsOf(room, this.world.me),
            myPower: finite(powerOf(room, this.world.me)),
            joinRule: joinRuleOf(room),
            historyVisibility: (visibility ?? "shared") as RoomDetails["historyVisibility"],
            version: text(room.state["m.room.create"]?.["room_version"]) ?? "1",
            altAliases: Array.isArray(alt) ? alt.filter((one): one is string => typeof one === "string") : [],
            changedIdentities: await this.#changed(roomId),
            ignored: [...this.world.ignored],
        };
        if (room.creator) details.creator = room.creator;
        return details;
    }

    async #changed(roomId: RoomId): Promise<Profile[]> {
        const room = this.world.room(roomId);
        if (!isEncrypted(room) || !this.world.sealing?.ready) return [];
        const members = (await this.world.store.members(roomId)).filter((m) => m.membership === "join").slice(0, 200);
        const changed: Profile[] = [];
        for (const member of members) {
            if (member.userId !== this.world.me && (await this.outside.trust(member.userId)) === "changed") changed.push(profileOf(member));
        }
        return changed;
    }

    async members(roomId: RoomId): Promise<MemberInfo[]> {
        const room = this.world.room(roomId);
        const members = await this.history.members(roomId).catch(() => this.world.store.members(roomId));
        const shown = members.filter((member) => member.membership !== "leave");
        return shown
            .map((member) => {
                const power = powerOf(room, member.userId);
                return { ...profileOf(member), membership: member.membership as Membership, power: finite(power), role: roleOf(power) };
            })
            .sort((a, b) => b.power - a.power || folded(a.name ?? a.userId).localeCompare(folded(b.name ?? b.userId)));
    }

    async look(visible: RoomId[]): Promise<void> {
        this.outside.look(visible);
    }

    // ------------------------------------------------------------ in and out

    async create(want: NewRoom): Promise<RoomId> {
        const encrypted = want.encrypted ?? (want.kind === "dm" || want.kind === "group");
        const open = want.public === true;
        const state: Json[] = [];
        const add = (type: string, content: Json, key = ""): void => void state.push({ type, state_key: key, content });
        if (encrypted && want.kind !== "space") add("m.room.encryption", MEGOLM);
        if (want.avatar) add("m.room.avatar", { url: await this.media.upload(want.avatar) });
        if (want.disappearMs) add(TIMER, { type: "after_send", timer: want.disappearMs });
        if (want.parent) add("m.space.parent", { via: [this.world.domain], canonical: true }, want.parent);
        if (open && want.kind !== "space") add("m.room.history_visibility", { history_visibility: "shared" });
        const body: Json = {
            preset: want.kind === "dm" ? "trusted_private_chat" : open ? "public_chat" : "private_chat",
            visibility: open ? "public" : "private",
            invite: want.invite ?? [],
            initial_state: state,
        };
        if (want.name) body["name"] = want.name;
        if (want.topic) body["topic"] = want.topic;
        if (want.aliasName) body["room_alias_name"] = want.aliasName;
        if (want.kind === "dm") body["is_direct"] = true;
        if (want.kind === "space") body["creation_content"] = { type: "m.space" };
        if (want.kind === "channel" || want.kind === "space") body["power_level_content_override"] = { events_default: 50, events: { "m.reaction": 0, "m.room.redaction": 0 }, invite: 50 };
        const { room_id } = await this.#http.ask<{ room_id: RoomId }>("POST", "/createRoom", { body });
        const other = want.kind === "dm" ? want.invite?.[0] : undefined;
        if (other) await this.#setDirect(room_id, other);
        if (want.parent) await this.setChild(want.parent, room_id, true);
        await this.outside.arrival(room_id, "join");
        return room_id;
    }

    async #setDirect(roomId: RoomId, userId: UserId): Promise<void> {
        const url = path`/user/${this.world.me}/account_data/m.direct`;
        const now = (await this.#http.find<Record<UserId, RoomId[]>>("GET", url)) ?? {};
        if (now[userId]?.includes(roomId)) return;
        await this.#http.ask("PUT", url, { body: { ...now, [userId]: [roomId, ...(now[userId] ?? [])] } });
        this.world.directs.set(roomId, userId);
        if (this.world.rooms.has(roomId)) await this.world.change(roomId, (room) => void (room.dmUser = userId));
    }

    async openDm(userId: UserId): Promise<RoomId> {
        const known = [...this.world.rooms.values()].filter((room) => room.dmUser === userId && room.membership === "join");
        const best = known.sort((a, b) => b.ts - a.ts)[0];
        if (best) return best.id;
        const asked = [...this.world.rooms.values()].find((room) => room.membership === "invite" && room.dmUser === userId);
        return asked ? this.join(asked.id) : this.create({ kind: "dm", invite: [userId] });
    }

    async join(idOrAlias: string, via: string[] = []): Promise<RoomId> {
        const { room_id } = await this.#http.ask<{ room_id: RoomId }>("POST", path`/join/${idOrAlias}` + through(via), { body: {} });
        const direct = this.world.rooms.get(room_id)?.dmUser;
        if (direct) await this.#setDirect(room_id, direct);
        await this.outside.arrival(room_id, "join");
        return room_id;
    }

    async knock(idOrAlias: string, via: string[] = [], reason?: string): Promise<RoomId> {
        const body = reason ? { reason } : {};
        return (await this.#http.ask<{ room_id: RoomId }>("POST", path`/knock/${idOrAlias}` + through(via), { body })).room_id;
    }

    async leave(roomId: RoomId): Promise<void> {
        await this.#http.ask("POST", path`/rooms/${roomId}/leave`, { body: {} });
        if (this.world.rooms.has(roomId)) await this.world.change(roomId, (room) => void (room.membership = "leave"));
    }

    async forget(roomId: RoomId): Promise<void> {
        if (this.world.rooms.get(roomId)?.membership !== "leave") await this.leave(roomId).catch(() => undefined);
        await this.#http.ask("POST", path`/rooms/${roomId}/forget`, { body: {} });
        const all = under([roomId]);
        await this.world.store.write(["rooms", "events", "members", "receipts", "words", "drafts", "accountData"], (tx) => {
            for (const name of ["events", "members", "receipts", "words", "accountData"]) tx.objectStore(name).delete(all);
            tx.objectStore("rooms").delete(roomId);
            tx.objectStore("drafts").delete(roomId);
        });
        this.world.rooms.delete(roomId);
        this.world.emit("rooms", { changed: [], gone: [roomId] });
    }

    #deed(roomId: RoomId, deed: string, body: Json): Promise<unknown> {
        return this.#http.ask("POST", path`/rooms/${roomId}/` + deed, { body });
    }

    async invite(roomId: RoomId, userId: UserId): Promise<void> {
        await this.#deed(roomId, "invite", { user_id: userId });
    }

    async kick(roomId: RoomId, userId: UserId, reason?: string): Promise<void> {
        await this.#deed(roomId, "kick", { user_id: userId, ...(reason ? { reason } : {}) });
    }

    async ban(roomId: RoomId, userId: UserId, reason?: string): Promise<void> {
        await this.#deed(roomId, "ban", { user_id: userId, ...(reason ? { reason } : {}) });
    }

    async unban(roomId: RoomId, userId: UserId): Promise<void> {
        await this.#deed(roomId, "unban", { user_id: userId });
    }

    // ------------------------------------------------------------ state

    async state(roomId: RoomId, type: string, key = ""): Promise<object | undefined> {
        const kept = key === "" ? this.world.rooms.get(roomId)?.state[type] : undefined;
        if (kept) return kept;
        return this.#http.find("GET", path`/rooms/${roomId}/state/${type}/${key}`);
    }

    async setState(roomId: RoomId, type: string, key: string, content: object): Promise<string> {
        return (await this.#http.ask<{ event_id: string }>("PUT", path`/rooms/${roomId}/state/${type}/${key}`, { body: content })).event_id;
    }

    async setPower(roomId: RoomId, userId: UserId, power: number): Promise<void> {
        const now = await this.#powers(roomId);
        const users = { ...(isObject(now["users"]) ? now["users"] : {}), [userId]: power };
        if (power === (number(now["users_default"]) ?? 0)) delete (users as Json)[userId];
        await this.setState(roomId, "m.room.power_levels", "", { ...now, users });
    }

    /** As the server has them: a stale copy would undo what others set. */
    async #powers(roomId: RoomId): Promise<Json> {
        return this.#http.ask("GET", path`/rooms/${roomId}/state/m.room.power_levels/`);
    }

    async setName(roomId: RoomId, name: string): Promise<void> {
        await this.setState(roomId, "m.room.name", "", { name });
    }

    async setTopic(roomId: RoomId, topic: string): Promise<void> {
        await this.setState(roomId, "m.room.topic", "", { topic });
    }

    async setAvatar(roomId: RoomId, picture: Blob | null): Promise<void> {
        await this.setState(roomId, "m.room.avatar", "", picture ? { url: await this.media.upload(picture) } : {});
    }

    async setJoinRule(roomId: RoomId, rule: JoinRule): Promise<void> {
        const parents = this.world.summary(roomId)?.parents ?? [];
        const allow = parents.map((room_id) => ({ type: "m.room_membership", room_id }));
        await this.setState(roomId, "m.room.join_rules", "", rule === "restricted" ? { join_rule: rule, allow } : { join_rule: rule });
    }

    async setDisappear(roomId: RoomId, ms: number | null): Promise<void> {
        await this.setState(roomId, TIMER, "", ms ? { type: "after_send", timer: Math.max(10_000, Math.round(ms)) } : {});
    }

    async setChannel(roomId: RoomId, channel: boolean): Promise<void> {
        const now = await this.#powers(roomId);
        await this.setState(roomId, "m.room.power_levels", "", { ...now, events_default: channel ? 50 : 0 });
    }

    async pin(roomId: RoomId, eventId: string, pinned: boolean): Promise<void> {
        const now = pinnedOf(this.world.room(roomId)).filter((id) => id !== eventId);
        await this.setState(roomId, "m.room.pinned_events", "", { pinned: pinned ? [...now, eventId] : now });
    }

    async pinnedItems(roomId: RoomId): Promise<TimelineItem[]> {
        return this.outside.items(roomId, pinnedOf(this.world.room(roomId)).slice(-50));
    }

    // ------------------------------------------------------------ one's own marks

    async setNotify(roomId: RoomId, notify: Notify): Promise<void> {
        const rule = (kind: string): string => path`/pushrules/global/${kind}/${roomId}`;
        const drop = (kind: string): Promise<unknown> => this.#http.find("DELETE", rule(kind));
        if (notify === "none") {
            const conditions = [{ kind: "event_match", key: "room_id", pattern: roomId }];
            await this.#http.ask("PUT", rule("override"), { body: { conditions, actions: [] } });
        } else await drop("override");
        if (notify === "mentions") await this.#http.ask("PUT", rule("room"), { body: { actions: [] } });
        else await drop("room");
        await this.world.change(roomId, (room) => void (room.notify = notify));
    }

    async #tag(roomId: RoomId, tag: string, on: boolean): Promise<void> {
        const url = path`/user/${this.world.me}/rooms/${roomId}/tags/${tag}`;
        await this.#http.ask(on ? "PUT" : "DELETE", url, on ? { body: {} } : {});
        await this.world.change(roomId, (room) => {
            if (on) room.tags[tag] = 0;
            else delete room.tags[tag];
        });
    }

    async setFavourite(roomId: RoomId, on: boolean): Promise<void> {
        await this.#tag(roomId, "m.favourite", on);
    }

    async setLowPriority(roomId: RoomId, on: boolean): Promise<void> {
        await this.#tag(roomId, "m.lowpriority", on);
    }

    async setMarkedUnread(roomId: RoomId, on: boolean): Promise<void> {
        const url = path`/user/${this.world.me}/rooms/${roomId}/account_data/m.marked_unread`;
        await this.#http.ask("PUT", url, { body: { unread: on } });
        await this.world.change(roomId, (room) => void (room.markedUnread = on));
    }

    async markRead(roomId: RoomId, eventId?: string, privately = false): Promise<void> {
        const room = this.world.room(roomId);
        const upTo = eventId ?? (await this.world.store.eventsBefore(roomId, Infinity, 1))[0]?.id;
        if (room.markedUnread) await this.setMarkedUnread(roomId, false);
        if (!upTo || upTo === room.readId) return;
        const receipt = privately ? "m.read.private" : "m.read";
        await this.world.change(roomId, (now) => {
            now.readId = upTo;
            if (!eventId) Object.assign(now, { unread: 0, highlights: 0 });
        });
        await this.#http.ask("POST", path`/rooms/${roomId}/read_markers`, { body: { "m.fully_read": upTo, [receipt]: upTo } });
    }

    async typing(roomId: RoomId, on: boolean): Promise<void> {
        if (this.world.saver) return;
        const body = on ? { typing: true, timeout: 20_000 } : { typing: false };
        await this.#http.ask("PUT", path`/rooms/${roomId}/typing/${this.world.me}`, { body });
    }

    async report(roomId: RoomId, reason: string, eventId?: string): Promise<void> {
        const url = eventId ? path`/rooms/${roomId}/report/${eventId}` : path`/rooms/${roomId}/report`;
        await this.#http.ask("POST", url, { body: { reason } });
    }

    // ------------------------------------------------------------ spaces, links, finding

    async setChild(spaceId: RoomId, roomId: RoomId, on: boolean): Promise<void> {
        await this.setState(spaceId, "m.space.child", roomId, on ? { via: [this.world.domain] } : {});
    }

    async hierarchy(spaceId: RoomId): Promise<RoomGlimpse[]> {
        const url = path`/_matrix/client/v1/rooms/${spaceId}/hierarchy` + "?limit=100&max_depth=1";
        const { rooms } = await this.#http.ask<{ rooms: Json[] }>("GET", url);
        return rooms.filter((room) => room["room_id"] !== spaceId).map((room) => this.#glimpse(room));
    }

    async setAlias(roomId: RoomId, aliasName: string | null): Promise<void> {
        const before = this.world.summary(roomId)?.alias;
        const alias = aliasName && `#${aliasName.toLowerCase()}:${this.world.domain}`;
        if (alias && alias !== before) await this.#http.ask("PUT", path`/directory/room/${alias}`, { body: { room_id: roomId } });
        await this.setState(roomId, "m.room.canonical_alias", "", alias ? { alias } : {});
        if (before && before !== alias) await this.#http.ask("DELETE", path`/directory/room/${before}`).catch(() => undefined);
    }

    async inviteLink(roomId: RoomId): Promise<string> {
        const summary = this.world.summary(roomId);
        return `${this.#http.base || globalThis.location?.origin || ""}/#/join/${encodeURIComponent(summary?.alias ?? roomId)}`;
    }

    async glimpse(idOrAlias: string, via: string[] = []): Promise<RoomGlimpse> {
        return this.#glimpse(await this.#http.ask("GET", SUMMARY + encodeURIComponent(idOrAlias) + through(via)));
    }

    #glimpse(told: Json): RoomGlimpse {
        const id = text(told["room_id"]) ?? "";
        const glimpse: RoomGlimpse = {
            id,
            joined: number(told["num_joined_members"]) ?? 0,
            kind: told["room_type"] === "m.space" ? "space" : "room",
            joinRule: (text(told["join_rule"]) ?? "public") as JoinRule,
            encrypted: text(told["encryption"] ?? told["im.nheko.summary.encryption"]) !== undefined,
            via: [this.world.domain],
        };
        const fields = { name: told["name"], topic: told["topic"], avatar: told["avatar_url"], alias: told["canonical_alias"] };
        for (const [key, value] of Object.entries(fields)) if (typeof value === "string") Object.assign(glimpse, { [key]: value });
        const membership = text(told["membership"]) ?? this.world.rooms.get(id)?.membership;
        if (membership) glimpse.membership = membership as Membership;
        return glimpse;
    }

    async searchUsers(words: string, limit = 20): Promise<Profile[]> {
        const body = { search_term: words, limit };
        const { results } = await this.#http.ask<{ results: Json[] }>("POST", "/user_directory/search", { body });
        return results.map((told) => {
            const profile: Profile = { userId: text(told["user_id"]) ?? "" };
            const [name, avatar] = [text(told["display_name"]), text(told["avatar_url"])];
            if (name) profile.name = name;
            if (avatar) profile.avatar = avatar;
            return profile;
        });
    }

    async searchPublic(words: string, limit = 30): Promise<RoomGlimpse[]> {
        const body = { limit, ...(words ? { filter: { generic_search_term: words } } : {}) };
        const { chunk } = await this.#http.ask<{ chunk: Json[] }>("POST", "/publicRooms", { body });
        return chunk.map((told) => this.#glimpse(told));
    }
}

/** The query that names servers by which a room can be reached. */
function through(via: string[]): string {
    return via.length > 0 ? `?${via.map((name) => `via=${encodeURIComponent(name)}`).join("&")}` : "";
}

/** Creators of newer rooms stand above all numbers; a message port and JSON want a number. */
function finite(power: number): number {
    return Number.isFinite(power) ? power : 9007199254740991;
}
