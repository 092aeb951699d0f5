// Encrypted files: AES-CTR with a fresh key, SHA-256 of what goes up. # CS #sending-encrypted-attachments

import { fromBase64, toBase64, toBase64Url } from "./crypto/base64";
import { Fault } from "./faults";
import type { EncryptedFile } from "./types";

export type FileSecret = Omit<EncryptedFile, "url">;

const params = (iv: Uint8Array<ArrayBuffer>): AesCtrParams => ({ name: "AES-CTR", counter: iv, length: 64 });

export async function encryptFile(plain: ArrayBuffer): Promise<{ sealed: ArrayBuffer; secret: FileSecret }> {
    const raw = crypto.getRandomValues(new Uint8Array(32));
    const iv = new Uint8Array(16);
    crypto.getRandomValues(iv.subarray(0, 8)); // the other half counts from zero
    const key = await crypto.subtle.importKey("raw", raw, "AES-CTR", false, ["encrypt"]);
    const sealed = await crypto.subtle.encrypt(params(iv), key, plain);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", sealed));
    return {
        sealed,
        secret: {
            v: "v2",
            key: { alg: "A256CTR", ext: true, k: toBase64Url(raw), key_ops: ["encrypt", "decrypt"], kty: "oct" },
            iv: toBase64(iv),
            hashes: { sha256: toBase64(hash) },
        },
    };
}

/** `bad-input` where the bytes are not those that the sender encrypted. */
export async function decryptFile(sealed: ArrayBuffer, file: FileSecret): Promise<ArrayBuffer> {
    const told = file.hashes["sha256"]?.replace(/=+$/, "");
    const hash = toBase64(new Uint8Array(await crypto.subtle.digest("SHA-256", sealed)));
    if (!told || told !== hash) throw new Fault("bad-input", "the file was changed on its way");
    const raw = fromBase64(file.key.k);
    if (file.key.alg !== "A256CTR" || raw.length !== 32) throw new Fault("bad-input", "an unknown cipher");
    const key = await crypto.subtle.importKey("raw", raw, "AES-CTR", false, ["decrypt"]);
    const iv = new Uint8Array(16);
    iv.set(fromBase64(file.iv).subarray(0, 16));
    return crypto.subtle.decrypt(params(iv), key, sealed);
}
