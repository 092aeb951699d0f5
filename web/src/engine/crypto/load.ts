// Brings the crypto part: its JavaScript as a chunk of its own, its WebAssembly with progress.

import { deleteDatabase } from "../idb";
import type { LoadedCrypto, SignedIn } from "../signed_in";
import { Keys } from "./keys";
import { Machine, type Wasm } from "./machine";
import { Verifications } from "./verification";

export function cryptoName(userId: string): string {
    return `kerwen-crypto-${userId}`;
}

/** The databases that the machine makes under a name. */
export async function removeCrypto(userId: string): Promise<void> {
    const name = cryptoName(userId);
    for (const part of ["matrix-sdk-crypto", "matrix-sdk-crypto-meta"]) await deleteDatabase(`${name}::${part}`);
}

export async function open(wasm: Wasm, session: SignedIn): Promise<LoadedCrypto> {
    const { world, history, told } = session;
    const machine = await Machine.open(wasm, world, history, cryptoName(world.me), told);
    const keys = new Keys(machine);
    const verifications = new Verifications(machine);
    return { machine, keys, verifications, close: () => machine.close() };
}
