/** The line to the server: session, requests, uploads, downloads, events. Keeps nothing on disk. */
import { Answers, Batch } from "./batch.ts";
import { Busy, NoLine, Refused, SignedOut } from "./errors.ts";
import { EventLines } from "./event_lines.ts";
import { BLOB, CORE, MAIL, QUOTA, SIEVE, SUBMISSION, VACATION } from "./types.ts";
import type { Id, Invocation, Session, StateChange } from "./types.ts";

/** `fetch` with the account's access token put in; rejects as `fetch` does. */
export type AuthorisedFetch = (url: string, init?: RequestInit) => Promise<Response>;

/** A request that got no answer in this time has met a dead line. */
const PATIENCE_MS = 60_000;
/** An event stream that was silent for this long is dead; the server pings every 30 s. */
const SILENCE_MS = 75_000;
const PING_S = 30;
/** Uploads go in pieces of this size, so that a cut loses no more. */
export const PIECE_BYTES = 256 * 1024;
const USED = [CORE, MAIL, SUBMISSION, VACATION, QUOTA, BLOB, SIEVE];

export interface Uploaded {
  blobId: Id;
  size: number;
}

export class Line {
  private session: Session | null = null;

  constructor(
    private readonly fetch: AuthorisedFetch,
    /** Origin of the server, without a slash at the end. */
    private readonly base: string,
    private readonly patienceMs = PATIENCE_MS,
  ) {}

  /** RFC 8620 §2.2. `known` is the session of last time, good enough until the server says else. */
  async open(known: Session | null = null): Promise<Session> {
    if (this.session !== null) return this.session;
    if (known !== null) this.session = known;
    else this.session = (await this.json(`${this.base}/.well-known/jmap`)) as Session;
    return this.session;
  }

  forget(): void {
    this.session = null;
  }

  get accountId(): Id {
    const id = this.session?.primaryAccounts[MAIL];
    if (id === undefined) throw new Refused("accountNotFound", "no mail account");
    return id;
  }

  /** What the server says about a capability for our account; null where it lacks it. */
  capability(name: string): Record<string, unknown> | null {
    if (this.session === null || !(name in this.session.capabilities)) return null;
    const id = this.session.primaryAccounts[MAIL] ?? "";
    return this.session.accounts[id]?.accountCapabilities[name] ?? {};
  }

  batch(): Batch {
    return new Batch(this.accountId);
  }

  async send(batch: Batch): Promise<Answers> {
    const session = await this.open();
    const using = USED.filter((name) => name in session.capabilities);
    const answer = (await this.json(session.apiUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ using, methodCalls: batch.calls }),
    })) as { methodResponses: Invocation[]; sessionState: string };
    if (answer.sessionState !== session.state) this.session = null;
    return new Answers(answer.methodResponses);
  }

  /**
   * RFC 8620 §6.1, and in pieces (RFC 9404 §4.1) where the server can join them.
   * `pieces`: blob ids of what went before a cut; `kept` is told of each new one.
   */
  async upload(
    data: Blob,
    type: string,
    pieces: Id[],
    kept: (pieces: Id[]) => Promise<void>,
  ): Promise<Uploaded> {
    await this.open();
    const count = Math.ceil(data.size / PIECE_BYTES);
    const most = Number(this.capability(BLOB)?.maxDataSources ?? 0);
    if (count <= 1 || count > most) return this.uploadPiece(data, type);
    const done = [...pieces];
    while (done.length < count) {
      const at = done.length * PIECE_BYTES;
      const piece = await this.uploadPiece(data.slice(at, at + PIECE_BYTES), type);
      done.push(piece.blobId);
      await kept([...done]);
    }
    return this.join(done, type);
  }

  private async join(pieces: Id[], type: string): Promise<Uploaded> {
    const batch = this.batch();
    const call = batch.add<{
      created?: Record<string, { id: Id; size: number }>;
      notCreated?: Record<string, { type: string }>;
    }>("Blob/upload", { create: { b: { type, data: pieces.map((blobId) => ({ blobId })) } } });
    const answer = (await this.send(batch)).of(call);
    const made = answer.created?.b;
    if (made === undefined) throw new Refused(answer.notCreated?.b?.type ?? "blobNotFound");
    return { blobId: made.id, size: made.size };
  }

  private async uploadPiece(data: Blob, type: string): Promise<Uploaded> {
    const session = await this.open();
    const url = session.uploadUrl.replace("{accountId}", encodeURIComponent(this.accountId));
    const headers = { "Content-Type": type === "" ? "application/octet-stream" : type };
    return (await this.json(url, { method: "POST", headers, body: data })) as Uploaded;
  }

  /** RFC 8620 §6.2. */
  async download(blobId: Id, type: string, name: string): Promise<Blob> {
    const session = await this.open();
    const url = expand(session.downloadUrl, { accountId: this.accountId, blobId, type, name });
    const response = await this.ask(url);
    return new Blob([await response.arrayBuffer()], { type });
  }

  /** An mbox, of any length; the answer comes when all is in (docs/import.md). */
  async importMbox(data: Blob, mailbox: string): Promise<{ taken: number; known: number }> {
    const url = `/_kerwen/mail/import?mailbox=${encodeURIComponent(mailbox)}`;
    const never = new AbortController().signal;
    const init = { method: "POST", headers: { "Content-Type": "application/mbox" }, body: data };
    return (await (await this.ask(url, init, never)).json()) as { taken: number; known: number };
  }

  /** A picture from elsewhere, fetched by our server: its host learns nothing of the reader. */
  async picture(url: string): Promise<Blob> {
    const response = await this.ask(`/_kerwen/mail/picture?url=${encodeURIComponent(url)}`);
    return response.blob();
  }

  /**
   * RFC 8620 §7.3, read through `fetch` because an `EventSource` cannot carry a token.
   * Ends by an error when the line does; by returning when the server closes or `stop` fires.
   */
  async events(tell: (change: StateChange) => void, stop: AbortSignal): Promise<void> {
    const session = await this.open();
    const types = "Mailbox,Email,EmailDelivery,EmailSubmission,Identity,VacationResponse,Quota";
    const url = expand(session.eventSourceUrl, { types, closeafter: "no", ping: String(PING_S) });
    const quiet = new AbortController();
    const cut = () => quiet.abort();
    stop.addEventListener("abort", cut);
    let watch = setTimeout(cut, SILENCE_MS);
    try {
      const response = await this.ask(url, { headers: { Accept: "text/event-stream" } }, quiet.signal);
      const reader = response.body?.getReader();
      if (reader === undefined) throw new NoLine();
      const lines = new EventLines();
      const text = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(watch);
        watch = setTimeout(cut, SILENCE_MS);
        for (const { event, data } of lines.feed(text.decode(value, { stream: true }))) {
          if (event === "state") tell(JSON.parse(data) as StateChange);
        }
      }
    } catch (error) {
      if (stop.aborted) return;
      throw error instanceof Refused || error instanceof SignedOut ? error : new NoLine(error);
    } finally {
      clearTimeout(watch);
      stop.removeEventListener("abort", cut);
      quiet.abort();
    }
  }

  private async json(url: string, init?: RequestInit): Promise<unknown> {
    const response = await this.ask(url, init);
    try {
      return await response.json();
    } catch (error) {
      throw new NoLine(error);
    }
  }

  private async ask(url: string, init: RequestInit = {}, stop?: AbortSignal): Promise<Response> {
    const patience = new AbortController();
    const clock = setTimeout(() => patience.abort(), this.patienceMs);
    let response: Response;
    try {
      const signal = stop ?? patience.signal;
      response = await this.fetch(absolute(this.base, url), { ...init, signal });
    } catch (error) {
      if (error instanceof SignedOut) throw error;
      throw new NoLine(error);
    } finally {
      clearTimeout(clock);
    }
    if (response.ok) return response;
    throw await failure(response);
  }
}

/** URI templates of RFC 6570 level 1, which is all that RFC 8620 asks for. */
export function expand(template: string, values: Record<string, string>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ""));
}

/** The server's URLs as paths of our own origin: behind a proxy its idea of them may differ. */
function absolute(base: string, url: string): string {
  const { pathname, search } = new URL(url, base);
  return base + pathname + search;
}

async function failure(response: Response): Promise<Error> {
  if (response.status === 401) return new SignedOut();
  if (response.status === 429 || response.status >= 500) {
    const seconds = Number(response.headers.get("Retry-After") ?? "");
    return new Busy(seconds > 0 ? seconds * 1000 : 0);
  }
  try {
    const problem = (await response.json()) as { type?: string; detail?: string };
    const type = (problem.type ?? "").split(":").pop() ?? "";
    return new Refused(type, problem.detail ?? "", response.status);
  } catch {
    return new Refused("http", String(response.status), response.status);
  }
}
