// Messages that disappear go from this device too, by its own clock (docs/disappearing_messages.md).

import { under } from "./idb";
import type { StoredEvent } from "./matrix";
import { timerOf } from "./room_record";
import { refreshLast } from "./sync_apply";
import type { RoomId } from "./types";
import type { World } from "./world";

const AT_ONCE = 500;

/** Removes what is older than its room's timer. Gives the rooms that lost something. */
export async function sweep(world: World, now = Date.now()): Promise<RoomId[]> {
    const changed: RoomId[] = [];
    for (const room of [...world.rooms.values()]) {
        const timer = timerOf(room);
        if (!timer) continue;
        const gone = await world.exclusive(() => sweepRoom(world, room.id, now - timer));
        if (gone > 0) changed.push(room.id);
    }
    return changed;
}

async function sweepRoom(world: World, roomId: RoomId, before: number): Promise<number> {
    const next = structuredClone(world.room(roomId));
    const gone = await world.store.write(["events", "words", "rooms", "members"], async (tx) => {
        const ids = await dropBefore(tx, roomId, before);
        if (ids.length === 0) return 0;
        if (next.last && next.last.ts < before) delete next.last;
        await refreshLast(tx, next, world.me);
        tx.objectStore("rooms").put(next);
        return ids.length;
    });
    if (gone > 0) world.rooms.set(roomId, next);
    return gone;
}

function dropBefore(tx: IDBTransaction, roomId: RoomId, ts: number): Promise<string[]> {
    return new Promise((resolve, reject) => {
        const ids: string[] = [];
        const request = tx.objectStore("events").openCursor(under([roomId]));
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
        request.onsuccess = () => {
            const cursor = request.result;
            const event = cursor?.value as StoredEvent | undefined;
            if (!cursor || !event || event.ts >= ts || ids.length >= AT_ONCE) return resolve(ids);
            if (event.stateKey === undefined) {
                ids.push(event.id);
                tx.objectStore("words").delete([roomId, event.id]);
                cursor.delete();
            }
            cursor.continue();
        };
    });
}
