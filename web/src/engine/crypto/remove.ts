// Removing what the crypto machine stored, without loading it.

import { deleteDatabase } from "../idb";

export function cryptoName(userId: string): string {
    return `kerwen-crypto-${userId}`;
}

/** The databases that the machine makes under a name. */
export async function removeCrypto(userId: string): Promise<void> {
    const name = cryptoName(userId);
    for (const part of ["matrix-sdk-crypto", "matrix-sdk-crypto-meta"]) await deleteDatabase(`${name}::${part}`);
}
