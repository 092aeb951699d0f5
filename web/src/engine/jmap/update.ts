/** What changed on the server since the last time, into the shelf: one transaction an answer. */
import type { Answers, Batch, Call } from "./batch.ts";
import { changeHeads, type Desk, HEAD_STORES, putHeads, rememberPeople } from "./desk.ts";
import { refreshLists } from "./lists.ts";
import type { States } from "./rows.ts";
import {
  type ChangesAnswer,
  type EmailHead,
  type GetAnswer,
  HEAD_PROPERTIES,
  type Id,
  type Identity,
  type Mailbox,
  QUOTA,
  type Quota,
  SUBMISSION,
  type Submission,
  VACATION,
  type Vacation,
} from "./types.ts";

/** Changes in one answer; more come by the next. */
const MOST_CHANGES = 256;

export const readStates = (desk: Desk): Promise<States> =>
  desk.shelf.read(["meta"], async (tx) => (await tx.meta<States>("states")) ?? {});

/** Everything that a new device needs before it shows the first list. */
export async function begin(desk: Desk): Promise<void> {
  const { line, shelf } = desk;
  const batch = line.batch();
  const mailboxes = batch.add<GetAnswer<Mailbox>>("Mailbox/get", { ids: null });
  const email = batch.add<GetAnswer<EmailHead>>("Email/get", { ids: [] });
  const few = askFew(desk, batch);
  const answers = await line.send(batch);
  await shelf.write(["meta", "mailboxes", "submissions"], async (tx) => {
    tx.clear("mailboxes");
    for (const box of answers.of(mailboxes).list) tx.put("mailboxes", box);
    const states: States = {
      Mailbox: answers.of(mailboxes).state,
      Email: answers.of(email).state,
    };
    putFew(answers, few, (key, value) => tx.setMeta(key, value), states);
    tx.setMeta("states", states);
  });
  desk.tell({ kind: "mailboxes" });
  desk.tell({ kind: "settings" });
}

interface Few {
  identities: Call<GetAnswer<Identity>> | null;
  vacation: Call<GetAnswer<Vacation>> | null;
  quota: Call<GetAnswer<Quota>> | null;
}

/** Objects of which there are few are asked for whole. */
function askFew(desk: Desk, batch: Batch): Few {
  const has = (name: string) => desk.line.capability(name) !== null;
  return {
    identities: has(SUBMISSION)
      ? batch.add<GetAnswer<Identity>>("Identity/get", { ids: null })
      : null,
    vacation: has(VACATION)
      ? batch.add<GetAnswer<Vacation>>("VacationResponse/get", { ids: ["singleton"] })
      : null,
    quota: has(QUOTA) ? batch.add<GetAnswer<Quota>>("Quota/get", { ids: null }) : null,
  };
}

function putFew(
  answers: Answers,
  few: Few,
  put: (key: string, value: unknown) => void,
  states: States,
): void {
  const identities = few.identities === null ? null : answers.maybe(few.identities);
  const vacation = few.vacation === null ? null : answers.maybe(few.vacation);
  const quota = few.quota === null ? null : answers.maybe(few.quota);
  if (identities !== null) {
    put("identities", identities.list);
    states.Identity = identities.state;
  }
  if (vacation !== null) {
    put("vacation", vacation.list[0] ?? null);
    states.VacationResponse = vacation.state;
  }
  if (quota !== null) {
    put("quota", quota.list);
    states.Quota = quota.state;
  }
}

export async function updateFew(desk: Desk): Promise<void> {
  const batch = desk.line.batch();
  const few = askFew(desk, batch);
  if (batch.calls.length === 0) return;
  const answers = await desk.line.send(batch);
  await desk.shelf.write(["meta"], async (tx) => {
    const states = (await tx.meta<States>("states")) ?? {};
    putFew(answers, few, (key, value) => tx.setMeta(key, value), states);
    tx.setMeta("states", states);
  });
  desk.tell({ kind: "settings" });
}

/** Asks until nothing is left; then the lists in `keys` follow. */
export async function update(desk: Desk, keys: string[]): Promise<void> {
  const states = await readStates(desk);
  if (states.Mailbox === undefined || states.Email === undefined) {
    await begin(desk);
    await refreshLists(desk, keys);
    return;
  }
  let more = true;
  let any = false;
  while (more) {
    const step = await updateOnce(desk);
    more = step.more;
    any = any || step.any;
  }
  const stale = await desk.shelf.write(["lists"], async (tx) => {
    const lists = await tx.all("lists");
    if (any) for (const list of lists) tx.put("lists", { ...list, fresh: false });
    return lists.filter((list) => any || !list.fresh).map((list) => list.key);
  });
  await refreshLists(desk, keys.filter((key) => stale.includes(key)));
}

interface Calls {
  mailboxes: Call<ChangesAnswer>;
  boxMade: Call<GetAnswer<Mailbox>>;
  boxChanged: Call<GetAnswer<Mailbox>>;
  emails: Call<ChangesAnswer>;
  made: Call<GetAnswer<EmailHead>>;
  touched: Call<GetAnswer<EmailHead>>;
}

function askUpdate(batch: Batch, states: States): Calls {
  const changes = (type: string, sinceState: string | undefined) =>
    batch.add<ChangesAnswer>(`${type}/changes`, { sinceState, maxChanges: MOST_CHANGES });
  const mailboxes = changes("Mailbox", states.Mailbox);
  const get = <T>(type: string, of: Call<unknown>, path: string, properties: unknown) =>
    batch.add<GetAnswer<T>>(`${type}/get`, { "#ids": batch.ref(of, path), properties });
  const boxMade = get<Mailbox>("Mailbox", mailboxes, "/created", null);
  const boxChanged = get<Mailbox>("Mailbox", mailboxes, "/updated", null);
  const emails = changes("Email", states.Email);
  const made = get<EmailHead>("Email", emails, "/created", HEAD_PROPERTIES);
  const touched = get<EmailHead>("Email", emails, "/updated", ["id", "keywords", "mailboxIds"]);
  return { mailboxes, boxMade, boxChanged, emails, made, touched };
}

async function updateOnce(desk: Desk): Promise<{ more: boolean; any: boolean }> {
  const states = await readStates(desk);
  const batch = desk.line.batch();
  const calls = askUpdate(batch, states);
  const answers = await desk.line.send(batch);
  for (const call of [calls.mailboxes, calls.emails]) {
    const error = answers.errorOf(call);
    if (error?.type === "cannotCalculateChanges") {
      await anew(desk);
      return { more: false, any: true };
    }
  }
  const boxes = answers.of(calls.mailboxes);
  const emails = answers.of(calls.emails);
  const ids = await desk.shelf.write(["meta", "drafts", ...HEAD_STORES], async (tx) => {
    const now = (await tx.meta<States>("states")) ?? {};
    // Another tab was quicker with the same answer.
    if (now.Email !== states.Email || now.Mailbox !== states.Mailbox) return [];
    for (const id of boxes.destroyed) tx.delete("mailboxes", id);
    for (const box of [...answers.of(calls.boxMade).list, ...answers.of(calls.boxChanged).list]) {
      tx.put("mailboxes", box);
    }
    const changedIds = await putEmails(tx, answers, calls, emails);
    tx.setMeta("states", { ...now, Mailbox: boxes.newState, Email: emails.newState });
    return changedIds;
  });
  if (boxes.oldState !== boxes.newState) desk.tell({ kind: "mailboxes" });
  if (ids.length > 0) desk.tell({ kind: "emails", ids });
  return {
    more: boxes.hasMoreChanges || emails.hasMoreChanges,
    any: emails.oldState !== emails.newState,
  };
}

async function putEmails(
  tx: Parameters<typeof putHeads>[0],
  answers: Answers,
  calls: Calls,
  emails: ChangesAnswer,
): Promise<Id[]> {
  const made = answers.of(calls.made).list;
  await putHeads(tx, made);
  for (const head of made) {
    if (head.keywords["$draft"] === true) continue;
    await rememberPeople(tx, head.from ?? [], Date.parse(head.receivedAt), false);
  }
  const known: EmailHead[] = [];
  for (const { id, keywords, mailboxIds } of answers.of(calls.touched).list) {
    const row = await tx.get("emails", id);
    if (row !== undefined) known.push({ ...row, keywords, mailboxIds });
  }
  await putHeads(tx, known);
  const gone = new Set(emails.destroyed);
  for (const draft of await tx.all("drafts")) {
    // Written on, or sent, by another device: ours is the older one.
    const { saved, rev, stage } = draft;
    if (stage === "writing" && saved?.rev === rev && gone.has(saved.emailId)) {
      tx.delete("drafts", draft.key);
    }
  }
  // Counts came with the mailboxes; what goes must not be counted off a second time.
  const boxes = await tx.all("mailboxes");
  await changeHeads(tx, new Map(emails.destroyed.map((id) => [id, null])));
  for (const box of boxes) tx.put("mailboxes", box);
  return [...made, ...known].map((head) => head.id).concat(emails.destroyed);
}

/** The server cannot say what changed: forget what may be wrong and begin again. */
async function anew(desk: Desk): Promise<void> {
  await desk.shelf.write(["meta", ...HEAD_STORES], async (tx) => {
    for (const list of await tx.all("lists")) tx.put("lists", { ...list, fresh: false, queryState: "" });
    tx.clear("threads");
    tx.clear("emails");
    tx.setMeta("states", {});
  });
  await begin(desk);
}

/** Messages that wait with the server for their time. */
export async function updateSubmissions(desk: Desk): Promise<void> {
  if (desk.line.capability(SUBMISSION) === null) return;
  const batch = desk.line.batch();
  const found = batch.add<{ ids: Id[] }>("EmailSubmission/query", {
    filter: { undoStatus: "pending" },
    limit: 100,
  });
  const got = batch.add<GetAnswer<Submission>>("EmailSubmission/get", {
    "#ids": batch.ref(found, "/ids"),
  });
  const answer = (await desk.line.send(batch)).maybe(got);
  if (answer === null) return;
  await desk.shelf.write(["submissions"], async (tx) => {
    tx.clear("submissions");
    for (const row of answer.list) tx.put("submissions", row);
  });
  desk.tell({ kind: "submissions" });
}
