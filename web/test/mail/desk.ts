/** An engine on a fake server and an IndexedDB in memory, with reloads. */
import { IDBFactory } from "fake-indexeddb";
import { Mail, type MailPorts } from "../../src/engine/jmap/mail.ts";
import type { Locks } from "../../src/engine/jmap/rounds.ts";
import type { Written } from "../../src/engine/jmap/drafts.ts";
import { FakeServer, ORIGIN } from "./fake_server.ts";

/** Web Locks in one process: one holder a name, in order. */
export class FakeLocks implements Locks {
  private readonly tails = new Map<string, Promise<unknown>>();

  request<T>(name: string, options: { signal?: AbortSignal }, work: () => Promise<T>): Promise<T> {
    const before = this.tails.get(name) ?? Promise.resolve();
    const mine = before.then(() => {
      if (options.signal?.aborted === true) throw new Error("aborted");
      return work();
    });
    this.tails.set(
      name,
      mine.catch(() => undefined),
    );
    return mine;
  }
}

export class Bench {
  readonly server = new FakeServer();
  readonly idb = new IDBFactory();
  locks = new FakeLocks();
  /** Added to the clock. */
  skip = 0;
  private readonly open_: Mail[] = [];
  private drawn = 0;

  async open(channel: MailPorts["channel"] = null): Promise<Mail> {
    const mail = await Mail.open({
      fetch: this.server.fetch,
      base: ORIGIN,
      address: "ayna@house.test",
      idb: this.idb,
      locks: this.locks,
      channel,
      now: () => Date.now() + this.skip,
      random: () => `r${++this.drawn}`,
    });
    this.open_.push(mail);
    await mail.settled();
    return mail;
  }

  /** The tab is killed; another one opens. */
  async reload(mail: Mail): Promise<Mail> {
    mail.close();
    this.locks = new FakeLocks();
    return this.open();
  }

  close(): void {
    for (const mail of this.open_) mail.close();
  }
}

export const INBOX = { filter: { inMailbox: "Minbox" }, threads: true };
export const DRAFTS = { filter: { inMailbox: "Mdrafts" }, threads: false };

export function written(more: Partial<Written> = {}): Written {
  return {
    identityId: null,
    to: [{ name: null, email: "batyr@far.test" }],
    cc: [],
    bcc: [],
    subject: "Hello",
    html: null,
    text: "How are you?",
    files: [],
    ...more,
  };
}

export async function rounds(mail: Mail): Promise<void> {
  mail.retry();
  await mail.settled();
}
