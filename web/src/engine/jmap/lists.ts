/** Lists: the beginning of a mailbox or a search, asked for page by page and kept. */
import type { Answers, Batch, Call } from "./batch.ts";
import { type Desk, HEAD_STORES, putHeads } from "./desk.ts";
import { matches } from "./patches.ts";
import type { ListRow, ListSpec } from "./rows.ts";
import type { Tx } from "./shelf.ts";
import {
  type EmailHead,
  type GetAnswer,
  HEAD_PROPERTIES,
  type Id,
  type QueryAnswer,
  type QueryChangesAnswer,
  type Thread,
} from "./types.ts";

export const PAGE = 50;
/** Searches that are kept for reading off line, besides mailboxes. */
const MOST_LISTS = 40;
/** More changes than this, and the list is asked for anew. */
const MOST_CHANGES = 200;

export const listKey = (spec: ListSpec): string => JSON.stringify([spec.filter, spec.threads]);

const query = (spec: ListSpec) => ({
  filter: spec.filter,
  sort: [{ property: "receivedAt", isAscending: false }],
  collapseThreads: spec.threads,
});

interface PageCalls {
  query: Call<QueryAnswer>;
  first: Call<GetAnswer<EmailHead>>;
  threads: Call<GetAnswer<Thread>> | null;
  rest: Call<GetAnswer<EmailHead>> | null;
}

/** RFC 8621 §4.10's four calls: the page, its messages, their conversations, and all of theirs. */
function askPage(batch: Batch, spec: ListSpec, position: number): PageCalls {
  const found = batch.add<QueryAnswer>("Email/query", {
    ...query(spec),
    position,
    limit: PAGE,
    calculateTotal: true,
  });
  const properties = spec.threads ? ["threadId"] : HEAD_PROPERTIES;
  const first = batch.add<GetAnswer<EmailHead>>("Email/get", {
    "#ids": batch.ref(found, "/ids"),
    properties,
  });
  if (!spec.threads) return { query: found, first, threads: null, rest: null };
  const threads = batch.add<GetAnswer<Thread>>("Thread/get", {
    "#ids": batch.ref(first, "/list/*/threadId"),
  });
  const rest = batch.add<GetAnswer<EmailHead>>("Email/get", {
    "#ids": batch.ref(threads, "/list/*/emailIds"),
    properties: HEAD_PROPERTIES,
  });
  return { query: found, first, threads, rest };
}

/** The first page, or the page at `position`, put behind what is there. */
export async function fetchPage(desk: Desk, spec: ListSpec, position: number): Promise<void> {
  const batch = desk.line.batch();
  const calls = askPage(batch, spec, position);
  const answers = await desk.line.send(batch);
  const found = answers.of(calls.query);
  const heads = (calls.rest === null ? answers.of(calls.first) : answers.of(calls.rest)).list;
  const threads = calls.threads === null ? [] : answers.of(calls.threads).list;
  await desk.shelf.write(HEAD_STORES, async (tx) => {
    await putHeads(tx, heads);
    for (const { id, emailIds } of threads) tx.put("threads", { id, emailIds, whole: true });
    await putPage(tx, spec, found, desk.now());
  });
  desk.tell({ kind: "lists" });
}

async function putPage(tx: Tx, spec: ListSpec, found: QueryAnswer, now: number): Promise<void> {
  const key = listKey(spec);
  const old = await tx.get("lists", key);
  const joins =
    found.position > 0 && old !== undefined && old.ids.length >= found.position;
  const before = joins ? old.ids.slice(0, found.position) : [];
  const ids = [...new Set([...before, ...found.ids])];
  const row: ListRow = {
    key,
    spec,
    ids: found.position > 0 && !joins ? (old?.ids ?? []) : ids,
    total: found.total ?? ids.length,
    // A page that was got later than the first says nothing of changes between the two.
    queryState: joins ? old.queryState : found.queryState,
    fresh: joins ? old.fresh && old.queryState === found.queryState : true,
    usedAt: now,
  };
  tx.put("lists", await withoutMoved(tx, row));
  await forgetOld(tx);
}

/** Leaves out what we moved away while the server did not know of it yet. */
async function withoutMoved(tx: Tx, row: ListRow): Promise<ListRow> {
  if ((await tx.keys("deeds")).length === 0) return row;
  const heads = await tx.many("emails", row.ids);
  const ids = row.ids.filter((_, at) => {
    const head = heads[at];
    return head === undefined || matches(head, row.spec.filter) !== false;
  });
  return ids.length === row.ids.length
    ? row
    : { ...row, ids, total: row.total - (row.ids.length - ids.length) };
}

async function forgetOld(tx: Tx): Promise<void> {
  const lists = await tx.all("lists");
  if (lists.length <= MOST_LISTS) return;
  lists.sort((a, b) => a.usedAt - b.usedAt);
  for (const { key } of lists.slice(0, lists.length - MOST_LISTS)) tx.delete("lists", key);
}

/** What became of a list since it was asked for; null where the whole must be asked anew. */
export function askChanges(batch: Batch, list: ListRow): Call<QueryChangesAnswer> {
  return batch.add<QueryChangesAnswer>("Email/queryChanges", {
    ...query(list.spec),
    sinceQueryState: list.queryState,
    maxChanges: MOST_CHANGES,
    calculateTotal: true,
  });
}

/** RFC 8620 §5.6: take away what went, put in what came, in the order of places. */
export function changed(list: ListRow, answer: QueryChangesAnswer): ListRow {
  const gone = new Set(answer.removed);
  const whole = list.ids.length >= list.total;
  const ids = list.ids.filter((id) => !gone.has(id));
  for (const { id, index } of [...answer.added].sort((a, b) => a.index - b.index)) {
    if (ids.includes(id)) continue;
    if (index < ids.length || (index === ids.length && whole)) ids.splice(index, 0, id);
  }
  const total = answer.total ?? list.total - answer.removed.length + answer.added.length;
  return { ...list, ids, total, queryState: answer.newQueryState, fresh: true };
}

/** Brings lists up to date: by their changes, else by their first page. */
export async function refreshLists(desk: Desk, keys: string[]): Promise<void> {
  const rows = await desk.shelf.read(["lists"], (tx) => tx.many("lists", keys));
  const lists = rows.filter((row) => row !== undefined);
  if (lists.length === 0) return;
  const batch = desk.line.batch();
  const calls = lists.map((list) => askChanges(batch, list));
  const answers = await desk.line.send(batch);
  const anew: ListSpec[] = [];
  const unknown = new Set<Id>();
  await desk.shelf.write(HEAD_STORES, async (tx) => {
    for (const [at, list] of lists.entries()) {
      await putChanges(tx, list, answers, calls[at] as Call<QueryChangesAnswer>, anew, unknown);
    }
  });
  if (unknown.size > 0) await fetchHeads(desk, [...unknown]);
  for (const spec of anew) await fetchPage(desk, spec, 0);
  desk.tell({ kind: "lists" });
}

async function putChanges(
  tx: Tx,
  list: ListRow,
  answers: Answers,
  call: Call<QueryChangesAnswer>,
  anew: ListSpec[],
  unknown: Set<Id>,
): Promise<void> {
  const answer = answers.maybe(call);
  if (answer === null || answers.errorOf(call) !== null) {
    anew.push(list.spec);
    return;
  }
  const now = await tx.get("lists", list.key);
  if (now === undefined || now.queryState !== list.queryState) return;
  const row = await withoutMoved(tx, changed(now, answer));
  tx.put("lists", row);
  const heads = await tx.many("emails", row.ids);
  for (const [at, id] of row.ids.entries()) if (heads[at] === undefined) unknown.add(id);
}

/** Heads of these messages and of their conversations. */
export async function fetchHeads(desk: Desk, ids: Id[]): Promise<void> {
  for (let at = 0; at < ids.length; at += PAGE) {
    const batch = desk.line.batch();
    const first = batch.add<GetAnswer<EmailHead>>("Email/get", {
      ids: ids.slice(at, at + PAGE),
      properties: ["threadId"],
    });
    const threads = batch.add<GetAnswer<Thread>>("Thread/get", {
      "#ids": batch.ref(first, "/list/*/threadId"),
    });
    const heads = batch.add<GetAnswer<EmailHead>>("Email/get", {
      "#ids": batch.ref(threads, "/list/*/emailIds"),
      properties: HEAD_PROPERTIES,
    });
    const answers = await desk.line.send(batch);
    await desk.shelf.write(HEAD_STORES, async (tx) => {
      await putHeads(tx, answers.of(heads).list);
      for (const thread of answers.of(threads).list) tx.put("threads", { ...thread, whole: true });
    });
  }
}

/** The conversation with all its messages. */
export async function fetchThread(desk: Desk, threadId: Id): Promise<void> {
  const batch = desk.line.batch();
  const threads = batch.add<GetAnswer<Thread>>("Thread/get", { ids: [threadId] });
  const heads = batch.add<GetAnswer<EmailHead>>("Email/get", {
    "#ids": batch.ref(threads, "/list/*/emailIds"),
    properties: HEAD_PROPERTIES,
  });
  const answers = await desk.line.send(batch);
  await desk.shelf.write(HEAD_STORES, async (tx) => {
    await putHeads(tx, answers.of(heads).list);
    for (const thread of answers.of(threads).list) tx.put("threads", { ...thread, whole: true });
  });
  desk.tell({ kind: "emails", ids: answers.of(heads).list.map((head) => head.id) });
}
