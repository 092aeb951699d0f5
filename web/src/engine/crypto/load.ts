// Puts the crypto part together, once its WebAssembly is there.

import type { LoadedCrypto, SignedIn } from "../signed_in";
import { Keys } from "./keys";
import { Machine, type Wasm } from "./machine";
import { cryptoName } from "./remove";
import { Verifications } from "./verification";

export async function open(wasm: Wasm, session: SignedIn): Promise<LoadedCrypto> {
    const { world, history, told } = session;
    const machine = await Machine.open(wasm, world, history, cryptoName(world.me), told);
    const keys = new Keys(machine);
    const verifications = new Verifications(machine);
    return { machine, keys, verifications, close: () => machine.close() };
}
