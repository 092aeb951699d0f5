// The recovery key as people write it: base58 of 8B 01, 32 bytes, and a byte that makes the XOR
// zero. One text opens secret storage and, by its slot key, the vault. # CS #key-representation

import { Fault } from "../faults";

const LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const PREFIX = [0x8b, 0x01];
const SLOT = "kerwen/1 recovery key: vault slot";

export function written(key: Uint8Array): string {
    const raw = [...PREFIX, ...key];
    raw.push(raw.reduce((a, b) => a ^ b, 0));
    let number = raw.reduce((n, byte) => n * 256n + BigInt(byte), 0n);
    let letters = "";
    while (number > 0n) {
        letters = LETTERS.charAt(Number(number % 58n)) + letters;
        number /= 58n;
    }
    return letters.replace(/(.{4})(?=.)/g, "$1 ");
}

/** The 32 bytes of a typed key, spaces anywhere; `bad-key` where a letter is wrong. */
export function typed(text: string): Uint8Array<ArrayBuffer> {
    const letters = text.replace(/\s+/g, "");
    let number = 0n;
    for (const letter of letters.slice(0, 100)) {
        const value = LETTERS.indexOf(letter);
        if (value < 0) throw new Fault("bad-key", "a letter that is in no recovery key");
        number = number * 58n + BigInt(value);
    }
    const raw = new Uint8Array(35);
    for (let i = 34; i >= 0; i--) {
        raw[i] = Number(number & 0xffn);
        number >>= 8n;
    }
    const check = raw.reduce((a, b) => a ^ b, 0);
    if (number > 0n || raw[0] !== PREFIX[0] || raw[1] !== PREFIX[1] || check !== 0) {
        throw new Fault("bad-key", "not a recovery key");
    }
    return raw.slice(2, 34);
}

/** What the server keeps a slot of the vault under; the key itself never leaves. */
export async function slotKey(key: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
    const base = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
    const bits = await crypto.subtle.deriveBits(
        { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: new TextEncoder().encode(SLOT) },
        base,
        256,
    );
    return new Uint8Array(bits);
}
