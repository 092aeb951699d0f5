// Writing: what people do becomes letters in the outbox.

import { isPoll, meaning } from "./content";
import { Fault } from "./faults";
import type { History } from "./history";
import { formatMarkdown } from "./markdown";
import { isObject, type Json, type StoredFile } from "./matrix";
import type { Letter, Outbox } from "./outbox";
import { isEncrypted } from "./room_record";
import type { ComposerCalls, Draft, EventId, FileToSend, Picture, RoomId, SendTo, UserId } from "./types";
import type { World } from "./world";

const NAME_MAX = 255;

export class Composer implements ComposerCalls {
    constructor(
        readonly world: World,
        readonly outbox: Outbox,
        readonly history: History,
    ) {}

    async #relates(to: SendTo): Promise<Json> {
        if (to.thread) {
            const reply = to.replyTo ?? to.thread;
            const relates = { rel_type: "m.thread", event_id: to.thread, is_falling_back: !to.replyTo, "m.in_reply_to": { event_id: reply } };
            return { "m.relates_to": relates };
        }
        return to.replyTo ? { "m.relates_to": { "m.in_reply_to": { event_id: to.replyTo } } } : {};
    }

    /** Whom a message names: those it says, and whose message it answers. */
    async #mentions(to: SendTo, named: UserId[] = []): Promise<Json> {
        const users = new Set(named);
        if (to.replyTo) {
            const answered = await this.world.store.event(to.roomId, to.replyTo);
            if (answered && answered.sender !== this.world.me) users.add(answered.sender);
        }
        const room = named.includes("@room");
        users.delete("@room");
        return { "m.mentions": { ...(users.size > 0 ? { user_ids: [...users] } : {}), ...(room ? { room: true } : {}) } };
    }

    async text(to: SendTo, markdown: string, mentions?: UserId[], emote = false): Promise<string> {
        const content = { msgtype: emote ? "m.emote" : "m.text", ...formatted(markdown) };
        const more = { ...(await this.#mentions(to, mentions)), ...(await this.#relates(to)) };
        return this.#add(to.roomId, "m.room.message", { ...content, ...more });
    }

    async edit(roomId: RoomId, eventId: EventId, markdown: string, mentions?: UserId[]): Promise<string> {
        const event = await this.history.event(roomId, eventId);
        const { content } = meaning(event);
        const named = await this.#mentions({ roomId }, mentions);
        const fresh: Json = { ...content, ...named, ...formatted(markdown) };
        if (fresh["format"] && !formatted(markdown)["format"]) {
            delete fresh["format"];
            delete fresh["formatted_body"];
        }
        delete fresh["m.relates_to"];
        delete fresh["m.new_content"];
        const relates = { rel_type: "m.replace", event_id: eventId };
        return this.#add(roomId, "m.room.message", { ...fresh, body: `* ${String(fresh["body"])}`, "m.new_content": fresh, "m.mentions": {}, "m.relates_to": relates });
    }

    async file(to: SendTo, file: FileToSend): Promise<string> {
        const encrypted = isEncrypted(this.world.room(to.roomId));
        const name = file.name.replace(/[\u0000-\u001f/\\]/g, "_").slice(0, NAME_MAX) || "file";
        const main = stored(file.blob, name, file.mime, encrypted);
        const files = [main];
        const info: Json = { size: file.blob.size, mimetype: file.mime };
        if (file.width && file.height) Object.assign(info, { w: file.width, h: file.height });
        if (file.durationMs !== undefined) info["duration"] = Math.round(file.durationMs);
        if (file.blurhash) info["xyz.amorgan.blurhash"] = file.blurhash;
        if (file.thumb) {
            const thumb = stored(file.thumb.blob, "thumbnail", file.thumb.mime, encrypted);
            files.push(thumb);
            info["thumbnail_url"] = `local:${thumb.id}`;
            info["thumbnail_info"] = { w: file.thumb.width, h: file.thumb.height, mimetype: file.thumb.mime, size: file.thumb.blob.size };
        }
        const kinds = { image: "m.image", video: "m.video", voice: "m.audio", audio: "m.audio", file: "m.file" };
        const said: Json = file.caption ? { ...formatted(file.caption), filename: name } : { body: name, filename: name };
        const content: Json = { msgtype: kinds[file.kind], ...said, info, url: `local:${main.id}` };
        if (file.kind === "voice") Object.assign(content, voice(file));
        Object.assign(content, await this.#mentions(to), await this.#relates(to));
        return this.outbox.add({ roomId: to.roomId, type: "m.room.message", content, files });
    }

    async sticker(to: SendTo, sticker: { body: string; picture: Picture }): Promise<string> {
        const { media, width, height } = sticker.picture;
        const info = { mimetype: media.mime, ...(width && height ? { w: width, h: height } : {}), ...(media.size ? { size: media.size } : {}) };
        const where = media.file ? { file: media.file } : { url: media.mxc };
        return this.#add(to.roomId, "m.sticker", { body: sticker.body, info, ...where, ...(await this.#relates(to)) });
    }

    async location(to: SendTo, lat: number, lon: number, body: string): Promise<string> {
        if (!(Math.abs(lat) <= 90) || !(Math.abs(lon) <= 180)) throw new Fault("bad-input", "not a place");
        const uri = `geo:${lat.toFixed(6)},${lon.toFixed(6)}`;
        const content = { msgtype: "m.location", body: body || uri, geo_uri: uri, "org.matrix.msc3488.location": { uri }, "org.matrix.msc3488.asset": { type: "m.pin" } };
        return this.#add(to.roomId, "m.room.message", { ...content, ...(await this.#relates(to)) });
    }

    async poll(to: SendTo, poll: { question: string; answers: string[]; open: boolean; maxChoices: number }): Promise<string> {
        const answers = poll.answers.map((answer) => answer.trim()).filter(Boolean);
        if (answers.length < 2 || answers.length > 20) throw new Fault("bad-input", "2 to 20 answers");
        const start = {
            question: { "org.matrix.msc1767.text": poll.question },
            kind: `org.matrix.msc3381.poll.${poll.open ? "disclosed" : "undisclosed"}`,
            max_selections: Math.min(Math.max(1, poll.maxChoices), answers.length),
            answers: answers.map((answer, i) => ({ id: `a${i + 1}`, "org.matrix.msc1767.text": answer })),
        };
        const fallback = [poll.question, ...answers.map((answer, i) => `${i + 1}. ${answer}`)].join("\n");
        const content = { "org.matrix.msc3381.poll.start": start, "org.matrix.msc1767.text": fallback };
        return this.#add(to.roomId, "org.matrix.msc3381.poll.start", { ...content, ...(await this.#relates(to)) });
    }

    async vote(roomId: RoomId, pollId: EventId, answerIds: string[]): Promise<string> {
        const relates = { rel_type: "m.reference", event_id: pollId };
        const content = { "org.matrix.msc3381.poll.response": { answers: answerIds }, "m.relates_to": relates };
        return this.#add(roomId, "org.matrix.msc3381.poll.response", content);
    }

    async endPoll(roomId: RoomId, pollId: EventId): Promise<string> {
        const relates = { rel_type: "m.reference", event_id: pollId };
        const content = { "org.matrix.msc3381.poll.end": {}, "org.matrix.msc1767.text": "✓", "m.relates_to": relates };
        return this.#add(roomId, "org.matrix.msc3381.poll.end", content);
    }

    async react(roomId: RoomId, eventId: EventId, key: string): Promise<void> {
        const related = (await this.world.store.related(roomId, [eventId])).get(eventId) ?? [];
        const own = related.find((event) => {
            const relates = event.content["m.relates_to"];
            return event.sender === this.world.me && event.relType === "m.annotation" && event.redactedBy === undefined && isObject(relates) && relates["key"] === key;
        });
        if (own) await this.redact(roomId, own.id);
        else await this.#add(roomId, "m.reaction", { "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key } });
    }

    async redact(roomId: RoomId, eventId: EventId, reason?: string): Promise<void> {
        await this.outbox.add({ roomId, type: "m.room.redaction", content: reason ? { reason } : {}, redacts: eventId });
    }

    async forward(roomId: RoomId, eventId: EventId, to: RoomId[]): Promise<void> {
        const event = await this.history.event(roomId, eventId);
        const { type, content } = meaning(event);
        if (type !== "m.room.message" && type !== "m.sticker" && !isPoll(type)) throw new Fault("bad-input", "this can't be forwarded");
        const bare: Json = { ...content, "m.mentions": {} };
        delete bare["m.relates_to"];
        delete bare["m.new_content"];
        if (!isEncrypted(this.world.room(roomId)) || bare["file"] === undefined) {
            for (const target of to) await this.#add(target, type, bare);
            return;
        }
        // a sealed file keeps its key in the message: into a clear room it must not go so
        if (to.some((target) => !isEncrypted(this.world.room(target)))) throw new Fault("forbidden", "a sealed file does not go into a clear room");
        for (const target of to) await this.#add(target, type, bare);
    }

    event(roomId: RoomId, type: string, content: object): Promise<string> {
        return this.#add(roomId, type, content as Json);
    }

    #add(roomId: RoomId, type: string, content: Json): Promise<string> {
        this.world.room(roomId);
        const letter: Letter = { roomId, type, content };
        return this.outbox.add(letter);
    }

    async draft(roomId: RoomId, thread?: EventId): Promise<Draft | undefined> {
        return this.world.store.get("drafts", draftKey(roomId, thread));
    }

    async setDraft(roomId: RoomId, draft: Draft | null, thread?: EventId): Promise<void> {
        const key = draftKey(roomId, thread);
        const empty = !draft || (draft.text.trim() === "" && !draft.replyTo && !draft.editing);
        if (empty) await this.world.store.delete("drafts", key);
        else await this.world.store.put("drafts", draft, key);
        if (thread) return;
        const before = this.world.drafts.get(roomId);
        const now = empty ? undefined : draft.text.slice(0, 200);
        if (now) this.world.drafts.set(roomId, now);
        else this.world.drafts.delete(roomId);
        if (before !== now) this.world.told([roomId]);
    }
}

export function draftKey(roomId: RoomId, thread?: EventId): string {
    return thread ? `${roomId} ${thread}` : roomId;
}

function formatted(markdown: string): Json {
    const { body, html } = formatMarkdown(markdown);
    return html ? { body, format: "org.matrix.custom.html", formatted_body: html } : { body };
}

function stored(blob: Blob, name: string, mime: string, encrypted: boolean): StoredFile {
    return { id: crypto.randomUUID(), blob, name, mime, encrypted, sent: 0, done: false };
}

/** As clients write voice messages today (MSC3245, MSC1767). */
function voice(file: FileToSend): Json {
    const waveform = (file.waveform ?? []).slice(0, 100).map((value) => Math.round(Math.min(1, Math.max(0, value)) * 1024));
    return { "org.matrix.msc1767.audio": { duration: Math.round(file.durationMs ?? 0), waveform }, "org.matrix.msc3245.voice": {} };
}

