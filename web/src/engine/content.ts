// What an event says, as views draw it. Pure: events in, content out.

import { isObject, number, text, type Json, type StoredEvent } from "./matrix";
import type {
    ContentKind,
    EncryptedFile,
    ItemContent,
    MediaRef,
    MemberChange,
    Picture,
    Poll,
    StateChange,
    UserId,
} from "./types";

const PREVIEW_MAX = 200;
const POLL_START = ["m.poll.start", "org.matrix.msc3381.poll.start"];
const POLL_ANSWER = ["m.poll.response", "org.matrix.msc3381.poll.response"];
const POLL_END = ["m.poll.end", "org.matrix.msc3381.poll.end"];

/** The type and content that count: the decrypted ones, where there are such. */
export function meaning(event: StoredEvent): { type: string; content: Json } {
    return event.clear ?? { type: event.type, content: event.content };
}

export type Role = "item" | "edit" | "reaction" | "vote" | "poll-end" | "redaction" | "hidden";

/** What an event is in a timeline: a line of its own, or a mark on another one. */
export function roleOf(event: StoredEvent): Role {
    const { type, content } = meaning(event);
    if (type === "m.room.redaction") return "redaction";
    if (event.redactedBy !== undefined) {
        const seen = event.relType !== "m.annotation" && event.relType !== "m.replace";
        return seen && (SHOWN.has(event.type) || event.type === "m.room.encrypted") ? "item" : "hidden";
    }
    if (event.relType === "m.replace") return "edit";
    if (type === "m.reaction") return event.relType === "m.annotation" ? "reaction" : "hidden";
    if (POLL_ANSWER.includes(type)) return "vote";
    if (POLL_END.includes(type)) return "poll-end";
    if (event.stateKey !== undefined) return stateChange(event) ? "item" : "hidden";
    if (type === "m.room.encrypted") return "item";
    if (type.startsWith("m.key.verification.")) return "hidden";
    if (isObject(content) && SHOWN.has(type)) return "item";
    return "hidden";
}

const SHOWN = new Set([
    "m.room.message",
    "m.sticker",
    "m.call.invite",
    "org.matrix.msc4075.rtc.notification",
    ...POLL_START,
]);

export function isCallSignal(type: string): boolean {
    return type.startsWith("m.call.") || type.startsWith("org.matrix.msc4075.")
        || type.startsWith("org.matrix.msc4310.") || type.startsWith("org.matrix.msc3401.call") || type.startsWith("m.rtc.");
}

/** The content of a line. `edited`: the newest content that replaces it. */
export function contentOf(event: StoredEvent, edited?: Json): ItemContent {
    if (event.redactedBy !== undefined) return { kind: "redacted", by: event.redactedBy };
    if (event.stateKey !== undefined) {
        return stateChange(event) ?? { kind: "unsupported", type: event.type };
    }
    const { type, content } = meaning(event);
    if (type === "m.room.encrypted") return { kind: "undecryptable", why: event.shut ?? "no-key" };
    return saidContent(type, edited ?? content);
}

/** The content of a message event that is no state. */
export function saidContent(type: string, content: Json): ItemContent {
    if (POLL_START.includes(type)) return { kind: "poll", poll: emptyPoll(content) };
    if (type === "m.sticker") return { kind: "sticker", ...pictureOf(content) };
    if (type.startsWith("m.call.") || type.startsWith("org.matrix.msc4075.")) return { kind: "call", video: content["m.call.intent"] === "video" };
    const body = text(content["body"]) ?? "";
    switch (content["msgtype"]) {
        case "m.image":
            return { kind: "image", ...pictureOf(content) };
        case "m.video":
            return { kind: "video", ...pictureOf(content), ...duration(content) };
        case "m.audio":
            return audio(content);
        case "m.file":
            return { kind: "file", media: mediaOf(content), ...caption(content) };
        case "m.location":
            return place(content) ?? { kind: "text", body, style: "text" };
        case "m.key.verification.request":
            return { kind: "verification", withUser: text(content["to"]) ?? "" };
        case "m.emote":
        case "m.notice":
        case "m.text":
        case "m.server_notice": {
            const style = content["msgtype"] === "m.emote" ? "emote" : content["msgtype"] === "m.text" ? "text" : "notice";
            const html = formatted(content);
            return { kind: "text", body: withoutFallback(body, content), style, ...(html ? { html } : {}) };
        }
        default:
            return { kind: "unsupported", type: text(content["msgtype"]) ?? type, body };
    }
}

function formatted(content: Json): string | undefined {
    if (content["format"] !== "org.matrix.custom.html") return undefined;
    return text(content["formatted_body"])?.replace(/^\s*<mx-reply>[\s\S]*?<\/mx-reply>/i, "");
}

/** Older clients quote what they answer in the body. # CS #rich-replies */
function withoutFallback(body: string, content: Json): string {
    const relates = content["m.relates_to"];
    if (!isObject(relates) || !isObject(relates["m.in_reply_to"]) || !body.startsWith("> ")) return body;
    const lines = body.split("\n");
    const end = lines.findIndex((line) => !line.startsWith("> "));
    return end < 0 || lines[end] !== "" ? body : lines.slice(end + 1).join("\n");
}

function encryptedFile(value: unknown): EncryptedFile | undefined {
    if (!isObject(value) || !isObject(value["key"]) || !isObject(value["hashes"])) return undefined;
    if (typeof value["url"] !== "string" || typeof value["iv"] !== "string") return undefined;
    return value as unknown as EncryptedFile;
}

function refOf(url: unknown, file: unknown, name: string, info: Json): MediaRef {
    const ref: MediaRef = { name, mime: text(info["mimetype"]) ?? "application/octet-stream" };
    const size = number(info["size"]);
    if (size !== undefined) ref.size = size;
    const sealed = encryptedFile(file);
    const plain = sealed?.url ?? text(url);
    if (plain?.startsWith("local:")) ref.local = plain.slice(6);
    else if (sealed) ref.file = sealed;
    else if (plain?.startsWith("mxc://")) ref.mxc = plain;
    return ref;
}

function infoOf(content: Json): Json {
    return isObject(content["info"]) ? content["info"] : {};
}

function mediaOf(content: Json): MediaRef {
    const name = text(content["filename"]) ?? text(content["body"]) ?? "";
    return refOf(content["url"], content["file"], name, infoOf(content));
}

/** The body is a caption only beside a file name that differs. # CS #media-captions */
function caption(content: Json): { caption?: string; captionHtml?: string } {
    const name = text(content["filename"]);
    const body = text(content["body"]);
    if (!name || !body || name === body) return {};
    const html = formatted(content);
    return html ? { caption: body, captionHtml: html } : { caption: body };
}

function pictureOf(content: Json): Picture {
    const info = infoOf(content);
    const picture: Picture = { media: mediaOf(content), ...caption(content) };
    const width = number(info["w"]);
    const height = number(info["h"]);
    if (width && height) Object.assign(picture, { width, height });
    const hash = text(info["blurhash"]) ?? text(info["xyz.amorgan.blurhash"]);
    if (hash) picture.blurhash = hash;
    if (info["thumbnail_url"] ?? info["thumbnail_file"]) {
        const about = isObject(info["thumbnail_info"]) ? info["thumbnail_info"] : {};
        picture.thumb = refOf(info["thumbnail_url"], info["thumbnail_file"], "", about);
    }
    return picture;
}

function duration(content: Json): { durationMs?: number } {
    const ms = number(infoOf(content)["duration"]);
    return ms === undefined ? {} : { durationMs: ms };
}

function audio(content: Json): ItemContent {
    const details = content["org.matrix.msc1767.audio"];
    const voice = content["org.matrix.msc3245.voice"] ?? content["m.voice"];
    if (!isObject(voice)) {
        return { kind: "audio", media: mediaOf(content), ...duration(content), ...caption(content) };
    }
    const shape = isObject(details) && Array.isArray(details["waveform"]) ? details["waveform"] : [];
    const waveform = shape
        .slice(0, 200)
        .map((value) => Math.min(1, Math.max(0, (number(value) ?? 0) / 1024)));
    const ms = duration(content).durationMs ?? (isObject(details) ? number(details["duration"]) : 0);
    return { kind: "voice", media: mediaOf(content), durationMs: ms ?? 0, waveform };
}

function place(content: Json): ItemContent | undefined {
    const uri = text(content["geo_uri"]) ?? "";
    const found = /^geo:(-?[\d.]+),(-?[\d.]+)(?:,[^;]*)?(?:;.*?u=([\d.]+))?/.exec(uri);
    const [lat, lon] = [Number(found?.[1]), Number(found?.[2])];
    if (!found || !(Math.abs(lat) <= 90) || !(Math.abs(lon) <= 180)) return undefined;
    const body = text(content["body"]) ?? "";
    const accuracy = found[3] === undefined ? undefined : Number(found[3]);
    return { kind: "location", lat, lon, body, ...(accuracy !== undefined ? { accuracy } : {}) };
}

// ---------------------------------------------------------------- polls (MSC3381)

function words(value: unknown): string {
    if (!isObject(value)) return "";
    const plain = text(value["org.matrix.msc1767.text"]) ?? text(value["body"]) ?? text(value["m.text"]);
    if (plain !== undefined) return plain;
    const parts = value["m.text"];
    return Array.isArray(parts) && isObject(parts[0]) ? (text(parts[0]["body"]) ?? "") : "";
}

function emptyPoll(content: Json): Poll {
    const start = content["m.poll"] ?? content["org.matrix.msc3381.poll.start"];
    const said = isObject(start) ? start : {};
    const answers = Array.isArray(said["answers"]) ? said["answers"].filter(isObject).slice(0, 20) : [];
    return {
        question: words(said["question"]),
        open: !String(said["kind"] ?? "").includes("undisclosed"),
        ended: false,
        maxChoices: Math.max(1, number(said["max_selections"]) ?? 1),
        answers: answers.map((answer) => ({
            id: text(answer["m.id"]) ?? text(answer["id"]) ?? "",
            text: words(answer),
            votes: 0,
            mine: false,
            winner: false,
        })),
        voters: 0,
    };
}

/** Counts the votes: the newest of each person before the end. `mayEnd`: who else may end it. */
export function countPoll(
    poll: Poll,
    related: StoredEvent[],
    me: UserId,
    mayEnd: (userId: UserId) => boolean,
): Poll {
    const ends = related.filter((e) => POLL_END.includes(meaning(e).type) && mayEnd(e.sender) && e.redactedBy === undefined);
    const endTs = ends.length > 0 ? Math.min(...ends.map((e) => e.ts)) : Infinity;
    const newest = new Map<UserId, StoredEvent>();
    for (const event of related) {
        if (!POLL_ANSWER.includes(meaning(event).type) || event.ts > endTs || event.redactedBy !== undefined) continue;
        const before = newest.get(event.sender);
        if (!before || before.ts <= event.ts) newest.set(event.sender, event);
    }
    const counts = new Map<string, number>();
    const mine = new Set<string>();
    let voters = 0;
    for (const [sender, event] of newest) {
        const chosen = choices(meaning(event).content, poll);
        if (chosen.length > 0) voters += 1;
        for (const id of chosen) counts.set(id, (counts.get(id) ?? 0) + 1);
        if (sender === me) chosen.forEach((id) => mine.add(id));
    }
    const ended = endTs !== Infinity;
    const most = Math.max(0, ...counts.values());
    const shown = ended || poll.open;
    const answers = poll.answers.map((answer) => {
        const votes = counts.get(answer.id) ?? 0;
        return { ...answer, votes: shown ? votes : 0, mine: mine.has(answer.id), winner: ended && most > 0 && votes === most };
    });
    return { ...poll, ended, voters, answers };
}

function choices(content: Json, poll: Poll): string[] {
    const said = content["m.selections"] ?? (isObject(content["org.matrix.msc3381.poll.response"])
        ? content["org.matrix.msc3381.poll.response"]["answers"]
        : undefined);
    if (!Array.isArray(said)) return [];
    const known = new Set(poll.answers.map((answer) => answer.id));
    const chosen = [...new Set(said.filter((id): id is string => known.has(id as string)))];
    return chosen.slice(0, poll.maxChoices);
}

// ---------------------------------------------------------------- state

function stateChange(event: StoredEvent): MemberChange | StateChange | undefined {
    const { type, content } = event;
    if (type === "m.room.member") return memberChange(event);
    const says = (change: StateChange["change"], more: Partial<StateChange> = {}): StateChange => ({
        kind: "state",
        change,
        type,
        ...more,
    });
    switch (type) {
        case "m.room.create":
            return says("created");
        case "m.room.encryption":
            return says("encrypted");
        case "m.room.name":
            return says("named", { text: text(content["name"]) ?? "" });
        case "m.room.topic":
            return says("topic", { text: text(content["topic"]) ?? "" });
        case "m.room.avatar":
            return says("avatar");
        case "m.room.pinned_events": {
            const now = Array.isArray(content["pinned"]) ? content["pinned"].length : 0;
            const before = Array.isArray(event.prev?.["pinned"]) ? event.prev["pinned"].length : 0;
            return says(now >= before ? "pinned" : "unpinned");
        }
        case "m.room.tombstone":
            return says("replaced", { text: text(content["replacement_room"]) ?? "" });
        case "m.room.power_levels":
            return event.prev ? says("power") : undefined;
        case "m.room.join_rules":
            return event.prev ? says("join-rule", { text: text(content["join_rule"]) ?? "" }) : undefined;
        case "com.beeper.disappearing_timer":
            return says("timer", { ms: content["type"] === "after_send" ? (number(content["timer"]) ?? 0) : 0 });
        default:
            return undefined;
    }
}

function memberChange(event: StoredEvent): MemberChange | undefined {
    const user = event.stateKey ?? "";
    const [now, before] = [event.content, event.prev ?? {}];
    const [is, was] = [text(now["membership"]), text(before["membership"])];
    const own = user === event.sender;
    const userName = text(now["displayname"]) ?? text(before["displayname"]) ?? "";
    const base = { kind: "member" as const, user, userName };
    const reason = text(now["reason"]);
    const says = (change: MemberChange["change"]): MemberChange =>
        reason ? { ...base, change, reason } : { ...base, change };
    if (is === "join" && was === "join") {
        const oldName = text(before["displayname"]);
        if (oldName !== text(now["displayname"])) return { ...says("renamed"), oldName: oldName ?? "" };
        return before["avatar_url"] !== now["avatar_url"] ? says("new-avatar") : undefined;
    }
    if (is === "join") return says("joined");
    if (is === "invite") return says("invited");
    if (is === "knock") return says("knocked");
    if (is === "ban") return says("banned");
    if (is !== "leave") return undefined;
    if (was === "ban") return says("unbanned");
    if (was === "invite") return says(own ? "refused" : "withdrawn");
    return says(own ? "left" : "kicked");
}

/** The one line that lists show of a content: its kind, and text if it has one. */
export function inOneLine(content: ItemContent): { kind: ContentKind; text?: string; about?: string } {
    const line = (said: string | undefined): { kind: ContentKind; text?: string } =>
        said ? { kind: content.kind, text: said.replace(/\s+/g, " ").slice(0, PREVIEW_MAX) } : { kind: content.kind };
    switch (content.kind) {
        case "text":
            return line(content.body);
        case "image":
        case "video":
            return line(content.caption);
        case "file":
            return line(content.caption ?? content.media.name);
        case "audio":
            return line(content.caption ?? content.media.name);
        case "sticker":
            return line(content.media.name);
        case "poll":
            return line(content.poll.question);
        case "location":
            return line(content.body);
        case "unsupported":
            return line(content.body);
        case "member":
            return { kind: "member", text: content.change, about: content.userName || content.user };
        case "state":
            return { kind: "state", text: content.change, ...(content.text ? { about: content.text } : {}) };
        default:
            return { kind: content.kind };
    }
}

/** Words of a content that search looks through. */
export function searchable(type: string, content: Json): string {
    if (type === "m.room.message") {
        const [name, body] = [text(content["filename"]) ?? "", text(content["body"]) ?? ""];
        return name === body ? withoutFallback(body, content) : `${withoutFallback(body, content)} ${name}`;
    }
    if (POLL_START.includes(type)) {
        const poll = emptyPoll(content);
        return [poll.question, ...poll.answers.map((answer) => answer.text)].join(" ");
    }
    return "";
}

/** Whether an event of this type begins a poll. */
export function isPoll(type: string): boolean {
    return POLL_START.includes(type);
}

/** Whether a content names somebody. # CS #user-and-room-mentions */
export function mentions(content: Json, userId: UserId): boolean {
    const named = content["m.mentions"];
    if (!isObject(named)) return false;
    if (named["room"] === true) return true;
    return Array.isArray(named["user_ids"]) && named["user_ids"].includes(userId);
}
