/** Deeds on messages: done here at once, told to the server when there is a line. */
import { changeHeads, type Desk, HEAD_STORES, putHeads } from "./desk.ts";
import { mayPass } from "./errors.ts";
import { inverse, needed, patched } from "./patches.ts";
import type { DeedRow, Patch } from "./rows.ts";
import { type EmailHead, type GetAnswer, HEAD_PROPERTIES, type Id, type SetAnswer } from "./types.ts";

/** Messages in one `Email/set`; the server says 500, we ask for less. */
const MOST_IDS = 250;
/** Deeds that one request carries. */
const MOST_DEEDS = 50;

/** How to take a deed back: what each message's patch has to be. */
export type Undo = Record<Id, Patch>;

/** Does it here and queues it, in one transaction. Gives the way back. */
export async function patch(desk: Desk, wanted: Record<Id, Patch>): Promise<Undo> {
  const undo: Undo = {};
  await desk.shelf.write(HEAD_STORES, async (tx) => {
    const rows = await tx.many("emails", Object.keys(wanted));
    const next = new Map<Id, EmailHead | null>();
    const patches: Record<Id, Patch> = {};
    for (const head of rows) {
      if (head === undefined) continue;
      const left = needed(head, wanted[head.id] as Patch);
      if (left === null) continue;
      undo[head.id] = inverse(head, left);
      patches[head.id] = left;
      next.set(head.id, patched(head, left));
    }
    if (next.size === 0) return;
    await changeHeads(tx, next);
    for (const some of chunks(Object.entries(patches))) {
      tx.put("deeds", { kind: "patch", patches: Object.fromEntries(some), ids: [] });
    }
  });
  toldOf(desk, Object.keys(undo));
  return undo;
}

/** For ever: nobody can take this back. */
export async function destroy(desk: Desk, ids: Id[]): Promise<void> {
  await desk.shelf.write(HEAD_STORES, async (tx) => {
    await changeHeads(tx, new Map(ids.map((id) => [id, null])));
    for (const some of chunks(ids)) {
      tx.put("deeds", { kind: "destroy", patches: {}, ids: some });
    }
  });
  toldOf(desk, ids);
}

function toldOf(desk: Desk, ids: Id[]): void {
  if (ids.length === 0) return;
  desk.tell({ kind: "emails", ids });
  desk.tell({ kind: "mailboxes" });
  desk.tell({ kind: "lists" });
  desk.wake();
}

function chunks<T>(all: T[]): T[][] {
  const some: T[][] = [];
  for (let at = 0; at < all.length; at += MOST_IDS) some.push(all.slice(at, at + MOST_IDS));
  return some;
}

/** Tells the server what waits, in order. Throws where the line ends; what it heard stays done. */
export async function drainDeeds(desk: Desk): Promise<void> {
  for (;;) {
    const waiting = (await desk.shelf.read(["deeds"], (tx) => tx.all("deeds"))).slice(0, MOST_DEEDS);
    const first = waiting[0];
    if (first === undefined) return;
    await tellServer(desk, together(waiting));
  }
}

/** The deeds from the front that one call can carry. */
function together(waiting: DeedRow[]): DeedRow[] {
  const some: DeedRow[] = [];
  let ids = 0;
  for (const deed of waiting) {
    ids += deed.ids.length + Object.keys(deed.patches).length;
    if (some.length > 0 && (deed.kind !== some[0]?.kind || ids > MOST_IDS)) break;
    some.push(deed);
  }
  return some;
}

async function tellServer(desk: Desk, deeds: DeedRow[]): Promise<void> {
  const update: Record<Id, Patch> = {};
  for (const deed of deeds) {
    for (const [id, change] of Object.entries(deed.patches)) {
      update[id] = { ...update[id], ...change };
    }
  }
  const destroyed = deeds.flatMap((deed) => deed.ids);
  const batch = desk.line.batch();
  const args = destroyed.length > 0 ? { destroy: destroyed } : { update };
  const call = batch.add<SetAnswer<EmailHead>>("Email/set", args);
  const answers = await desk.line.send(batch);
  const error = answers.errorOf(call);
  if (error !== null && mayPass(error)) throw error;
  const answer = error === null ? answers.of(call) : null;
  const failed =
    answer === null
      ? [...Object.keys(update), ...destroyed]
      : [...Object.keys(answer.notUpdated ?? {}), ...Object.keys(answer.notDestroyed ?? {})];
  await desk.shelf.write(["deeds"], async (tx) => {
    for (const { no } of deeds) if (no !== undefined) tx.delete("deeds", no);
  });
  if (failed.length > 0) await asServerHasIt(desk, failed, error?.type ?? "notFound");
}

/** Shows again what is true, where the server would not. */
async function asServerHasIt(desk: Desk, ids: Id[], type: string): Promise<void> {
  const batch = desk.line.batch();
  const call = batch.add<GetAnswer<EmailHead>>("Email/get", { ids, properties: HEAD_PROPERTIES });
  const answer = (await desk.line.send(batch)).of(call);
  await desk.shelf.write(HEAD_STORES, async (tx) => {
    const gone = (await tx.many("emails", answer.list.map(({ id }) => id))).includes(undefined);
    await changeHeads(tx, new Map(answer.list.map((head) => [head.id, head])));
    await putHeads(tx, answer.list);
    await changeHeads(tx, new Map(answer.notFound.map((id) => [id, null])));
    // To be destroyed, and still there: no change of the server's brings it back into lists.
    if (gone) for (const list of await tx.all("lists")) tx.put("lists", { ...list, fresh: false, queryState: "" });
  });
  desk.tell({ kind: "emails", ids });
  desk.tell({ kind: "lists" });
  if (answer.notFound.length < ids.length) desk.tell({ kind: "refused", type });
}
