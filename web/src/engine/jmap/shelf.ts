/** The database of mail: the truth of all that is shown. */
import { asked, deleteDatabase, openDatabase, transact } from "../idb.ts";
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
  private constructor(private readonly db: IDBDatabase) {}

  static async open(factory: IDBFactory, name: string): Promise<Shelf> {
    const make = (db: IDBDatabase) => {
      for (const store of ALL) db.createObjectStore(store, KEYS[store]);
    };
    return new Shelf(await openDatabase(name, VERSION, make, factory));
  }

  static erase(factory: IDBFactory, name: string): Promise<void> {
    return deleteDatabase(name, factory);
  }

  read<T>(stores: StoreName[], work: (tx: Tx) => Promise<T>): Promise<T> {
    return transact(this.db, stores, "readonly", (tx) => work(new Tx(tx)), "default");
  }

  /** All or nothing; resolves when it is on disk as far as the browser tells. */
  write<T>(stores: StoreName[], work: (tx: Tx) => Promise<T>): Promise<T> {
    return transact(this.db, stores, "readwrite", (tx) => work(new Tx(tx)), "default");
  }

  close(): void {
    this.db.close();
  }
}
