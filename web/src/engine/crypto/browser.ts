// The crypto part in a browser: its WebAssembly is fetched with progress, then taken from the cache.

import * as wasm from "@matrix-org/matrix-sdk-crypto-wasm";
import wasmUrl from "../../../node_modules/@matrix-org/matrix-sdk-crypto-wasm/pkg/matrix_sdk_crypto_wasm_bg.wasm?url";
import { Fault } from "../faults";
import type { LoadCrypto } from "../signed_in";
import { open } from "./load";

/** How much larger it is than its Brotli form, for the progress bar. */
const PRESSED = 3.75;

/** Reads it once to know how far it is; the second reading finds it in the cache (immutable). */
async function warm(onProgress: (loaded: number, total: number) => void): Promise<void> {
    const answer = await fetch(wasmUrl);
    if (!answer.ok || !answer.body) throw new Fault("offline", `HTTP ${answer.status}`);
    const length = Number(answer.headers.get("content-length")) || 1_300_000;
    const total = Math.round(answer.headers.get("content-encoding") ? length * PRESSED : length);
    let loaded = 0;
    let told = 0;
    const reader = answer.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
        loaded += part.value.length;
        if (loaded - told < 65_536) continue;
        told = loaded;
        onProgress(Math.min(loaded, total), total);
    }
    onProgress(total, total);
}

export const loadCrypto: LoadCrypto = async (session, onProgress) => {
    await warm(onProgress);
    await wasm.initAsync(wasmUrl);
    return open(wasm, session);
};
