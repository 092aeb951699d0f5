/** The mail engine: what models call. Everything shown is read from the shelf. */
import { ahead, body } from "./bodies.ts";
import { destroy, drainDeeds, patch, type Undo } from "./deeds.ts";
import type { Desk, MailEvent } from "./desk.ts";
import {
  addFile,
  dropDraft,
  keepDraft,
  newDraft,
  saveDrafts,
  type Written,
} from "./drafts.ts";
import { mayPass, Refused } from "./errors.ts";
import { type AuthorisedFetch, Line } from "./line.ts";
import { fetchPage, fetchThread, listKey, refreshLists } from "./lists.ts";
import type {
  ContactRow,
  Draft,
  DraftFile,
  EmailRow,
  ListRow,
  ListSpec,
  MailboxRow,
  Patch,
  SubmissionRow,
} from "./rows.ts";
import { type LineState, type Locks, Pulse } from "./rounds.ts";
import { cancel, drainSending, type Sending, send, unsend } from "./send.ts";
import { Shelf } from "./shelf.ts";
import {
  type EmailBody,
  type Id,
  type Identity,
  type Quota,
  type SetAnswer,
  type Session,
  SIEVE,
  SUBMISSION,
  VACATION,
  type Vacation,
} from "./types.ts";
import { update, updateFew, updateSubmissions } from "./update.ts";

export interface MailPorts {
  fetch: AuthorisedFetch;
  /** Origin of the server, no slash at the end. */
  base: string;
  /** Local part and domain of the account. */
  address: string;
  idb: IDBFactory;
  locks: Locks;
  /** Null where there is one tab only. */
  channel: Pick<BroadcastChannel, "postMessage" | "onmessage" | "close"> | null;
  now(): number;
  random(): string;
}

/** How long a draft is let alone before the server gets it. */
const QUIET_MS = 4_000;

export const shelfName = (address: string): string => `kerwen-mail:${address}`;

export class Mail {
  readonly domain: string;
  private readonly listeners = new Set<(event: MailEvent) => void>();
  private readonly desk: Desk;
  private readonly pulse: Pulse;
  /** What is written down of the session. */
  private session: Session | null = null;
  /** Lists on screen, which follow every change. */
  private readonly shown = new Map<string, number>();

  private constructor(
    private readonly ports: MailPorts,
    shelf: Shelf,
  ) {
    this.domain = ports.address.slice(ports.address.indexOf("@") + 1);
    const line = new Line(ports.fetch, ports.base);
    this.desk = {
      line,
      shelf,
      now: ports.now,
      tell: (event) => this.tell(event),
      wake: () => this.pulse.now(),
    };
    this.pulse = new Pulse({
      name: shelfName(ports.address),
      locks: ports.locks,
      line,
      now: ports.now,
      round: (what) => this.round(what),
      told: () => this.tell({ kind: "line" }),
    });
    if (ports.channel !== null) {
      ports.channel.onmessage = (message) => this.overheard(message.data as MailEvent);
    }
  }

  static async open(ports: MailPorts): Promise<Mail> {
    const mail = new Mail(ports, await Shelf.open(ports.idb, shelfName(ports.address)));
    const known = await mail.desk.shelf.read(["meta"], (tx) => tx.meta<Session>("session"));
    if (known !== undefined) await mail.desk.line.open(known);
    mail.pulse.start();
    return mail;
  }

  /** Everything of this account on this device goes. */
  static erase(idb: IDBFactory, address: string): Promise<void> {
    return Shelf.erase(idb, shelfName(address));
  }

  close(): void {
    this.pulse.end();
    this.ports.channel?.close();
    this.desk.shelf.close();
  }

  on(listener: (event: MailEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get line(): LineState {
    return this.pulse.state;
  }

  /** Try the line now. */
  retry(): void {
    this.pulse.now(["*"]);
  }

  settled(): Promise<void> {
    return this.pulse.settled();
  }

  // ------------------------------------------------------------ reading

  async mailboxes(): Promise<MailboxRow[]> {
    return this.desk.shelf.read(["mailboxes"], (tx) => tx.all("mailboxes"));
  }

  /** What is here of a list; undefined where it was never asked for. */
  async list(spec: ListSpec): Promise<{ row: ListRow; heads: EmailRow[] } | undefined> {
    return this.desk.shelf.read(["lists", "emails"], async (tx) => {
      const row = await tx.get("lists", listKey(spec));
      if (row === undefined) return undefined;
      const heads = await tx.many("emails", row.ids);
      return { row, heads: heads.filter((head) => head !== undefined) };
    });
  }

  /** Shows a list: it is brought up to date now, and with every change until `hide`. */
  async show(spec: ListSpec): Promise<void> {
    const key = listKey(spec);
    this.shown.set(key, (this.shown.get(key) ?? 0) + 1);
    const row = await this.desk.shelf.write(["lists"], async (tx) => {
      const known = await tx.get("lists", key);
      if (known !== undefined) tx.put("lists", { ...known, usedAt: this.desk.now() });
      return known;
    });
    if (row === undefined) await fetchPage(this.desk, spec, 0);
    else if (!row.fresh) await refreshLists(this.desk, [key]);
  }

  hide(spec: ListSpec): void {
    const key = listKey(spec);
    const left = (this.shown.get(key) ?? 1) - 1;
    if (left > 0) this.shown.set(key, left);
    else this.shown.delete(key);
  }

  /** The next page of a list. */
  async more(spec: ListSpec): Promise<void> {
    const row = await this.desk.shelf.read(["lists"], (tx) => tx.get("lists", listKey(spec)));
    if (row === undefined || row.ids.length < row.total) {
      await fetchPage(this.desk, spec, row?.ids.length ?? 0);
    }
  }

  async emails(ids: Id[]): Promise<EmailRow[]> {
    const rows = await this.desk.shelf.read(["emails"], (tx) => tx.many("emails", ids));
    return rows.filter((row) => row !== undefined);
  }

  /** The messages of conversations, as far as they are here, oldest first. */
  async threads(ids: Id[]): Promise<Map<Id, EmailRow[]>> {
    return this.desk.shelf.read(["threads", "emails"], async (tx) => {
      const rows = await tx.many("threads", ids);
      const found = new Map<Id, EmailRow[]>();
      for (const row of rows) {
        if (row === undefined) continue;
        const heads = (await tx.many("emails", row.emailIds)).filter((head) => head !== undefined);
        heads.sort((a, b) => (a.receivedAt < b.receivedAt ? -1 : 1));
        found.set(row.id, heads);
      }
      return found;
    });
  }

  /** The whole conversation; from the server where parts of it are not here. */
  async thread(id: Id): Promise<EmailRow[]> {
    const whole = await this.desk.shelf.read(["threads", "emails"], async (tx) => {
      const row = await tx.get("threads", id);
      if (row === undefined || !row.whole) return false;
      return (await tx.many("emails", row.emailIds)).every((head) => head !== undefined);
    });
    if (!whole) {
      try {
        await fetchThread(this.desk, id);
      } catch (error) {
        // Better a part of it than nothing.
        if (!mayPass(error)) throw error;
      }
    }
    return (await this.threads([id])).get(id) ?? [];
  }

  body(id: Id): Promise<EmailBody> {
    return body(this.desk, id);
  }

  /** Fetches bodies before they are asked for. Never fails. */
  async ahead(ids: Id[]): Promise<void> {
    await ahead(this.desk, ids).catch(() => undefined);
  }

  blob(blobId: Id, type: string, name: string): Promise<Blob> {
    return this.desk.line.download(blobId, type, name);
  }

  picture(url: string): Promise<Blob> {
    return this.desk.line.picture(url);
  }

  /** RFC 8621 §5: what of a message matched; empty off line. */
  async snippets(spec: ListSpec, ids: Id[]): Promise<Map<Id, { subject: string | null; preview: string | null }>> {
    const batch = this.desk.line.batch();
    const call = batch.add<{
      list: { emailId: Id; subject: string | null; preview: string | null }[];
    }>("SearchSnippet/get", { filter: spec.filter, emailIds: ids });
    const answer = (await this.desk.line.send(batch)).maybe(call);
    return new Map((answer?.list ?? []).map((row) => [row.emailId, row]));
  }

  /** Everything that is here, for searching off line and suggestions. Newest first. */
  async scan(fits: (head: EmailRow) => boolean, most: number): Promise<EmailRow[]> {
    const found: EmailRow[] = [];
    await this.desk.shelf.read(["emails"], (tx) =>
      tx.each("emails", (head) => {
        if (fits(head)) found.push(head);
        return true;
      }),
    );
    found.sort((a, b) => (a.receivedAt < b.receivedAt ? 1 : -1));
    return found.slice(0, most);
  }

  // ------------------------------------------------------------ deeds

  /** At once here, on the server as soon as can be. Gives the way back. */
  async patch(patches: Record<Id, Patch>): Promise<Undo> {
    return patch(this.desk, patches);
  }

  async destroy(ids: Id[]): Promise<void> {
    await destroy(this.desk, ids);
  }

  /** How many deeds and messages wait for the line. */
  async waiting(): Promise<number> {
    return this.desk.shelf.read(["deeds", "drafts"], async (tx) => {
      const drafts = (await tx.all("drafts")).filter(({ stage }) => stage === "sending");
      return (await tx.keys("deeds")).length + drafts.length;
    });
  }

  // ------------------------------------------------------------ writing

  newDraft(): Draft {
    return newDraft(this.desk.now(), this.domain, this.ports.random);
  }

  async drafts(): Promise<Draft[]> {
    return this.desk.shelf.read(["drafts"], (tx) => tx.all("drafts"));
  }

  async draft(key: string): Promise<Draft | undefined> {
    return this.desk.shelf.read(["drafts"], (tx) => tx.get("drafts", key));
  }

  async keepDraft(draft: Draft, written: Written): Promise<Draft> {
    const kept = await keepDraft(this.desk, draft, written);
    this.pulse.now();
    return kept;
  }

  /** A draft of the server's, to be written on here; not counted as a change. */
  async adoptDraft(draft: Draft): Promise<void> {
    await this.desk.shelf.write(["drafts"], async (tx) => {
      if ((await tx.get("drafts", draft.key)) === undefined) tx.put("drafts", draft);
    });
    this.tell({ kind: "drafts" });
  }

  async addFile(file: DraftFile, data: Blob): Promise<void> {
    await addFile(this.desk, file, data);
  }

  async fileData(key: string): Promise<Blob | null> {
    const row = await this.desk.shelf.read(["files"], (tx) => tx.get("files", key));
    return row === undefined ? null : new Blob([row.data as BlobPart]);
  }

  async dropDraft(key: string): Promise<void> {
    const saved = await dropDraft(this.desk, key);
    if (saved !== null && saved !== "") await destroy(this.desk, [saved]);
  }

  async send(key: string, want: Sending): Promise<void> {
    await send(this.desk, key, want);
  }

  async unsend(key: string): Promise<boolean> {
    let back = await unsend(this.desk, key);
    if (!back) {
      // Perhaps it is being handed over this moment: once the server has it, ask for it back.
      await this.pulse.settled();
      back = await unsend(this.desk, key);
    }
    this.pulse.now(["Email", "EmailSubmission"]);
    return back;
  }

  async submissions(): Promise<SubmissionRow[]> {
    return this.desk.shelf.read(["submissions"], (tx) => tx.all("submissions"));
  }

  /** Takes back what another device sent or scheduled. */
  async cancel(submission: SubmissionRow): Promise<boolean> {
    const back = await cancel(this.desk, submission.id, submission.emailId);
    this.pulse.now(["Email", "EmailSubmission"]);
    return back;
  }

  // ------------------------------------------------------------ people

  async contacts(): Promise<ContactRow[]> {
    return this.desk.shelf.read(["contacts"], (tx) => tx.all("contacts"));
  }

  async picturesOf(email: string): Promise<"ask" | "always"> {
    const row = await this.desk.shelf.read(["contacts"], (tx) => tx.get("contacts", email.toLowerCase()));
    return row?.pictures ?? "ask";
  }

  async setPictures(email: string, pictures: "ask" | "always"): Promise<void> {
    const key = email.toLowerCase();
    await this.desk.shelf.write(["contacts"], async (tx) => {
      const old = await tx.get("contacts", key);
      const none = { email: key, name: null, written: 0, seenAt: this.desk.now() };
      tx.put("contacts", { ...(old ?? none), pictures });
    });
  }

  // ------------------------------------------------------------ settings

  /** Whether the server has a part of mail at all. */
  can(what: "submission" | "vacation" | "sieve" | "delay"): boolean {
    const names = { submission: SUBMISSION, vacation: VACATION, sieve: SIEVE, delay: SUBMISSION };
    const found = this.desk.line.capability(names[what]);
    return what === "delay" ? Number(found?.maxDelayedSend ?? 0) > 0 : found !== null;
  }

  async identities(): Promise<Identity[]> {
    return (await this.setting<Identity[]>("identities")) ?? [];
  }

  async vacation(): Promise<Vacation | null> {
    return (await this.setting<Vacation | null>("vacation")) ?? null;
  }

  async quota(): Promise<Quota[]> {
    return (await this.setting<Quota[]>("quota")) ?? [];
  }

  private setting<T>(key: string): Promise<T | undefined> {
    return this.desk.shelf.read(["meta"], (tx) => tx.meta<T>(key));
  }

  /** A choice of this device, under a name of the caller's. */
  choice<T>(key: string): Promise<T | undefined> {
    return this.setting<T>(`choice:${key}`);
  }

  async choose(key: string, value: unknown): Promise<void> {
    await this.desk.shelf.write(["meta"], async (tx) => tx.setMeta(`choice:${key}`, value));
  }

  /** Changes one object of the settings; needs the line. Throws `Refused` where the server will not. */
  async set(type: string, args: Record<string, unknown>): Promise<SetAnswer<{ id: Id }>> {
    const batch = this.desk.line.batch();
    const call = batch.add<SetAnswer<{ id: Id }>>(`${type}/set`, args);
    const answer = (await this.desk.line.send(batch)).of(call);
    const wrong = { ...answer.notCreated, ...answer.notUpdated, ...answer.notDestroyed };
    for (const error of Object.values(wrong)) throw new Refused(error.type, error.description ?? "");
    this.pulse.now(["*"]);
    return answer;
  }

  async get<T>(type: string, args: Record<string, unknown>): Promise<T[]> {
    const batch = this.desk.line.batch();
    const call = batch.add<{ list: T[] }>(`${type}/get`, args);
    return (await this.desk.line.send(batch)).of(call).list;
  }

  async upload(data: Blob, type: string): Promise<Id> {
    return (await this.desk.line.upload(data, type, [], async () => undefined)).blobId;
  }

  async takeOver(mbox: Blob, mailbox: string): Promise<{ taken: number; known: number }> {
    const answer = await this.desk.line.importMbox(mbox, mailbox);
    this.pulse.now(["*"]);
    return answer;
  }

  // ------------------------------------------------------------ rounds

  private async round(what: Set<string>): Promise<number | null> {
    const session = await this.desk.line.open();
    if (session !== this.session) {
      await this.desk.shelf.write(["meta"], async (tx) => tx.setMeta("session", session));
      this.session = session;
    }
    await drainDeeds(this.desk);
    const sending = await drainSending(this.desk);
    const saving = await saveDrafts(this.desk, QUIET_MS);
    await update(this.desk, [...this.shown.keys()]);
    const all = what.has("*");
    if (all || ["Identity", "VacationResponse", "Quota"].some((type) => what.has(type))) {
      await updateFew(this.desk);
    }
    if (all || what.has("EmailSubmission")) await updateSubmissions(this.desk);
    const due = [sending, saving].filter((at) => at !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  private tell(event: MailEvent): void {
    this.ports.channel?.postMessage(event);
    this.emit(event);
  }

  /** Another tab changed what is kept: pass it on, and let the lists here follow. */
  private overheard(event: MailEvent): void {
    if (event.kind === "emails" && this.shown.size > 0) this.pulse.now();
    if (event.kind !== "line") this.emit(event);
  }

  private emit(event: MailEvent): void {
    for (const listener of [...this.listeners]) listener(event);
  }
}
