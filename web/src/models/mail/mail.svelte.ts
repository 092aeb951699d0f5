// Mail for views: one engine for the account, and what of it is shown everywhere.
import { Mail, type MailPorts } from "../../engine/jmap/mail.ts";
import { mayPass, Refused, SignedOut } from "../../engine/jmap/errors.ts";
import type { Undo } from "../../engine/jmap/deeds.ts";
import type { Draft, EmailRow, ListSpec, MailboxRow, Patch, SubmissionRow } from "../../engine/jmap/rows.ts";
import type { Id, Identity, Quota, Role, Vacation } from "../../engine/jmap/types.ts";
import { engine, localpart, session } from "../session.svelte.ts";
import { byRole } from "./roles.ts";

interface Shown {
  ready: boolean;
  boxes: MailboxRow[];
  line: "up" | "down" | "out";
  waiting: number;
  drafts: Draft[];
  submissions: SubmissionRow[];
  identities: Identity[];
  vacation: Vacation | null;
  quota: Quota[];
  /** Grows with each change of lists or messages: whoever shows some reads them again. */
  version: number;
  uploads: Record<string, { done: number; total: number }>;
}
const nothing = (): Shown => ({
  ready: false,
  boxes: [],
  line: "down",
  waiting: 0,
  drafts: [],
  submissions: [],
  identities: [],
  vacation: null,
  quota: [],
  version: 0,
  uploads: {},
});
export const mail = $state<Shown>(nothing());

let opened: { address: string; mail: Promise<Mail>; over: AbortController } | null = null;
let refused: (type: string) => void = () => undefined;

/** Called when the server would not do a deed. */
export function onRefused(tell: (type: string) => void): void {
  refused = tell;
}

/** `name@domain` of who is signed in. */
export function ownAddress(): string {
  const state = session.state;
  if (state.kind !== "in" && state.kind !== "soft-out") return "";
  const domain = state.userId.slice(state.userId.indexOf(":") + 1);
  return `${localpart(state.userId)}@${domain.replace(/:\d+$/, "")}`;
}

export const ownDomain = (): string => ownAddress().split("@")[1] ?? "";

async function authorised(url: string, init: RequestInit = {}): Promise<Response> {
  const ask = async () =>
    fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${await engine.session.token()}` } });
  const answer = await ask();
  if (answer.status !== 401) return answer;
  // The token may just have ended: a request of the engine's makes it take a new one.
  await engine.session.request({ method: "GET", path: "/_matrix/client/v3/account/whoami" });
  return ask();
}

const noLocks: MailPorts["locks"] = { request: (_, __, work) => work() };

async function start(address: string, over: AbortSignal): Promise<Mail> {
  const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(`kerwen-mail:${address}`);
  const found = await Mail.open({
    fetch: import.meta.env.MODE === "demo" ? await (await import("../../demo/mail.ts")).demoMail(address) : authorised,
    base: location.origin,
    address,
    idb: indexedDB,
    locks: (navigator.locks as MailPorts["locks"] | undefined) ?? noLocks,
    channel,
    now: () => Date.now(),
    random: () => [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(36).padStart(2, "0")).join(""),
  });
  let due: ReturnType<typeof setTimeout> | undefined;
  found.on((event) => {
    if (event.kind === "upload") mail.uploads[event.key] = { done: event.done, total: event.total };
    else if (event.kind === "refused") refused(event.type);
    else due ??= setTimeout(() => ((due = undefined), void read(found, over)), 16);
  });
  addEventListener("online", () => found.retry(), { signal: over });
  document.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "visible") found.retry();
    },
    { signal: over },
  );
  await read(found, over);
  return found;
}

async function read(from: Mail, over: AbortSignal): Promise<void> {
  if (over.aborted) return;
  const [boxes, drafts, submissions, identities, vacation, quota, waiting] = await Promise.all([
    from.mailboxes(), from.drafts(), from.submissions(), from.identities(), from.vacation(), from.quota(), from.waiting(),
  ]);
  if (over.aborted) return;
  Object.assign(mail, { boxes, drafts, submissions, identities, vacation, quota, waiting, line: from.line, ready: true });
  mail.version += 1;
}

/** The engine of the account that is signed in. */
export function theMail(): Promise<Mail> {
  const address = ownAddress();
  if (opened?.address !== address) {
    void leave();
    const over = new AbortController();
    opened = { address, mail: start(address, over.signal), over };
  }
  return opened.mail;
}

/** Ends the mail that is open; nothing of it is shown to who comes next. */
async function leave(): Promise<void> {
  if (opened === null) return;
  const { mail: old, over } = opened;
  opened = null;
  over.abort();
  Object.assign(mail, nothing());
  await old.then((found) => found.close()).catch(() => undefined);
}

engine?.on("session", (state) => {
  const address = opened?.address;
  if (state.kind === "out" && address !== undefined) void leave().then(() => Mail.erase(indexedDB, address));
});

export const box = (role: Role): MailboxRow | undefined => byRole(mail.boxes, role);

/** The identity that a message of ours goes out by, or that one came to. */
export const myAddresses = (): string[] => [ownAddress(), ...mail.identities.map(({ email }) => email)];

// ---------------------------------------------------------------- deeds

/** Each message from where it is to `target`; within one mailbox only what lies in it moves. */
export function moving(heads: EmailRow[], target: Id): Record<Id, Patch> {
  const patches: Record<Id, Patch> = {};
  const stay = new Set([box("sent")?.id, box("drafts")?.id]);
  const special = target === box("trash")?.id || target === box("junk")?.id;
  for (const head of heads) {
    const patch: Patch = { [`mailboxIds/${target}`]: true };
    for (const id of Object.keys(head.mailboxIds)) {
      // What we sent stays in Sent when its conversation is archived.
      if (id === target || (stay.has(id) && !special)) continue;
      patch[`mailboxIds/${id}`] = null;
    }
    const leaves = Object.values(patch).includes(null);
    if (leaves || Object.keys(head.mailboxIds).length === 0) patches[head.id] = patch;
  }
  return patches;
}

export function marking(heads: EmailRow[], keyword: string, on: boolean): Record<Id, Patch> {
  return Object.fromEntries(heads.map((head) => [head.id, { [`keywords/${keyword}`]: on ? true : null } as Patch]));
}

export async function change(patches: Record<Id, Patch>): Promise<Undo> {
  return (await theMail()).patch(patches);
}

/** Junk teaches the filter; so does taking something out of it. */
export function junking(heads: EmailRow[], junk: boolean): Record<Id, Patch> {
  const target = box(junk ? "junk" : "inbox")?.id;
  if (target === undefined) return {};
  const patches = moving(heads, target);
  for (const patch of Object.values(patches)) {
    patch["keywords/$junk"] = junk ? true : null;
    patch["keywords/$notjunk"] = junk ? null : true;
  }
  return patches;
}

/** All messages of these conversations that are shown in a list, and their kin. */
export async function conversations(heads: EmailRow[], spec: ListSpec): Promise<EmailRow[]> {
  if (!spec.threads) return heads;
  const threads = await (await theMail()).threads([...new Set(heads.map(({ threadId }) => threadId))]);
  const all = [...threads.values()].flat();
  const inBox = "inMailbox" in spec.filter ? spec.filter.inMailbox : undefined;
  return inBox === undefined ? all : all.filter((head) => head.mailboxIds[inBox] === true);
}

export type Trouble = "offline" | "busy" | "signed-out" | "too-large" | "over-quota" | "recipients" | "refused";

/** Why something failed, as a code for words. */
export function troubleOf(error: unknown): Trouble {
  if (error instanceof SignedOut) return "signed-out";
  if (error instanceof Refused) return troubleType(error.type);
  return mayPass(error) ? "offline" : "refused";
}

export function troubleType(type: string): Trouble {
  if (type === "tooLarge" || type === "maxSizeUpload") return "too-large";
  if (type === "overQuota") return "over-quota";
  if (/[rR]ecipients/.test(type)) return "recipients";
  return type === "rateLimit" ? "busy" : "refused";
}
