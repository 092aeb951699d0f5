// IndexedDB with promises: as little as the engine needs.

/** The answer of one request. */
export function asked<T>(request: IDBRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
    });
}

/** Opens a database; `upgrade` is told the version that is there (0: none). */
export function openDatabase(
    name: string,
    version: number,
    upgrade: (db: IDBDatabase, from: number, tx: IDBTransaction) => void,
    factory: IDBFactory = indexedDB,
): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
        const request = factory.open(name, version);
        request.onupgradeneeded = (event) => {
            const tx = request.transaction;
            if (tx) upgrade(request.result, event.oldVersion, tx);
        };
        request.onsuccess = () => {
            const db = request.result;
            db.onversionchange = () => db.close(); // another tab has a newer app, or wipes
            resolve(db);
        };
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
    });
}

export function deleteDatabase(name: string, factory: IDBFactory = indexedDB): Promise<void> {
    return new Promise((resolve, reject) => {
        const request = factory.deleteDatabase(name);
        request.onsuccess = () => resolve();
        request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
        request.onblocked = () => resolve(); // it goes when the other tab lets go
    });
}

/**
 * Runs `deed` in one transaction and resolves with its result when that is committed. `deed` may
 * only await requests of this transaction: anything else lets the transaction end.
 */
export function transact<T>(
    db: IDBDatabase,
    stores: string[],
    mode: "readonly" | "readwrite",
    deed: (tx: IDBTransaction) => Promise<T> | T,
    durability: IDBTransactionDurability = "relaxed",
): Promise<T> {
    return new Promise((resolve, reject) => {
        const tx = db.transaction(stores, mode, { durability });
        let result: T;
        let failure: unknown;
        tx.oncomplete = () => resolve(result);
        tx.onabort = () => reject(failure ?? tx.error ?? new Error("transaction aborted"));
        const fail = (error: unknown): void => {
            failure = error;
            try {
                tx.abort();
            } catch {
                reject(error); // it had ended already
            }
        };
        try {
            Promise.resolve(deed(tx)).then((value) => (result = value), fail);
        } catch (error) {
            fail(error);
        }
    });
}

/** All keys that begin with these parts: `[a]` gives the range of `[a, *]`. */
export function under(parts: IDBValidKey[]): IDBKeyRange {
    return IDBKeyRange.bound(parts, [...parts, []]);
}
