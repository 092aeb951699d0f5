// Writing in one room (or thread): the draft, what is answered or edited, typing.

import type { Draft, EventId, FileToSend, RoomId, SendTo, TimelineItem, UserId } from "../engine/types";
import { use } from "./engine";

const SAVE_MS = 400;
const TYPING_MS = 15_000;

export class ComposerModel {
    text = $state("");
    replyTo = $state.raw<TimelineItem | undefined>(undefined);
    editing = $state.raw<TimelineItem | undefined>(undefined);
    mentions = $state.raw<UserId[]>([]);
    #save: ReturnType<typeof setTimeout> | undefined;
    #typedAt = 0;

    constructor(
        readonly roomId: RoomId,
        readonly thread?: EventId,
    ) {}

    static open(roomId: RoomId, thread?: EventId): ComposerModel {
        const model = new ComposerModel(roomId, thread);
        void model.#load();
        return model;
    }

    async #load(): Promise<void> {
        const draft = await use().composer.draft(this.roomId, this.thread).catch(() => undefined);
        if (draft && this.text === "") [this.text, this.mentions] = [draft.text, draft.mentions ?? []];
    }

    /** Call on each change of the text: keeps the draft and says that one types. */
    changed(): void {
        clearTimeout(this.#save);
        this.#save = setTimeout(() => void this.keep(), SAVE_MS);
        if (this.thread || this.text === "" || Date.now() - this.#typedAt < TYPING_MS) return;
        this.#typedAt = Date.now();
        void use().rooms.typing(this.roomId, true).catch(() => undefined);
    }

    async keep(): Promise<void> {
        clearTimeout(this.#save);
        if (this.editing) return; // what is edited is no draft
        const draft: Draft = { text: this.text, ...(this.mentions.length > 0 ? { mentions: this.mentions } : {}) };
        await use().composer.setDraft(this.roomId, this.text.trim() ? draft : null, this.thread).catch(() => undefined);
    }

    get to(): SendTo {
        const to: SendTo = { roomId: this.roomId };
        if (this.thread) to.thread = this.thread;
        if (this.replyTo?.eventId) to.replyTo = this.replyTo.eventId;
        return to;
    }

    reply(item: TimelineItem): void {
        this.editing = undefined;
        this.replyTo = item;
    }

    edit(item: TimelineItem): void {
        if (item.content.kind !== "text") return;
        this.replyTo = undefined;
        this.editing = item;
        this.text = item.content.body;
    }

    cancel(): void {
        if (this.editing) this.text = "";
        this.replyTo = this.editing = undefined;
    }

    /** Resolves when the message is stored; the text stays if that fails. */
    async send(): Promise<void> {
        const said = this.text.trim();
        if (said === "") return;
        const { composer } = use();
        const emote = said.startsWith("/me ");
        const body = emote ? said.slice(4) : said;
        if (this.editing?.eventId) await composer.edit(this.roomId, this.editing.eventId, body, this.mentions);
        else await composer.text(this.to, body, this.mentions, emote);
        this.text = "";
        this.mentions = [];
        this.replyTo = this.editing = undefined;
        this.#typedAt = 0;
        await this.keep();
    }

    async sendFile(file: FileToSend): Promise<void> {
        await use().composer.file(this.to, file);
        this.replyTo = undefined;
    }
}
