// Calls, as far as they are events: who is in one, ringing, and keys. The media is the tab's
// (models/call_line). # docs/calls.md

import { meaning } from "../content";
import { Fault, faultOf, report } from "../faults";
import { path } from "../http";
import { isObject, text, type Json, type StoredEvent } from "../matrix";
import type { CallCalls, CallMember, CallPass, CallRecord, CallRing, DeviceInfo, EventId, RoomId, UserId } from "../types";
import type { World } from "../world";
import { OwnKey } from "./own_key";
import { DECLINE, identityOf, KEYS, keyContent, keyTold, MEMBER, memberContent, memberKey, RING, ringContent, ringUntil, type Seat } from "./shapes";

const TRANSPORTS = "/_matrix/client/v1/rtc/transports";
const LEAVE_MS = 3_600_000;
const LOG_MOST = 30;
const KEYS_MOST = 512;
const SEEN_MOST = 2000;
const RETRY_MS = 3_000;

/** What calls need of the rest of a session. */
export interface Besides {
    /** Encrypts a content for a device and sends it; false where that device has no keys. */
    whisper(to: { userId: UserId; deviceId: string }[], type: string, content: Json): Promise<string[]>;
    say(roomId: RoomId, type: string, content: Json): Promise<string>;
    name(roomId: RoomId, userId: UserId): Promise<string>;
    devicesOf(userId: UserId): Promise<DeviceInfo[]>;
}

interface Own {
    roomId: RoomId;
    key: OwnKey;
    eventId: EventId;
    video: boolean;
    rang: boolean;
}

export class Calls implements CallCalls {
    #transport: Promise<Json | undefined> | undefined;
    #own: Own | undefined;
    readonly #rings = new Map<EventId, CallRing & { met: boolean; memberEvent?: string }>();
    /** Keys of others: `room identity index` to the key. */
    readonly #keys = new Map<string, { roomId: RoomId; identity: string; index: number; key: string }>();
    readonly #told = new Map<RoomId, string>();
    readonly #seen = new Set<EventId>();
    #timer: ReturnType<typeof setTimeout> | undefined;
    #work: Promise<unknown> = Promise.resolve();

    constructor(
        readonly world: World,
        readonly besides: Besides,
    ) {}

    // ------------------------------------------------------------ who is in a call

    #seats(roomId: RoomId): Seat[] {
        const now = Date.now();
        const all = Object.values(this.world.rooms.get(roomId)?.calls ?? {});
        return all.filter((seat) => seat.until > now).sort((a, b) => a.since - b.since);
    }

    #isOwn(seat: Seat): boolean {
        return seat.userId === this.world.me && seat.deviceId === this.world.deviceId;
    }

    async members(roomId: RoomId): Promise<CallMember[]> {
        const devices = new Map<UserId, DeviceInfo[]>();
        return Promise.all(this.#seats(roomId).map(async (seat): Promise<CallMember> => {
            if (!devices.has(seat.userId)) devices.set(seat.userId, await this.besides.devicesOf(seat.userId).catch(() => []));
            const device = devices.get(seat.userId)?.find((one) => one.deviceId === seat.deviceId);
            const member: CallMember = {
                userId: seat.userId,
                deviceId: seat.deviceId,
                identity: identityOf(seat),
                name: await this.besides.name(roomId, seat.userId),
                since: seat.since,
                video: seat.video,
                here: this.#isOwn(seat),
                verified: this.#isOwn(seat) || device?.verified === true,
            };
            return member;
        }));
    }

    async running(): Promise<{ roomId: RoomId; members: CallMember[] }[]> {
        const rooms = [...this.world.rooms.keys()].filter((id) => this.#seats(id).length > 0);
        return Promise.all(rooms.map(async (roomId) => ({ roomId, members: await this.members(roomId) })));
    }

    /** After each answer of the sync: who came, who left, what no longer rings. */
    async applied(roomIds: Iterable<RoomId>): Promise<void> {
        for (const roomId of new Set(roomIds)) {
            const said = JSON.stringify(this.#seats(roomId));
            if ((this.#told.get(roomId) ?? "[]") === said) continue;
            this.#told.set(roomId, said);
            this.world.emit("callMembers", { roomId, members: await this.members(roomId) });
            if (this.#own?.roomId === roomId) this.#handKeys();
        }
        await this.#review();
    }

    // ------------------------------------------------------------ coming and going

    /** Where calls are held; undefined where the operator has none. Asked once. */
    #where(): Promise<Json | undefined> {
        this.#transport ??= this.world.http
            .ask<{ rtc_transports?: Json[] }>("GET", TRANSPORTS)
            .then((told) => told.rtc_transports?.find((one) => one["type"] === "livekit"))
            .catch((error: unknown) => {
                if (faultOf(error).code === "not-found") return undefined;
                this.#transport = undefined;
                throw error;
            });
        return this.#transport;
    }

    async offered(): Promise<boolean> {
        return (await this.#where()) !== undefined;
    }

    async join(roomId: RoomId, want: { video: boolean; ring: boolean }): Promise<CallPass> {
        const transport = await this.#where();
        if (!transport) throw new Fault("not-found", "this server holds no calls");
        if (this.#own && this.#own.roomId !== roomId) await this.leave();
        const alone = this.#seats(roomId).every((seat) => this.#isOwn(seat));
        const own: Own = { roomId, key: new OwnKey(), eventId: "", video: want.video, rang: false };
        this.#own = own;
        try {
            const pass = await this.#enter(own, transport);
            if (want.ring && alone) await this.#ring(own);
            this.#handKeys();
            await this.#review();
            return pass;
        } catch (error) {
            await this.leave().catch(() => undefined);
            throw error;
        }
    }

    async again(): Promise<void> {
        const own = this.#own;
        if (!own || this.#seats(own.roomId).some((seat) => this.#isOwn(seat))) return;
        const transport = await this.#where();
        if (transport) await this.#enter(own, transport);
    }

    /** The leave is laid by first, and handed to the server, which says it when the line is gone. */
    async #enter(own: Own, transport: Json): Promise<CallPass> {
        const { me, deviceId, http } = this.world;
        const { roomId, video } = own;
        const url = path`/rooms/${roomId}/state/${MEMBER}/${memberKey(me, deviceId)}`;
        const delayed = await http
            .ask<{ delay_id: string }>("PUT", `${url}?org.matrix.msc4140.delay=${LEAVE_MS}`, { body: {} })
            .catch(() => undefined);
        const content = memberContent({ deviceId, transport, video });
        own.eventId = (await http.ask<{ event_id: string }>("PUT", url, { body: content })).event_id;
        const proof = await http.ask("POST", path`/user/${me}/openid/request_token`, { body: {} });
        const service = new URL(text(transport["livekit_service_url"]) ?? "", http.base || globalThis.location.origin);
        const body = { room: roomId, openid_token: proof, device_id: deviceId, ...(delayed ? { delay_id: delayed.delay_id } : {}) };
        const pass = await http.ask<{ url: string; jwt: string }>("POST", `${service.pathname}/sfu/get`, { body });
        const { index, key } = own.key;
        const known = [...this.#keys.values()].filter((one) => one.roomId === roomId);
        return { ...pass, identity: identityOf({ userId: me, deviceId }), own: { index, key }, keys: known.map(({ identity, index: i, key: k }) => ({ identity, index: i, key: k })) };
    }

    async leave(): Promise<void> {
        const own = this.#own;
        if (!own) return;
        this.#own = undefined;
        for (const [at, one] of this.#keys) if (one.roomId === own.roomId) this.#keys.delete(at);
        const { me, deviceId, http } = this.world;
        await http.ask("PUT", path`/rooms/${own.roomId}/state/${MEMBER}/${memberKey(me, deviceId)}`, { body: {} });
    }

    // ------------------------------------------------------------ keys

    /** Gives the key to those who came, or a new one to all; one after the other. */
    #handKeys(): void {
        this.#work = this.#work.then(() => this.#hand()).catch(report);
    }

    async #hand(): Promise<void> {
        const own = this.#own;
        if (!own) return;
        const seats = this.#seats(own.roomId).filter((seat) => !this.#isOwn(seat));
        const byIdentity = new Map(seats.map((seat) => [identityOf(seat), seat]));
        const handing = own.key.others(new Set(byIdentity.keys()));
        if (!handing) return;
        const to = handing.to.flatMap((identity) => byIdentity.get(identity) ?? []);
        const content = keyContent(own.roomId, this.world.deviceId, handing.index, handing.key);
        let missed = handing.to;
        try {
            const reached = new Set(await this.besides.whisper(to, KEYS, content));
            missed = handing.to.filter((identity) => !reached.has(identity));
        } finally {
            if (missed.length > 0) {
                own.key.missed(missed);
                setTimeout(() => this.#handKeys(), RETRY_MS);
            }
        }
        if (handing.useAfter !== undefined) {
            const mine = { identity: identityOf({ userId: this.world.me, deviceId: this.world.deviceId }), index: handing.index, key: handing.key };
            this.world.emit("callKey", { roomId: own.roomId, ...mine, after: handing.useAfter });
        }
    }

    /** A key came, sealed by a device: it counts for that device alone. */
    keyCame(sender: UserId, senderDevice: string | undefined, content: Json): void {
        const told = keyTold(content);
        if (!told || senderDevice !== told.deviceId) return;
        const identity = identityOf({ userId: sender, deviceId: told.deviceId });
        const { roomId, index, key } = told;
        const at = `${roomId} ${identity} ${index}`;
        this.#keys.delete(at);
        this.#keys.set(at, { roomId, identity, index, key });
        while (this.#keys.size > KEYS_MOST) this.#keys.delete(this.#keys.keys().next().value ?? "");
        if (this.#own?.roomId === roomId) this.world.emit("callKey", { roomId, identity, index, key, after: 0 });
    }

    // ------------------------------------------------------------ ringing

    async #ring(own: Own): Promise<void> {
        const kind = this.world.summary(own.roomId)?.kind;
        if (kind !== "dm" && kind !== "group") return;
        await this.besides.say(own.roomId, RING, ringContent(own.eventId, own.video, Date.now()));
        own.rang = true;
    }

    async decline(ringId: EventId): Promise<void> {
        const ring = this.#rings.get(ringId);
        if (!ring) return;
        await this.#over(ring, "declined");
        await this.besides.say(ring.roomId, DECLINE, { "m.relates_to": { rel_type: "m.reference", event_id: ringId } });
    }

    async rings(): Promise<CallRing[]> {
        return [...this.#rings.values()].map(bare);
    }

    /** Events as they come, opened: rings and refusals among them. */
    async saw(events: StoredEvent[]): Promise<void> {
        for (const event of events) {
            const { type, content } = meaning(event);
            if ((type !== RING && type !== DECLINE) || this.#seen.has(event.id) || this.world.ignored.has(event.sender)) continue;
            this.#seen.add(event.id);
            if (this.#seen.size > SEEN_MOST) this.#seen.delete(this.#seen.values().next().value ?? "");
            if (type === RING) await this.#rang(event, content, events);
            else await this.#refused(event, content);
        }
    }

    async #rang(event: StoredEvent, content: Json, beside: StoredEvent[]): Promise<void> {
        const until = ringUntil(content, event.ts);
        const room = this.world.rooms.get(event.roomId);
        if (until === undefined || room?.membership !== "join" || room.callLog?.some((one) => one.id === event.id)) return;
        const seat = room.calls?.[Object.keys(room.calls).find((key) => room.calls?.[key]?.userId === event.sender) ?? ""];
        const video = content["m.call.intent"] ? content["m.call.intent"] === "video" : seat?.video === true;
        const memberEvent = text(relates(content)["event_id"]);
        const mine = event.sender === this.world.me;
        const ring = {
            id: event.id, roomId: event.roomId, sender: event.sender, senderName: await this.besides.name(event.roomId, event.sender),
            video, ts: event.ts, until, met: false, ...(memberEvent ? { memberEvent } : {}),
        };
        if (mine) return this.#log(ring, "out");
        if (until > Date.now()) {
            this.#rings.set(ring.id, ring);
            this.world.emit("ring", { ring: bare(ring) });
            return this.#review();
        }
        const answered = beside.some((one) => one.type === MEMBER && one.sender === this.world.me && one.ts >= event.ts && one.ts <= until);
        await this.#log(ring, answered ? "answered" : "missed");
    }

    /** Somebody does not take a call: one's own other device, or whom one called. */
    async #refused(event: StoredEvent, content: Json): Promise<void> {
        const ringId = text(relates(content)["event_id"]) ?? "";
        if (event.sender === this.world.me) {
            const ring = this.#rings.get(ringId);
            if (ring) await this.#over(ring, "declined");
            return;
        }
        const own = this.#own;
        if (own?.roomId !== event.roomId || !own.rang) return;
        this.world.emit("callDeclined", { roomId: event.roomId, userId: event.sender });
    }

    /** Ends rings that were answered elsewhere, taken back, or lasted long enough. */
    async #review(): Promise<void> {
        clearTimeout(this.#timer);
        const now = Date.now();
        let next = Infinity;
        for (const ring of [...this.#rings.values()]) {
            const seats = this.#seats(ring.roomId);
            const called = seats.some((seat) => seat.userId === ring.sender);
            if (called) ring.met = true;
            if (seats.some((seat) => seat.userId === this.world.me)) await this.#over(ring, "answered");
            else if ((ring.met && !called) || ring.until <= now) await this.#over(ring, "missed");
            else next = Math.min(next, ring.until - now);
        }
        if (next < Infinity) this.#timer = setTimeout(() => void this.#review(), next + 50);
    }

    async #over(ring: CallRing, outcome: "answered" | "declined" | "missed"): Promise<void> {
        if (!this.#rings.delete(ring.id)) return;
        this.world.emit("ring", { ring: bare(ring), over: outcome });
        await this.#log(ring, outcome);
    }

    async #log(ring: CallRing, outcome: CallRecord["outcome"]): Promise<void> {
        const record: CallRecord = { id: ring.id, roomId: ring.roomId, sender: ring.sender, senderName: ring.senderName, video: ring.video, ts: ring.ts, outcome };
        await this.world.change(ring.roomId, (room) => {
            const before = (room.callLog ?? []).filter((one) => one.id !== ring.id);
            room.callLog = [...before, record].sort((a, b) => a.ts - b.ts).slice(-LOG_MOST);
        });
        this.world.emit("callLogged", record);
    }

    async history(): Promise<CallRecord[]> {
        const all = [...this.world.rooms.values()].flatMap((room) => (room.membership === "join" ? (room.callLog ?? []) : []));
        return all.sort((a, b) => b.ts - a.ts).slice(0, 200);
    }

    stop(): void {
        this.#own = undefined; // nobody is handed a key any more, nor tried again
        clearTimeout(this.#timer);
    }
}

function relates(content: Json): Json {
    const found = content["m.relates_to"];
    return isObject(found) ? found : {};
}

function bare(ring: CallRing): CallRing {
    const { id, roomId, sender, senderName, video, ts, until } = ring;
    return { id, roomId, sender, senderName, video, ts, until };
}

