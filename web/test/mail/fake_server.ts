/**
 * A JMAP server in memory, as far as the engine asks. `cut` ends the line before or after the
 * server did what it was asked: the two ways in which an answer gets lost.
 */
import type { EmailHead, Id, Invocation, Mailbox } from "../../src/engine/jmap/types.ts";

type Json = Record<string, any>;
interface Log {
  state: number;
  type: string;
  id: Id;
  how: "created" | "updated" | "destroyed";
}

export const ORIGIN = "https://house.test";
const ROLES = ["inbox", "archive", "drafts", "sent", "junk", "trash"];

export class FakeServer {
  emails = new Map<Id, Json>();
  mailboxes = new Map<Id, Mailbox>();
  submissions = new Map<Id, Json>();
  blobs = new Map<Id, Uint8Array>();
  /** What left the house: each recipient of each submission that was not canceled, once. */
  requests: Invocation[][] = [];
  state = 1;
  log: Log[] = [];
  forgets = false;
  /** Called for each HTTP request; "before" and "after" cut the line. */
  cut: (path: string, count: number) => "before" | "after" | null = () => null;
  count = 0;
  now = Date.parse("2026-03-01T10:00:00Z");
  maxDelayedSend = 86400 * 30;
  address = "ayna@house.test";
  blobCapability = true;
  /** Messages that it does not let be destroyed. */
  keeps = new Set<Id>();
  private next = 1;
  private streams = new Set<ReadableStreamDefaultController<Uint8Array>>();

  constructor() {
    for (const role of ROLES) {
      const id = `M${role}`;
      this.mailboxes.set(id, {
        id,
        name: role,
        parentId: null,
        role: role as Mailbox["role"],
        sortOrder: ROLES.indexOf(role),
        totalEmails: 0,
        unreadEmails: 0,
        totalThreads: 0,
        unreadThreads: 0,
        isSubscribed: true,
      });
    }
  }

  fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const path = new URL(url).pathname;
    this.count += 1;
    const cut = this.cut(path, this.count);
    if (cut === "before") throw new TypeError("network");
    const answer = await this.answer(path, init);
    if (cut === "after") throw new TypeError("network");
    return answer;
  };

  /** Somebody writes to us. */
  arrive(more: Partial<EmailHead> & { html?: string; text?: string } = {}): Id {
    const id = this.put("Email", {
      mailboxIds: { Minbox: true },
      keywords: {},
      from: [{ name: "Batyr", email: "batyr@far.test" }],
      to: [{ name: null, email: "ayna@house.test" }],
      subject: "Greetings",
      receivedAt: this.stamp(),
      messageId: [`in${this.next}@far.test`],
      ...more,
    });
    return id;
  }

  put(type: "Email", email: Json): Id {
    const id = `E${this.next++}`;
    const parents = [...(email.references ?? []), ...(email.inReplyTo ?? [])];
    const kin = [...this.emails.values()].find((other) =>
      parents.includes((other.messageId ?? [])[0]),
    );
    this.emails.set(id, {
      id,
      blobId: `B${id}`,
      threadId: kin?.threadId ?? `T${id}`,
      size: 1000,
      sentAt: null,
      inReplyTo: null,
      references: null,
      cc: null,
      bcc: null,
      replyTo: null,
      hasAttachment: false,
      preview: String(email.text ?? "").slice(0, 100),
      receivedAt: this.stamp(),
      ...email,
    });
    this.did(type, id, "created");
    return id;
  }

  push(): void {
    const changed = { A1: { Email: String(this.state), Mailbox: String(this.state) } };
    const text = `event: state\ndata: ${JSON.stringify({ "@type": "StateChange", changed })}\n\n`;
    for (const stream of this.streams) stream.enqueue(new TextEncoder().encode(text));
  }

  /** What the world got: submissions that were not canceled, by Message-ID. */
  sent(): string[] {
    return [...this.submissions.values()]
      .filter((row) => row.undoStatus !== "canceled")
      .map((row) => row.messageId);
  }

  inBox(id: Id): Json[] {
    return [...this.emails.values()].filter((email) => email.mailboxIds[id]);
  }

  private stamp(): string {
    this.now += 1000;
    return new Date(this.now).toISOString().slice(0, 19) + "Z";
  }

  private did(type: string, id: Id, how: Log["how"]): void {
    this.state += 1;
    this.log.push({ state: this.state, type, id, how });
    if (type === "Email") this.recount();
  }

  private recount(): void {
    for (const [id, box] of this.mailboxes) {
      const mine = this.inBox(id);
      const unread = mine.filter((email) => !email.keywords.$seen && !email.keywords.$draft);
      if (box.totalEmails === mine.length && box.unreadEmails === unread.length) continue;
      this.mailboxes.set(id, { ...box, totalEmails: mine.length, unreadEmails: unread.length });
      this.log.push({ state: this.state, type: "Mailbox", id, how: "updated" });
    }
  }

  private async answer(path: string, init: RequestInit): Promise<Response> {
    if (path === "/.well-known/jmap") return Response.json(this.session());
    if (path === "/jmap/events") return this.stream(init.signal as AbortSignal);
    if (path.startsWith("/jmap/upload")) {
      const data = new Uint8Array(await (init.body as Blob).arrayBuffer());
      const id = `U${this.next++}`;
      this.blobs.set(id, data);
      return Response.json({ accountId: "A1", blobId: id, type: "x/y", size: data.length });
    }
    if (path.startsWith("/jmap/download")) {
      const data = this.blobs.get(path.split("/")[4] as Id);
      return data === undefined ? new Response(null, { status: 404 }) : new Response(data as BodyInit);
    }
    if (path !== "/jmap/api") return new Response(null, { status: 404 });
    const { methodCalls } = JSON.parse(String(init.body)) as { methodCalls: Invocation[] };
    this.requests.push(methodCalls);
    return Response.json({ methodResponses: this.methods(methodCalls), sessionState: "s1" });
  }

  private session(): Json {
    const delay = { maxDelayedSend: this.maxDelayedSend, submissionExtensions: {} };
    const account: Json = {
      "urn:ietf:params:jmap:core": {},
      "urn:ietf:params:jmap:mail": {},
      "urn:ietf:params:jmap:submission": delay,
    };
    if (this.blobCapability) account["urn:ietf:params:jmap:blob"] = { maxDataSources: 64 };
    return {
      username: this.address,
      apiUrl: `${ORIGIN}/jmap/api`,
      downloadUrl: `${ORIGIN}/jmap/download/{accountId}/{blobId}/{name}?type={type}`,
      uploadUrl: `${ORIGIN}/jmap/upload/{accountId}`,
      eventSourceUrl: `${ORIGIN}/jmap/events?types={types}&closeafter={closeafter}&ping={ping}`,
      state: "s1",
      capabilities: account,
      accounts: { A1: { name: "ayna", isPersonal: true, isReadOnly: false, accountCapabilities: account } },
      primaryAccounts: { "urn:ietf:params:jmap:mail": "A1" },
    };
  }

  private stream(signal: AbortSignal): Response {
    let mine: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        mine = controller;
        this.streams.add(controller);
        signal.addEventListener("abort", () => {
          this.streams.delete(controller);
          controller.error(new Error("aborted"));
        });
      },
      cancel: () => void this.streams.delete(mine),
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  }

  private methods(calls: Invocation[]): Invocation[] {
    const done: Invocation[] = [];
    const made = new Map<string, Id>();
    for (const [name, args, callId] of calls) {
      try {
        done.push(...this.method(name, referred(args, done), callId, made));
      } catch (error) {
        done.push(["error", { type: (error as Error).message }, callId]);
      }
    }
    return done;
  }

  private method(name: string, args: Json, callId: string, made: Map<string, Id>): Invocation[] {
    const [type, verb] = name.split("/") as [string, string];
    const answer = (more: Json): Invocation[] => [[name, { accountId: "A1", ...more }, callId]];
    if (name === "Identity/get") {
      const identity = { id: "I1", name: "Ayna", email: this.address, textSignature: "", htmlSignature: "" };
      return answer({ state: "1", list: [identity], notFound: [] });
    }
    if (name === "Blob/upload") return answer({ created: this.join(args) });
    if (name === "EmailSubmission/set") return this.submit(args, callId, made);
    if (name === "Email/set") return answer(this.setEmails(args, made));
    if (verb === "get") return answer(this.get(type, args));
    if (verb === "changes") return answer(this.changes(type, args));
    if (name === "Email/query") return answer(this.query(args));
    if (name === "Email/queryChanges") return answer(this.queryChanges(args));
    if (name === "EmailSubmission/query") {
      const { emailIds, undoStatus } = args.filter;
      const rows = [...this.submissions.values()].filter(
        (row) =>
          (emailIds === undefined || emailIds.includes(row.emailId)) &&
          (undoStatus === undefined || row.undoStatus === undoStatus),
      );
      return answer({ ids: rows.map(({ id }) => id) });
    }
    throw new Error("unknownMethod");
  }

  private table(type: string): Map<Id, Json> {
    if (type === "Email") return this.emails;
    if (type === "Mailbox") return this.mailboxes as Map<Id, Json>;
    if (type === "EmailSubmission") return this.submissions;
    const threads = new Map<Id, Json>();
    for (const email of this.emails.values()) {
      const row = threads.get(email.threadId) ?? { id: email.threadId, emailIds: [] };
      row.emailIds.push(email.id);
      threads.set(email.threadId, row);
    }
    return threads;
  }

  private get(type: string, args: Json): Json {
    const table = this.table(type);
    const ids: Id[] = [...new Set<Id>(args.ids ?? table.keys())];
    const names = args.properties as string[] | null | undefined;
    const pick = (row: Json) =>
      names == null ? row : Object.fromEntries(["id", ...names].map((key) => [key, row[key] ?? null]));
    const list = ids.filter((id) => table.has(id)).map((id) => pick(this.full(type, table.get(id) as Json)));
    return {
      state: String(this.state),
      list: structuredClone(list),
      notFound: ids.filter((id) => !table.has(id)),
    };
  }

  private full(type: string, row: Json): Json {
    if (type !== "Email") return row;
    const part = { partId: "1", blobId: "b", size: 1, name: null, disposition: null, cid: null };
    return {
      textBody: [{ ...part, type: "text/plain" }],
      htmlBody: [{ ...part, type: "text/plain" }],
      attachments: [],
      bodyValues: { 1: { value: row.text ?? "" } },
      ...row,
    };
  }

  private changes(type: string, args: Json): Json {
    if (this.forgets) throw new Error("cannotCalculateChanges");
    const since = Number(args.sinceState);
    const rows = this.log.filter((entry) => entry.type === type && entry.state > since);
    const how = new Map<Id, string>();
    for (const entry of rows) {
      const old = how.get(entry.id);
      if (entry.how === "destroyed") {
        if (old === "created") how.delete(entry.id);
        else how.set(entry.id, "destroyed");
      } else if (old !== "created") how.set(entry.id, entry.how);
    }
    const of = (what: string) => [...how].filter(([, h]) => h === what).map(([id]) => id);
    return {
      oldState: args.sinceState,
      newState: String(this.state),
      hasMoreChanges: false,
      created: of("created"),
      updated: of("updated"),
      destroyed: of("destroyed"),
    };
  }

  private found(args: Json): Id[] {
    const fits = (email: Json, filter: Json): boolean => {
      if (filter.inMailbox && !email.mailboxIds[filter.inMailbox]) return false;
      if (filter.header && (email.messageId ?? [])[0] !== filter.header[1]) return false;
      if (filter.text && !`${email.subject} ${email.text}`.includes(filter.text)) return false;
      return true;
    };
    const rows = [...this.emails.values()].filter((email) => fits(email, args.filter));
    rows.sort((a, b) => (a.receivedAt < b.receivedAt ? 1 : -1));
    const seen = new Set<Id>();
    const first = (email: Json) => !seen.has(email.threadId) && seen.add(email.threadId);
    return rows.filter((email) => !args.collapseThreads || first(email)).map(({ id }) => id);
  }

  private query(args: Json): Json {
    const ids = this.found(args);
    const position = args.position ?? 0;
    return {
      queryState: `${this.state}:${ids.join(",")}`,
      canCalculateChanges: true,
      position,
      ids: ids.slice(position, position + (args.limit ?? 1000)),
      total: ids.length,
    };
  }

  private queryChanges(args: Json): Json {
    if (this.forgets) throw new Error("cannotCalculateChanges");
    const old = String(args.sinceQueryState).split(":")[1]?.split(",") ?? [];
    const ids = this.found(args);
    const removed = old.filter((id) => !ids.includes(id));
    const added = ids.map((id, index) => ({ id, index })).filter(({ id }) => !old.includes(id));
    return {
      oldQueryState: args.sinceQueryState,
      newQueryState: `${this.state}:${ids.join(",")}`,
      total: ids.length,
      removed,
      added,
    };
  }

  private setEmails(args: Json, made: Map<string, Id>): Json {
    const out: Json = { created: {}, updated: {}, destroyed: [], notUpdated: {}, notDestroyed: {} };
    for (const [key, email] of Object.entries((args.create ?? {}) as Json)) {
      const text = email.bodyValues?.text?.value ?? "";
      const id = this.put("Email", { ...email, text });
      made.set(key, id);
      out.created[key] = { id, threadId: this.emails.get(id)?.threadId };
    }
    for (const [id, patch] of Object.entries((args.update ?? {}) as Json)) {
      if (!this.patch(id, patch)) out.notUpdated[id] = { type: "notFound" };
      else out.updated[id] = null;
    }
    for (const id of args.destroy ?? []) {
      if (this.keeps.has(id)) {
        out.notDestroyed[id] = { type: "forbidden" };
        continue;
      }
      if (!this.emails.delete(id)) out.notDestroyed[id] = { type: "notFound" };
      else {
        out.destroyed.push(id);
        this.did("Email", id, "destroyed");
      }
    }
    return { ...out, newState: String(this.state) };
  }

  patch(id: Id, patch: Json): boolean {
    const email = this.emails.get(id);
    if (email === undefined) return false;
    const next = { ...email, keywords: { ...email.keywords }, mailboxIds: { ...email.mailboxIds } };
    for (const [path, value] of Object.entries(patch)) {
      const [where, name] = path.split("/") as ["keywords" | "mailboxIds", string];
      if (value === null) delete next[where][name];
      else next[where][name] = true;
    }
    this.emails.set(id, next);
    this.did("Email", id, "updated");
    return true;
  }

  private submit(args: Json, callId: string, made: Map<string, Id>): Invocation[] {
    const out: Json = { accountId: "A1", created: {}, updated: {}, notCreated: {}, notUpdated: {} };
    const follow: Json = {};
    for (const [key, want] of Object.entries((args.create ?? {}) as Json)) {
      const emailId = want.emailId.startsWith("#") ? made.get(want.emailId.slice(1)) : want.emailId;
      const email = this.emails.get(emailId);
      if (email === undefined) {
        out.notCreated[key] = { type: "emailNotFound" };
        continue;
      }
      const bad = want.envelope.rcptTo.find((to: Json) => to.email.startsWith("nobody@"));
      if (bad !== undefined) {
        out.notCreated[key] = { type: "invalidRecipients" };
        continue;
      }
      const id = `S${this.next++}`;
      const hold = Number(want.envelope.mailFrom.parameters?.HOLDFOR ?? 0);
      const row = {
        id,
        emailId,
        messageId: email.messageId[0],
        undoStatus: hold > 0 ? "pending" : "final",
        sendAt: new Date(Date.now() + hold * 1000).toISOString(),
      };
      this.submissions.set(id, row);
      out.created[key] = { id, undoStatus: row.undoStatus, sendAt: row.sendAt };
      follow[emailId] = args.onSuccessUpdateEmail?.[`#${key}`];
    }
    for (const [id, patch] of Object.entries((args.update ?? {}) as Json)) {
      const row = this.submissions.get(id);
      if (row?.undoStatus !== "pending") out.notUpdated[id] = { type: "cannotUnsend" };
      else {
        this.submissions.set(id, { ...row, ...patch });
        follow[row.emailId] = args.onSuccessUpdateEmail?.[id];
      }
    }
    const done: Invocation[] = [["EmailSubmission/set", out, callId]];
    for (const [id, patch] of Object.entries(follow)) {
      if (patch === undefined) continue;
      this.patch(id, patch);
      done.push(["Email/set", { accountId: "A1", updated: { [id]: null } }, callId]);
    }
    return done;
  }

  private join(args: Json): Json {
    const made: Json = {};
    for (const [key, { data }] of Object.entries(args.create as Json)) {
      const parts = (data as Json[]).map(({ blobId }) => this.blobs.get(blobId) as Uint8Array);
      const whole = Buffer.concat(parts);
      const id = `U${this.next++}`;
      this.blobs.set(id, new Uint8Array(whole));
      made[key] = { id, size: whole.length };
    }
    return made;
  }
}

/** RFC 8620 §3.7, with `*`. */
function referred(args: Json, done: Invocation[]): Json {
  const out: Json = {};
  for (const [key, value] of Object.entries(args)) {
    if (!key.startsWith("#")) {
      out[key] = value;
      continue;
    }
    const found = done.find(([name, , id]) => id === value.resultOf && name === value.name);
    if (found === undefined) throw new Error("invalidResultReference");
    out[key.slice(1)] = walk(found[1], value.path.slice(1).split("/"));
  }
  return out;
}

function walk(value: any, path: string[]): any {
  const [step, ...rest] = path;
  if (step === undefined) return value;
  if (step !== "*") return walk(value[step], rest);
  return value.flatMap((item: any) => walk(item, rest));
}
