// Files as object URLs for views: fetched once, let go when nobody shows them.

import { faultOf } from "../engine/faults";
import type { EngineFault, MediaRef, Mxc } from "../engine/types";
import { use } from "./engine";

const KEPT = 150;

interface Held {
    url?: string;
    fault?: EngineFault;
    users: number;
}

const held = new Map<string, Held>();

/** Old ones that nobody shows are let go. */
function tidy(): void {
    for (const [key, one] of held) {
        if (held.size <= KEPT) return;
        if (one.users > 0) continue;
        if (one.url) URL.revokeObjectURL(one.url);
        held.delete(key);
    }
}

export class MediaModel {
    url = $state<string | undefined>(undefined);
    failed = $state.raw<EngineFault | undefined>(undefined);
    readonly #key: string;

    constructor(key: string, fetch: () => Promise<Blob>) {
        this.#key = key;
        const known = held.get(key) ?? { users: 0 };
        known.users++;
        held.delete(key); // the newest stand last
        held.set(key, known);
        if (known.url) this.url = known.url;
        else void this.#load(known, fetch);
        tidy();
    }

    async #load(known: Held, fetch: () => Promise<Blob>): Promise<void> {
        try {
            const blob = await fetch();
            known.url ??= URL.createObjectURL(blob);
            this.url = known.url;
        } catch (error) {
            this.failed = faultOf(error);
        }
    }

    close(): void {
        const known = held.get(this.#key);
        if (known) known.users--;
    }
}

/** A file of a message. */
export function file(ref: MediaRef): MediaModel {
    return new MediaModel(ref.local ?? ref.file?.url ?? ref.mxc ?? "", () => use().media.get(ref));
}

/** An avatar or another small clear picture, `size` in CSS pixels. */
export function thumb(mxc: Mxc, size: number): MediaModel {
    const pixels = size <= 48 ? 96 : 320;
    return new MediaModel(`${mxc} ${pixels}`, () => use().media.thumb(mxc, pixels, pixels, true));
}
