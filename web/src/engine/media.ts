// Files on their way down, decrypted, and kept up to a budget.

import { decryptFile } from "./attachments";
import { Fault, faultOf } from "./faults";
import { asked } from "./idb";
import { isObject, number, text } from "./matrix";
import type { KeptMedia } from "./store";
import type { MediaCalls, MediaRef, Mxc, Picture } from "./types";
import type { World } from "./world";

const BUDGET = 200 * 1024 * 1024;
const BUDGET_SAVER = 50 * 1024 * 1024;
const KEEP_MAX = 25 * 1024 * 1024;
const STICKERS = "org.kerwen.stickers";

export class Media implements MediaCalls {
    readonly #running = new Map<string, { work: Promise<Blob>; abort: AbortController }>();
    #limit: number | undefined;

    constructor(readonly world: World) {}

    get(ref: MediaRef): Promise<Blob> {
        if (ref.local) return this.#local(ref.local);
        const mxc = ref.file?.url ?? ref.mxc;
        if (!mxc) return Promise.reject(new Fault("not-found", "no place is named"));
        return this.#once(mxc, (signal) => this.#fetch(mxc, ref, signal));
    }

    async #local(id: string): Promise<Blob> {
        const file = await this.world.store.file(id);
        if (!file) throw new Fault("not-found", "the file is no longer here");
        return file.blob;
    }

    thumb(mxc: Mxc, width: number, height: number, crop = true): Promise<Blob> {
        const size = `${Math.round(width)}x${Math.round(height)}${crop ? "c" : ""}`;
        return this.#once(`${mxc}#${size}`, async (signal) => {
            const query = `?width=${Math.round(width)}&height=${Math.round(height)}&method=${crop ? "crop" : "scale"}`;
            const answer = await this.world.http.send("GET", `/_matrix/client/v1/media/thumbnail/${placeOf(mxc)}${query}`, { signal });
            if (!answer.ok) throw new Fault(answer.status === 404 ? "not-found" : "server", `HTTP ${answer.status}`, { status: answer.status });
            return answer.blob();
        });
    }

    async cancel(ref: MediaRef): Promise<void> {
        this.#running.get(ref.file?.url ?? ref.mxc ?? "")?.abort.abort();
    }

    /** From what is kept, else fetched: one fetch for all who ask. */
    #once(key: string, fetch: (signal: AbortSignal) => Promise<Blob>): Promise<Blob> {
        const running = this.#running.get(key);
        if (running) return running.work;
        const abort = new AbortController();
        const work = (async () => {
            const kept = await this.world.store.get<KeptMedia>("media", key);
            if (kept) {
                if (Date.now() - kept.used > 3_600_000) void this.world.store.put("media", { ...kept, used: Date.now() });
                return kept.blob;
            }
            const blob = await fetch(abort.signal);
            if (blob.size <= KEEP_MAX) await this.#keep(key, blob).catch(() => undefined); // a full disk stops no picture
            return blob;
        })().finally(() => this.#running.delete(key));
        this.#running.set(key, { work, abort });
        return work;
    }

    async #fetch(mxc: Mxc, ref: MediaRef, signal: AbortSignal): Promise<Blob> {
        const url = `/_matrix/client/v1/media/download/${placeOf(mxc)}?timeout_ms=20000`;
        const parts: Uint8Array<ArrayBuffer>[] = [];
        let done = 0;
        let total = ref.size ?? 0;
        for (let tries = 0; ; tries++) {
            try {
                const headers: Record<string, string> = done > 0 ? { range: `bytes=${done}-` } : {};
                const answer = await this.world.http.send("GET", url, { signal, headers, timeoutMs: 120_000 });
                if (answer.status === 416 && done > 0) break; // all of it is here
                if (!answer.ok) throw new Fault(answer.status === 404 ? "not-found" : "server", `HTTP ${answer.status}`, { status: answer.status });
                if (answer.status !== 206 && done > 0) {
                    parts.length = 0;
                    done = 0;
                }
                total = done + (Number(answer.headers.get("content-length")) || Math.max(0, total - done));
                await this.#read(answer, signal, (part) => {
                    parts.push(part);
                    done += part.length;
                    this.world.emit("transfer", { id: mxc, direction: "down", done, total, paused: false });
                });
                break;
            } catch (error) {
                // a line that was cut goes on where it was, as long as something came
                if (signal.aborted || tries >= 5 || (error instanceof Fault && error.code !== "offline")) throw new Fault(signal.aborted ? "cancelled" : faultOf(error).code, faultOf(error).text);
            }
        }
        const whole = new Blob(parts, { type: safeType(ref.mime) });
        if (!ref.file) return whole;
        const plain = await decryptFile(await whole.arrayBuffer(), ref.file);
        return new Blob([plain], { type: safeType(ref.mime) });
    }

    async #read(answer: Response, signal: AbortSignal, onPart: (part: Uint8Array<ArrayBuffer>) => void): Promise<void> {
        if (!answer.body) return onPart(new Uint8Array(await answer.arrayBuffer()));
        const reader = answer.body.getReader();
        for (;;) {
            if (signal.aborted) {
                void reader.cancel();
                throw new Fault("cancelled");
            }
            let part: ReadableStreamReadResult<Uint8Array>;
            try {
                part = await reader.read();
            } catch (error) {
                throw new Fault("offline", String(error));
            }
            if (part.done) return;
            onPart(new Uint8Array(part.value));
        }
    }

    async #keep(key: string, blob: Blob): Promise<void> {
        const budget = this.world.saver ? BUDGET_SAVER : BUDGET;
        await this.world.store.write(["media", "meta"], async (tx) => {
            const store = tx.objectStore("media");
            const kept: KeptMedia = { key, blob, size: blob.size, used: Date.now() };
            store.put(kept);
            let sum = ((await asked<number | undefined>(tx.objectStore("meta").get("media"))) ?? 0) + blob.size;
            if (sum > budget) sum = await evict(store, sum, budget * 0.8);
            tx.objectStore("meta").put(sum, "media");
        });
    }

    async use(): Promise<number> {
        return (await this.world.store.get<number>("meta", "media")) ?? 0;
    }

    async clear(): Promise<void> {
        await this.world.store.write(["media", "meta"], (tx) => {
            tx.objectStore("media").clear();
            tx.objectStore("meta").put(0, "media");
        });
    }

    async limit(): Promise<number> {
        this.#limit ??= number((await this.world.http.ask("GET", "/_matrix/client/v1/media/config"))["m.upload.size"]) ?? Infinity;
        return this.#limit;
    }

    async upload(blob: Blob, name?: string): Promise<Mxc> {
        const query = name ? `?filename=${encodeURIComponent(name)}` : "";
        const headers = { "content-type": blob.type || "application/octet-stream" };
        const told = await this.world.http.ask<{ content_uri: string }>("POST", `/_matrix/media/v3/upload${query}`, { raw: blob, headers, timeoutMs: 600_000 });
        return told.content_uri;
    }

    async stickers(): Promise<{ body: string; picture: Picture }[]> {
        const data = await this.world.store.get<Record<string, unknown>>("accountData", ["", STICKERS]);
        const list = Array.isArray(data?.["stickers"]) ? data["stickers"].filter(isObject) : [];
        return list.filter((one) => isObject(one["picture"])).map((one) => ({ body: text(one["body"]) ?? "", picture: one["picture"] as unknown as Picture }));
    }

    async addSticker(sticker: { body: string; picture: Picture }): Promise<void> {
        if (!sticker.picture.media.mxc) throw new Fault("bad-input", "a sticker is a clear picture");
        const stickers = [...(await this.stickers()), sticker].slice(-200);
        const url = `/user/${encodeURIComponent(this.world.me)}/account_data/${STICKERS}`;
        await this.world.http.ask("PUT", url, { body: { stickers } });
        await this.world.store.put("accountData", { stickers }, ["", STICKERS]);
    }
}

function evict(store: IDBObjectStore, sum: number, upTo: number): Promise<number> {
    return new Promise((resolve, reject) => {
        const request = store.index("used").openCursor();
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
        request.onsuccess = () => {
            const cursor = request.result;
            if (!cursor || sum <= upTo) return resolve(sum);
            sum -= (cursor.value as KeptMedia).size;
            cursor.delete();
            cursor.continue();
        };
    });
}

function placeOf(mxc: Mxc): string {
    const found = /^mxc:\/\/([^/?#]+)\/([A-Za-z0-9_-]+)$/.exec(mxc);
    if (!found) throw new Fault("bad-input", "not the address of a file");
    return `${encodeURIComponent(found[1] ?? "")}/${found[2]}`;
}

const SAFE = /^(image\/(png|jpeg|gif|webp|avif|bmp)|video\/(mp4|webm|ogg|quicktime)|audio\/[\w.+-]+|application\/pdf|text\/plain)$/;

/** What people send may not become a page of ours: only types that run nothing keep their name. */
export function safeType(mime: string): string {
    const bare = (mime.split(";")[0] ?? "").trim().toLowerCase();
    return SAFE.test(bare) ? bare : "application/octet-stream";
}
