// The truth of the engine: one IndexedDB database. What one answer of the server changes is
// written in one transaction, and only then shown.

import { Fault } from "./faults";
import { asked, openDatabase, transact, under } from "./idb";
import type { Json, OutboxRow, StoredEvent, StoredFile, StoredMember, StoredReceipt } from "./matrix";
import type { RoomRecord } from "./room_record";
import type { RoomId } from "./types";

const VERSION = 1;

export const ALL_STORES = [
    "meta",
    "rooms",
    "events",
    "members",
    "receipts",
    "accountData",
    "outbox",
    "files",
    "drafts",
    "inbox",
    "media",
    "words",
] as const;

export type StoreName = (typeof ALL_STORES)[number];

/** A decrypted or clear file that is kept for another look. */
export interface KeptMedia {
    key: string;
    blob: Blob;
    size: number;
    used: number;
}

/** What a sync brought for the crypto machine, kept until it has taken it. */
export interface CryptoMail {
    seq?: number;
    toDevice: Json[];
    changed: string[];
    left: string[];
    oneTimeKeys?: Record<string, number>;
    fallbackKeys?: string[];
}

function upgrade(db: IDBDatabase): void {
    db.createObjectStore("meta");
    db.createObjectStore("rooms", { keyPath: "id" });
    const events = db.createObjectStore("events", { keyPath: ["roomId", "order"] });
    events.createIndex("id", ["roomId", "id"], { unique: true });
    events.createIndex("rel", "rel");
    events.createIndex("session", "session");
    events.createIndex("unindexed", "unindexed");
    db.createObjectStore("members", { keyPath: ["roomId", "userId"] });
    db.createObjectStore("receipts", { keyPath: ["roomId", "userId"] });
    db.createObjectStore("accountData");
    const outbox = db.createObjectStore("outbox", { keyPath: "txnId" });
    outbox.createIndex("seq", "seq");
    db.createObjectStore("files", { keyPath: "id" });
    db.createObjectStore("drafts");
    db.createObjectStore("inbox", { keyPath: "seq", autoIncrement: true });
    const media = db.createObjectStore("media", { keyPath: "key" });
    media.createIndex("used", "used");
    const words = db.createObjectStore("words", { keyPath: ["roomId", "id"] });
    words.createIndex("word", "words", { multiEntry: true });
}

export class Store {
    readonly #db: IDBDatabase;
    #closed = false;

    private constructor(
        readonly name: string,
        db: IDBDatabase,
    ) {
        this.#db = db;
    }

    static async open(name: string): Promise<Store> {
        return new Store(name, await openDatabase(name, VERSION, upgrade));
    }

    close(): void {
        this.#closed = true;
        this.#db.close();
    }

    read<T>(stores: StoreName[], deed: (tx: IDBTransaction) => Promise<T> | T): Promise<T> {
        if (this.#closed) return Promise.reject(new Fault("cancelled", "the store is closed"));
        return transact(this.#db, stores, "readonly", deed);
    }

    /** `strict`: on the disk when it resolves, for what people wrote. */
    write<T>(
        stores: StoreName[],
        deed: (tx: IDBTransaction) => Promise<T> | T,
        durability: "relaxed" | "strict" = "relaxed",
    ): Promise<T> {
        if (this.#closed) return Promise.reject(new Fault("cancelled", "the store is closed"));
        return transact(this.#db, stores, "readwrite", deed, durability);
    }

    get<T>(store: StoreName, key: IDBValidKey): Promise<T | undefined> {
        return this.read([store], (tx) => asked<T | undefined>(tx.objectStore(store).get(key)));
    }

    put(store: StoreName, value: unknown, key?: IDBValidKey): Promise<void> {
        return this.write([store], (tx) => void tx.objectStore(store).put(value, key));
    }

    delete(store: StoreName, key: IDBValidKey): Promise<void> {
        return this.write([store], (tx) => void tx.objectStore(store).delete(key));
    }

    all<T>(store: StoreName, range?: IDBKeyRange): Promise<T[]> {
        return this.read([store], (tx) => asked<T[]>(tx.objectStore(store).getAll(range)));
    }

    /** Removes everything, but leaves the database. */
    clear(): Promise<void> {
        return this.write([...ALL_STORES], (tx) => {
            for (const name of ALL_STORES) tx.objectStore(name).clear();
        });
    }

    rooms(): Promise<RoomRecord[]> {
        return this.all("rooms");
    }

    members(roomId: RoomId): Promise<StoredMember[]> {
        return this.all("members", under([roomId]));
    }

    receipts(roomId: RoomId): Promise<StoredReceipt[]> {
        return this.all("receipts", under([roomId]));
    }

    outbox(): Promise<OutboxRow[]> {
        return this.read(["outbox"], (tx) =>
            asked<OutboxRow[]>(tx.objectStore("outbox").index("seq").getAll()),
        );
    }

    file(id: string): Promise<StoredFile | undefined> {
        return this.get("files", id);
    }

    event(roomId: RoomId, id: string): Promise<StoredEvent | undefined> {
        return this.read(["events"], (tx) => eventById(tx, roomId, id));
    }

    /** Up to `count` events before (not with) an order, newest first. */
    eventsBefore(roomId: RoomId, order: number, count: number): Promise<StoredEvent[]> {
        const range = IDBKeyRange.bound([roomId, -Infinity], [roomId, order], false, true);
        return this.read(["events"], (tx) => walk(tx, range, "prev", count));
    }

    /** Up to `count` events after (not with) an order, oldest first. */
    eventsAfter(roomId: RoomId, order: number, count: number): Promise<StoredEvent[]> {
        const range = IDBKeyRange.bound([roomId, order], [roomId, Infinity], true, false);
        return this.read(["events"], (tx) => walk(tx, range, "next", count));
    }

    /** Events that relate to any of these, by target. */
    async related(roomId: RoomId, targets: string[]): Promise<Map<string, StoredEvent[]>> {
        return this.read(["events"], async (tx) => {
            const index = tx.objectStore("events").index("rel");
            const found = await Promise.all(
                targets.map((target) => asked<StoredEvent[]>(index.getAll([roomId, target]))),
            );
            return new Map(targets.map((target, i) => [target, found[i] ?? []]));
        });
    }
}

export function eventById(
    tx: IDBTransaction,
    roomId: RoomId,
    id: string,
): Promise<StoredEvent | undefined> {
    return asked<StoredEvent | undefined>(
        tx.objectStore("events").index("id").get([roomId, id]),
    );
}

function walk(
    tx: IDBTransaction,
    range: IDBKeyRange,
    direction: IDBCursorDirection,
    count: number,
): Promise<StoredEvent[]> {
    const store = tx.objectStore("events");
    if (direction === "next") return asked<StoredEvent[]>(store.getAll(range, count));
    return new Promise((resolve, reject) => {
        const found: StoredEvent[] = [];
        const request = store.openCursor(range, direction);
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
        request.onsuccess = () => {
            const cursor = request.result;
            if (!cursor) return resolve(found);
            found.push(cursor.value as StoredEvent);
            if (found.length >= count) return resolve(found);
            cursor.continue();
        };
    });
}
