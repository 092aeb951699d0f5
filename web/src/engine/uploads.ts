// Files on their way up. Each is stored before its first byte goes out; what was cut goes on where
// the server says it is (docs/media.md, "Uploads in pieces").

import { encryptFile } from "./attachments";
import { Fault, faultOf } from "./faults";
import type { OutboxRow, StoredFile } from "./matrix";
import type { Mxc, TransferState } from "./types";
import type { World } from "./world";

const PIECE_MIN = 64 * 1024;
const PIECE_MAX = 2 * 1024 * 1024;
const QUICK_MS = 2_000;

export class Uploads {
    readonly #states = new Map<string, TransferState>();
    readonly #aborts = new Map<string, AbortController>();
    #pieces: boolean | undefined;

    constructor(readonly world: World) {}

    stateOf(row: OutboxRow): TransferState | undefined {
        const id = row.uploads?.[0];
        return id ? this.#states.get(id) : undefined;
    }

    #tell(file: StoredFile, change: Partial<TransferState>): void {
        const total = file.sealed?.size ?? file.blob.size;
        const before = this.#states.get(file.id) ?? { id: file.id, direction: "up" as const, done: 0, total, paused: false };
        const next: TransferState = { ...before, total, ...change };
        if (!change.failed) delete next.failed;
        this.#states.set(file.id, next);
        this.world.emit("transfer", next);
    }

    pause(ids: string[]): void {
        for (const id of ids) this.#aborts.get(id)?.abort();
        for (const id of ids) {
            const state = this.#states.get(id);
            if (state) this.#states.set(id, { ...state, paused: true });
            if (state) this.world.emit("transfer", { ...state, paused: true });
        }
    }

    forget(ids: string[]): void {
        for (const id of ids) {
            this.#aborts.get(id)?.abort();
            this.#states.delete(id);
        }
    }

    /** Brings a stored file to the server, from wherever it is; gives where it lies. */
    async finish(id: string): Promise<{ mxc: Mxc; file: StoredFile }> {
        const file = await this.world.store.file(id);
        if (!file) throw new Fault("not-found", "the file is no longer here");
        const abort = new AbortController();
        this.#aborts.set(id, abort);
        try {
            this.#tell(file, { done: file.sent, paused: false });
            if (file.encrypted && !file.sealed) {
                const { sealed, secret } = await encryptFile(await file.blob.arrayBuffer());
                Object.assign(file, { sealed: new Blob([sealed]), secret });
                await this.#keep(file);
            }
            if (!file.done) await this.#send(file, abort.signal);
            if (!file.mxc) throw new Fault("bug", "sent to nowhere");
            return { mxc: file.mxc, file };
        } catch (error) {
            const fault = faultOf(error);
            this.#tell(file, fault.code === "cancelled" ? { paused: true } : { failed: fault });
            throw error;
        } finally {
            this.#aborts.delete(id);
        }
    }

    async #keep(file: StoredFile): Promise<void> {
        await this.world.store.put("files", file);
    }

    async #announce(file: StoredFile): Promise<void> {
        const told = await this.world.http.ask<{ content_uri: string; unused_expires_at?: number }>("POST", "/_matrix/media/v1/create", { body: {} });
        file.mxc = told.content_uri;
        file.sent = 0;
        if (told.unused_expires_at) file.expiresAt = told.unused_expires_at;
        await this.#keep(file);
    }

    async #send(file: StoredFile, signal: AbortSignal): Promise<void> {
        if (!file.mxc || (file.expiresAt ?? Infinity) < Date.now()) await this.#announce(file);
        try {
            const body = file.sealed ?? file.blob;
            const whole = body.size <= PIECE_MIN || !(await this.#inPieces());
            if (whole) await this.#put(file, body, signal);
            else await this.#sendPieces(file, body, signal);
        } catch (error) {
            const fault = faultOf(error);
            if (fault.errcode !== "M_CANNOT_OVERWRITE_MEDIA") {
                if (fault.code === "not-found") delete file.mxc; // its time was over: announce anew
                if (fault.code === "not-found") await this.#keep(file);
                throw fault.code === "not-found" ? new Fault("server", fault.text) : error;
            }
            // it is there: only the answer was lost
        }
        file.done = true;
        file.sent = (file.sealed ?? file.blob).size;
        await this.#keep(file);
        this.#tell(file, { done: file.sent });
    }

    async #inPieces(): Promise<boolean> {
        if (this.#pieces === undefined) {
            const config = await this.world.http.ask("GET", "/_matrix/client/v1/media/config");
            this.#pieces = config["org.kerwen.upload.pieces"] === true;
        }
        return this.#pieces;
    }

    async #put(file: StoredFile, raw: Blob, signal: AbortSignal, range?: string): Promise<number> {
        const place = file.mxc?.slice("mxc://".length) ?? "";
        const name = file.encrypted ? "" : `?filename=${encodeURIComponent(file.name)}`;
        const headers: Record<string, string> = { "content-type": file.encrypted ? "application/octet-stream" : file.mime };
        if (range) headers["content-range"] = range;
        const timeoutMs = 300_000;
        const told = await this.world.http.ask("PUT", `/_matrix/media/v3/upload/${place}${name}`, { raw, headers, signal, timeoutMs });
        return typeof told["received"] === "number" ? told["received"] : raw.size;
    }

    async #sendPieces(file: StoredFile, body: Blob, signal: AbortSignal): Promise<void> {
        let piece = PIECE_MIN;
        if (file.sent > 0 || this.#states.get(file.id)) {
            file.sent = await this.#put(file, new Blob([]), signal, `bytes */${body.size}`);
        }
        while (file.sent < body.size) {
            const end = Math.min(file.sent + piece, body.size);
            const begun = Date.now();
            const range = `bytes ${file.sent}-${end - 1}/${body.size}`;
            file.sent = await this.#put(file, body.slice(file.sent, end), signal, range);
            await this.#keep(file);
            this.#tell(file, { done: file.sent });
            if (Date.now() - begun < QUICK_MS) piece = Math.min(piece * 2, PIECE_MAX);
            else piece = PIECE_MIN;
        }
    }
}
