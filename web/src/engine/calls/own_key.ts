// The key by which one device encrypts what it sends into a call: drawn anew when somebody comes or
// goes, so that who left cannot decode what follows, nor who came what was before.

import type { Ms } from "../types";

/** A key this young is given to who comes, instead of a new one: people come in bunches. */
const YOUNG_MS = 8_000;
/** Others need a moment to get a new key before it is used. */
const USE_AFTER_MS = 2_000;
const KEY_BYTES = 16;
const INDICES = 256;

export interface Handing {
    index: number;
    key: string;
    /** To whom, by identity. */
    to: string[];
    /** When this device itself goes over to it: ms from now; undefined: it is in use already. */
    useAfter?: Ms;
}

export class OwnKey {
    index = 0;
    key = draw();
    #drawnAt: Ms;
    /** Who has the key that is in use. */
    #has = new Set<string>();

    constructor(now: Ms = Date.now()) {
        this.#drawnAt = now;
    }

    /** What to send, now that these others are in the call. */
    others(present: ReadonlySet<string>, now: Ms = Date.now()): Handing | undefined {
        const came = [...present].filter((one) => !this.#has.has(one));
        const left = [...this.#has].some((one) => !present.has(one));
        if (came.length === 0 && !left) return undefined;
        if (!left && (now - this.#drawnAt < YOUNG_MS || this.#has.size === 0)) {
            for (const one of came) this.#has.add(one);
            return { index: this.index, key: this.key, to: came };
        }
        this.index = (this.index + 1) % INDICES;
        this.key = draw();
        this.#drawnAt = now;
        this.#has = new Set(present);
        return { index: this.index, key: this.key, to: [...present], useAfter: present.size > 0 ? USE_AFTER_MS : 0 };
    }

    /** These did not get it: they are asked again next time. */
    missed(identities: Iterable<string>): void {
        for (const one of identities) this.#has.delete(one);
    }
}

function draw(): string {
    return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(KEY_BYTES)))).replace(/=+$/, "");
}
