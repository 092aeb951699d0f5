// Secret storage: `m.secret_storage.v1.aes-hmac-sha2`, by the browser's own primitives.
// # CS #msecret_storagev1aes-hmac-sha2

import { Fault } from "../faults";
import { isObject, text, type Json } from "../matrix";
import { fromBase64, toBase64 } from "./base64";

export const ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2";
const ZEROS = new Uint8Array(32);

interface Box {
    iv: string;
    ciphertext: string;
    mac: string;
}

async function keysOf(key: Uint8Array<ArrayBuffer>, name: string): Promise<[CryptoKey, CryptoKey]> {
    const base = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
    const info = new TextEncoder().encode(name);
    const bits = await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: ZEROS, info }, base, 512);
    const aes = crypto.subtle.importKey("raw", bits.slice(0, 32), "AES-CTR", false, ["encrypt", "decrypt"]);
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const mac = crypto.subtle.importKey("raw", bits.slice(32), hmac, false, ["sign", "verify"]);
    return Promise.all([aes, mac]);
}

const counter = (iv: Uint8Array<ArrayBuffer>): AesCtrParams => ({ name: "AES-CTR", counter: iv, length: 64 });

export async function seal(key: Uint8Array<ArrayBuffer>, name: string, secret: string, iv?: Uint8Array<ArrayBuffer>): Promise<Box> {
    const [aes, mac] = await keysOf(key, name);
    const start = iv ?? crypto.getRandomValues(new Uint8Array(16));
    if (!iv) start[8]! &= 0x7f; // some clients count in 63 bits
    const sealed = await crypto.subtle.encrypt(counter(start), aes, new TextEncoder().encode(secret));
    const tag = await crypto.subtle.sign("HMAC", mac, sealed);
    return { iv: toBase64(start), ciphertext: toBase64(new Uint8Array(sealed)), mac: toBase64(new Uint8Array(tag)) };
}

/** `bad-key` when it is another key, or somebody changed the box. */
export async function open(key: Uint8Array<ArrayBuffer>, name: string, box: unknown): Promise<string> {
    if (!isObject(box)) throw new Fault("bad-key", `no ${name} under this key`);
    const [aes, mac] = await keysOf(key, name);
    const sealed = fromBase64(text(box["ciphertext"]) ?? "");
    const right = await crypto.subtle.verify("HMAC", mac, fromBase64(text(box["mac"]) ?? ""), sealed);
    if (!right) throw new Fault("bad-key", `the key does not open ${name}`);
    const plain = await crypto.subtle.decrypt(counter(fromBase64(text(box["iv"]) ?? "")), aes, sealed);
    return new TextDecoder().decode(plain);
}

/** The account data that describes a key, with what proves it. */
export async function describe(key: Uint8Array<ArrayBuffer>): Promise<Json> {
    const { iv, mac } = await seal(key, "", "\0".repeat(32));
    return { algorithm: ALGORITHM, iv, mac };
}

/** Whether a key is the one that `description` is of. */
export async function matches(key: Uint8Array<ArrayBuffer>, description: Json): Promise<boolean> {
    if (description["algorithm"] !== ALGORITHM) return false;
    const [iv, mac] = [text(description["iv"]), text(description["mac"])];
    if (!iv || !mac) return true; // it says nothing of itself: the secrets will tell
    const proof = await seal(key, "", "\0".repeat(32), fromBase64(iv));
    return proof.mac === mac.replace(/=+$/, "");
}
