/** What the parts of the mail engine share: the line, the shelf, the clock, and who is told. */
import type { Line } from "./line.ts";
import type { Draft, EmailRow, ListRow, MailboxRow, Patch } from "./rows.ts";
import { matches, patched, recount, relist } from "./patches.ts";
import type { Shelf, StoreName, Tx } from "./shelf.ts";
import type { EmailHead, Id } from "./types.ts";

export type MailEvent =
  | { kind: "mailboxes" }
  | { kind: "lists" }
  | { kind: "emails"; ids: Id[] }
  | { kind: "drafts" }
  | { kind: "upload"; key: string; done: number; total: number }
  | { kind: "submissions" }
  | { kind: "settings" }
  /** A deed that the server would not do; what is shown is as the server has it. */
  | { kind: "refused"; type: string }
  | { kind: "line" }
  /** Another tab has work for whoever sends. */
  | { kind: "work" };

export interface Desk {
  line: Line;
  shelf: Shelf;
  now(): number;
  tell(event: MailEvent): void;
  /** Ask for a round soon: there is something to send. */
  wake(): void;
}

export const HEAD_STORES: StoreName[] = ["emails", "threads", "mailboxes", "lists", "deeds", "contacts"];

/** Deeds that the server has not heard of yet: one patch for each message, null where it goes. */
async function waiting(tx: Tx): Promise<Map<Id, Patch | null>> {
  const patches = new Map<Id, Patch | null>();
  for (const deed of await tx.all("deeds")) {
    for (const id of deed.ids) patches.set(id, null);
    for (const [id, patch] of Object.entries(deed.patches)) {
      patches.set(id, { ...patches.get(id), ...patch });
    }
  }
  return patches;
}

/** Puts heads as the server has them, with what waits to be done on top. */
export async function putHeads(tx: Tx, heads: EmailHead[]): Promise<EmailRow[]> {
  const patches = await waiting(tx);
  const put: EmailRow[] = [];
  for (const head of heads) {
    const patch = patches.get(head.id);
    if (patch === null) continue;
    const row = patch === undefined ? head : patched(head, patch);
    tx.put("emails", row);
    put.push(row);
  }
  const threads = [...new Set(put.map((row) => row.threadId))];
  const known = await tx.many("threads", threads);
  for (const [at, id] of threads.entries()) {
    const mine = put.filter((row) => row.threadId === id).map((row) => row.id);
    const old = known[at] ?? { id, emailIds: [], whole: false };
    const fresh = mine.filter((emailId) => !old.emailIds.includes(emailId));
    if (fresh.length > 0 || known[at] === undefined) {
      tx.put("threads", { ...old, emailIds: [...old.emailIds, ...fresh] });
    }
  }
  return put;
}

/** Changes rows here and now: heads, counts, lists. Gives how they were. */
export async function changeHeads(tx: Tx, next: Map<Id, EmailHead | null>): Promise<EmailHead[]> {
  const was = (await tx.many("emails", [...next.keys()])).filter((row) => row !== undefined);
  const mailboxes = new Map((await tx.all("mailboxes")).map((box) => [box.id, box]));
  const touched = new Set<Id>();
  for (const old of was) {
    const is = next.get(old.id) ?? null;
    for (const id of recount(mailboxes, old, is)) touched.add(id);
    if (is === null) tx.delete("emails", old.id);
    else tx.put("emails", is);
  }
  for (const id of touched) tx.put("mailboxes", mailboxes.get(id) as MailboxRow);
  await changeLists(tx, was, next);
  await changeThreads(tx, was, next);
  return was;
}

async function changeLists(
  tx: Tx,
  was: EmailHead[],
  next: Map<Id, EmailHead | null>,
): Promise<void> {
  const known = was.map((old) => next.get(old.id) ?? null).filter((head) => head !== null);
  const gone = new Set(was.filter((old) => next.get(old.id) === null).map((old) => old.id));
  for (const list of await tx.all("lists")) {
    const ids = list.ids.filter((id) => !gone.has(id));
    const lost = list.ids.length - ids.length;
    const short: ListRow = lost === 0 ? list : { ...list, ids, total: list.total - lost };
    const concerned = known.filter(
      (head) => short.ids.includes(head.id) || matches(head, list.spec.filter) !== false,
    );
    const heads = new Map<Id, EmailHead>();
    if (concerned.length > 0) {
      for (const row of await tx.many("emails", short.ids)) if (row !== undefined) heads.set(row.id, row);
      for (const head of concerned) heads.set(head.id, head);
    }
    const after = relist(short, concerned, heads);
    if (after.ids !== list.ids || after.fresh !== list.fresh) tx.put("lists", after);
  }
}

async function changeThreads(
  tx: Tx,
  was: EmailHead[],
  next: Map<Id, EmailHead | null>,
): Promise<void> {
  for (const old of was) {
    if (next.get(old.id) !== null) continue;
    const thread = await tx.get("threads", old.threadId);
    if (thread === undefined) continue;
    const emailIds = thread.emailIds.filter((id) => id !== old.id);
    if (emailIds.length === 0) tx.delete("threads", thread.id);
    else tx.put("threads", { ...thread, emailIds });
  }
}

/** People of a message, for suggestions. `written`: we wrote it to them. */
export async function rememberPeople(
  tx: Tx,
  people: { email: string; name: string | null }[],
  at: number,
  written: boolean,
): Promise<void> {
  for (const { email, name } of people) {
    const key = email.toLowerCase();
    if (key === "" || key.length > 320) continue;
    const old = await tx.get("contacts", key);
    tx.put("contacts", {
      email: key,
      name: name ?? old?.name ?? null,
      written: (old?.written ?? 0) + (written ? 1 : 0),
      seenAt: Math.max(old?.seenAt ?? 0, at),
      pictures: old?.pictures ?? "ask",
    });
  }
}

export const everyone = (draft: Draft) => [...draft.to, ...draft.cc, ...draft.bcc];
