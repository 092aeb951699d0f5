/** IndexedDB with promises: the truth of all that is shown. */
import type {
  BodyRow,
  ContactRow,
  DeedRow,
  Draft,
  EmailRow,
  FileRow,
  ListRow,
  MailboxRow,
  MetaRow,
  SubmissionRow,
  ThreadRow,
} from "./rows.ts";

interface Rows {
  meta: MetaRow;
  mailboxes: MailboxRow;
  emails: EmailRow;
  threads: ThreadRow;
  bodies: BodyRow;
  lists: ListRow;
  deeds: DeedRow;
  drafts: Draft;
  files: FileRow;
  contacts: ContactRow;
  submissions: SubmissionRow;
}

export type StoreName = keyof Rows;

const VERSION = 1;
const KEYS: Record<StoreName, IDBObjectStoreParameters> = {
  meta: { keyPath: "key" },
  mailboxes: { keyPath: "id" },
  emails: { keyPath: "id" },
  threads: { keyPath: "id" },
  bodies: { keyPath: "id" },
  lists: { keyPath: "key" },
  deeds: { keyPath: "no", autoIncrement: true },
  drafts: { keyPath: "key" },
  files: { keyPath: "key" },
  contacts: { keyPath: "email" },
  submissions: { keyPath: "id" },
};
const ALL = Object.keys(KEYS) as StoreName[];

/** One transaction. Await nothing but its own promises inside, or it ends early. */
export class Tx {
  constructor(private readonly tx: IDBTransaction) {}

  get<S extends StoreName>(store: S, key: IDBValidKey): Promise<Rows[S] | undefined> {
    return asked(this.tx.objectStore(store).get(key) as IDBRequest<Rows[S] | undefined>);
  }

  many<S extends StoreName>(store: S, keys: IDBValidKey[]): Promise<(Rows[S] | undefined)[]> {
    return Promise.all(keys.map((key) => this.get(store, key)));
  }

  all<S extends StoreName>(store: S): Promise<Rows[S][]> {
    return asked(this.tx.objectStore(store).getAll() as IDBRequest<Rows[S][]>);
  }

  keys(store: StoreName): Promise<IDBValidKey[]> {
    return asked(this.tx.objectStore(store).getAllKeys());
  }

  /** Calls `look` for each row until it says false. */
  async each<S extends StoreName>(store: S, look: (row: Rows[S]) => boolean): Promise<void> {
    const request = this.tx.objectStore(store).openCursor();
    await new Promise<void>((done, fail) => {
      request.onerror = () => fail(request.error as Error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (cursor === null || !look(cursor.value as Rows[S])) done();
        else cursor.continue();
      };
    });
  }

  put<S extends StoreName>(store: S, row: Rows[S]): void {
    this.tx.objectStore(store).put(row);
  }

  delete(store: StoreName, key: IDBValidKey): void {
    this.tx.objectStore(store).delete(key);
  }

  clear(store: StoreName): void {
    this.tx.objectStore(store).clear();
  }

  async meta<T>(key: string): Promise<T | undefined> {
    return (await this.get("meta", key))?.value as T | undefined;
  }

  setMeta(key: string, value: unknown): void {
    this.put("meta", { key, value });
  }
}

export class Shelf {
  private constructor(private readonly db: IDBDatabase) {
    db.onversionchange = () => db.close();
  }

  static async open(factory: IDBFactory, name: string): Promise<Shelf> {
    const request = factory.open(name, VERSION);
    request.onupgradeneeded = () => {
      for (const store of ALL) request.result.createObjectStore(store, KEYS[store]);
    };
    return new Shelf(await asked(request));
  }

  static erase(factory: IDBFactory, name: string): Promise<unknown> {
    return asked(factory.deleteDatabase(name) as IDBRequest<unknown>);
  }

  read<T>(stores: StoreName[], work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.run(stores, "readonly", work);
  }

  /** All or nothing; resolves when it is on disk as far as the browser tells. */
  write<T>(stores: StoreName[], work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.run(stores, "readwrite", work);
  }

  private async run<T>(
    stores: StoreName[],
    mode: IDBTransactionMode,
    work: (tx: Tx) => Promise<T>,
  ): Promise<T> {
    const tx = this.db.transaction(stores, mode);
    const ended = new Promise<void>((done, fail) => {
      tx.oncomplete = () => done();
      tx.onabort = () => fail(tx.error ?? new Error("aborted"));
    });
    try {
      const result = await work(new Tx(tx));
      await ended;
      return result;
    } catch (error) {
      ended.catch(() => undefined);
      try {
        tx.abort();
      } catch {
        // It had ended already.
      }
      throw error;
    }
  }

  close(): void {
    this.db.close();
  }
}

function asked<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error as Error);
  });
}
