/**
 * Sending, so that a cut at any step neither loses nor doubles a message: each step is written down
 * before it is done, and after a lost answer the server is asked what it has.
 */
import type { Answers, Call } from "./batch.ts";
import { type Desk, everyone } from "./desk.ts";
import {
  emailOf,
  findCopies,
  mark,
  rememberWritten,
  roleBox,
  senderOf,
  uploadFiles,
} from "./drafts.ts";
import { Busy, mayPass, NoLine, Refused, SignedOut } from "./errors.ts";
import type { Draft, Patch } from "./rows.ts";
import { type EmailHead, type GetAnswer, type Id, type SetAnswer, SUBMISSION, type Submission } from "./types.ts";

export interface Sending {
  /** Seconds in which it can be taken back, 0 to 30. */
  undoSeconds: number;
  /** When it shall leave (ms); null: at once. */
  sendAt: number | null;
}

/** From now on it is on its way. With it goes whatever the line does. */
export async function send(desk: Desk, key: string, want: Sending): Promise<void> {
  await desk.shelf.write(["drafts"], async (tx) => {
    const draft = await tx.get("drafts", key);
    if (draft === undefined) throw new Refused("notFound");
    if (everyone(draft).length === 0) throw new Refused("noRecipients");
    if (draft.stage === "sending" || draft.stage === "held") return;
    tx.put("drafts", {
      ...draft,
      stage: "sending",
      notBefore: 0,
      holdSeconds: Math.min(30, Math.max(0, want.undoSeconds)),
      sendAt: want.sendAt,
      trouble: null,
    });
  });
  desk.tell({ kind: "drafts" });
  desk.wake();
}

/** Takes it back, if it did not leave yet. True where it is a draft again. */
export async function unsend(desk: Desk, key: string): Promise<boolean> {
  const draft = await desk.shelf.write(["drafts"], async (tx) => {
    const now = await tx.get("drafts", key);
    if (now === undefined || now.stage !== "sending" || now.unsure) return now;
    const back: Draft = { ...now, stage: "writing", notBefore: 0, sendAt: null };
    tx.put("drafts", back);
    return back;
  });
  desk.tell({ kind: "drafts" });
  if (draft === undefined) return false;
  if (draft.stage === "writing") return true;
  if (draft.stage !== "held" || draft.submissionId === null) return false;
  const back = await cancel(desk, draft.submissionId, draft.saved?.emailId ?? null);
  if (back) {
    await mark(desk, key, { stage: "writing", submissionId: null, sendAt: null, unsure: false });
  }
  return back;
}

/** RFC 8621 §7.5: "canceled", and the message is a draft again. False where it was too late. */
export async function cancel(desk: Desk, submissionId: Id, emailId: Id | null): Promise<boolean> {
  const batch = desk.line.batch();
  const back: Record<string, Patch> =
    emailId === null ? {} : { [submissionId]: await movePatch(desk, "sent", "drafts", true) };
  const call = batch.add<SetAnswer<Submission>>("EmailSubmission/set", {
    update: { [submissionId]: { undoStatus: "canceled" } },
    onSuccessUpdateEmail: back,
  });
  const answer = (await desk.line.send(batch)).of(call);
  return answer.notUpdated?.[submissionId] === undefined;
}

async function movePatch(desk: Desk, from: string, to: string, draft: boolean): Promise<Patch> {
  const [source, target] = [await roleBox(desk, from), await roleBox(desk, to)];
  return {
    [`mailboxIds/${source.id}`]: null,
    [`mailboxIds/${target.id}`]: true,
    "keywords/$draft": draft ? true : null,
    "keywords/$seen": true,
  };
}

/** Sends what is due. Gives when the next one is due (ms), or null. */
export async function drainSending(desk: Desk): Promise<number | null> {
  const drafts = await desk.shelf.read(["drafts"], (tx) => tx.all("drafts"));
  let next: number | null = null;
  const later = (at: number) => {
    next = next === null ? at : Math.min(next, at);
  };
  for (const draft of drafts) {
    if (draft.stage === "held") {
      if ((draft.sendAt ?? 0) > desk.now()) later(draft.sendAt ?? 0);
      else await finish(desk, draft);
    } else if (draft.stage === "sending") {
      const at = await localHold(desk, draft);
      if (at > desk.now()) later(at);
      else await sendOne(desk, draft, later);
    }
  }
  return next;
}

/** Where the server cannot hold messages back, we do; `notBefore` is set when it is first seen. */
async function localHold(desk: Desk, draft: Draft): Promise<number> {
  const held = Number(desk.line.capability(SUBMISSION)?.maxDelayedSend ?? 0);
  const wait = holdOf(desk, draft);
  if (wait <= held || draft.notBefore > 0 || draft.unsure) return draft.notBefore;
  const notBefore = desk.now() + wait * 1000;
  await mark(desk, draft.key, { notBefore });
  return notBefore;
}

function holdOf(desk: Desk, draft: Draft): number {
  if (draft.sendAt === null) return draft.holdSeconds;
  return Math.max(0, Math.ceil((draft.sendAt - desk.now()) / 1000));
}

async function sendOne(desk: Desk, draft: Draft, later: (at: number) => void): Promise<void> {
  try {
    await trySend(desk, draft, later);
  } catch (error) {
    if (error instanceof NoLine || error instanceof SignedOut || error instanceof Busy) throw error;
    if (mayPass(error)) throw error;
    const trouble = error instanceof Refused ? error.type : "bug";
    await mark(desk, draft.key, { stage: "failed", trouble, unsure: false });
    if (!(error instanceof Refused)) throw error;
  }
}

async function trySend(desk: Desk, before: Draft, later: (at: number) => void): Promise<void> {
  const draft = await uploadFiles(desk, before);
  const old = (draft.saved?.emailId ?? "") === "" ? [] : [draft.saved?.emailId as Id];
  if (draft.unsure) {
    const copies = await findCopies(desk, draft);
    const sent = await findSubmission(desk, copies);
    if (sent !== null) return held(desk, draft, sent, later);
    for (const id of copies) if (!old.includes(id)) old.push(id);
  }
  if (!(await claim(desk, draft.key))) return;
  const { answers, email, submission } = await submit(desk, draft, old);
  const made = answers.of(email);
  const id = made.created?.m?.id;
  if (id === undefined) throw new Refused(made.notCreated?.m?.type ?? "serverFail");
  await mark(desk, draft.key, { saved: { emailId: id, rev: draft.rev } });
  const sent = answers.of(submission);
  const done = sent.created?.s;
  if (done?.id === undefined) throw new Refused(sent.notCreated?.s?.type ?? "serverFail");
  const { id: submissionId, undoStatus, sendAt } = done;
  await held(
    desk,
    draft,
    { id: submissionId, emailId: id, undoStatus: undoStatus ?? "pending", sendAt: sendAt ?? "" },
    later,
  );
}

/** The last moment in which it can be taken back without asking the server. */
function claim(desk: Desk, key: string): Promise<boolean> {
  return desk.shelf.write(["drafts"], async (tx) => {
    const draft = await tx.get("drafts", key);
    if (draft?.stage !== "sending") return false;
    tx.put("drafts", { ...draft, unsure: true });
    return true;
  });
}

interface Sent {
  answers: Answers;
  email: Call<SetAnswer<EmailHead>>;
  submission: Call<SetAnswer<Submission>>;
}

/** One request: make the message, hand it over, put it into Sent, take the saved draft away. */
async function submit(desk: Desk, draft: Draft, old: Id[]): Promise<Sent> {
  const drafts = await roleBox(desk, "drafts");
  const sender = await senderOf(desk, draft);
  const hold = holdOf(desk, draft);
  const holds = Number(desk.line.capability(SUBMISSION)?.maxDelayedSend ?? 0) >= hold && hold > 0;
  const rcpt = [...new Set(everyone(draft).map(({ email }) => email))];
  const batch = desk.line.batch();
  const email = batch.add<SetAnswer<EmailHead>>("Email/set", {
    create: { m: emailOf(draft, sender.from, drafts.id, stamp(desk.now())) },
  });
  const mailFrom = {
    email: sender.from.email,
    parameters: holds ? { HOLDFOR: String(hold) } : null,
  };
  const submission = batch.add<SetAnswer<Submission>>("EmailSubmission/set", {
    create: {
      s: {
        identityId: sender.id,
        emailId: "#m",
        envelope: { mailFrom, rcptTo: rcpt.map((address) => ({ email: address, parameters: null })) },
      },
    },
    onSuccessUpdateEmail: { "#s": await movePatch(desk, "drafts", "sent", false) },
  });
  const rest: object[] = [];
  if (old.length > 0) rest.push({ destroy: old });
  if (draft.about !== null) {
    rest.push({ update: { [draft.about.emailId]: { [`keywords/${draft.about.keyword}`]: true } } });
  }
  for (const args of rest) batch.add("Email/set", args as Record<string, unknown>);
  return { answers: await desk.line.send(batch), email, submission };
}

const stamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

type Known = Pick<Submission, "id" | "emailId" | "undoStatus" | "sendAt">;

async function findSubmission(desk: Desk, emailIds: Id[]): Promise<Known | null> {
  if (emailIds.length === 0) return null;
  const batch = desk.line.batch();
  const found = batch.add<{ ids: Id[] }>("EmailSubmission/query", { filter: { emailIds } });
  const got = batch.add<GetAnswer<Submission>>("EmailSubmission/get", {
    "#ids": batch.ref(found, "/ids"),
  });
  const list = (await desk.line.send(batch)).of(got).list;
  return list.find(({ undoStatus }) => undoStatus !== "canceled") ?? null;
}

/** The server has it. While it holds it back, it stays here to be taken back. */
async function held(
  desk: Desk,
  draft: Draft,
  sent: Known,
  later: (at: number) => void,
): Promise<void> {
  await rememberWritten(desk, draft);
  const due = sent.sendAt === "" ? desk.now() + holdOf(desk, draft) * 1000 : Date.parse(sent.sendAt);
  const next: Draft = {
    ...draft,
    stage: "held",
    submissionId: sent.id,
    saved: { emailId: sent.emailId, rev: draft.rev },
    unsure: false,
    sendAt: due,
  };
  await mark(desk, draft.key, next);
  if (sent.undoStatus === "final" || due <= desk.now()) await finish(desk, next);
  else later(due);
}

/** It left: the server's copy in Sent is what remains. */
async function finish(desk: Desk, draft: Draft): Promise<void> {
  await desk.shelf.write(["drafts", "files"], async (tx) => {
    for (const file of draft.files) tx.delete("files", file.key);
    tx.delete("drafts", draft.key);
  });
  desk.tell({ kind: "drafts" });
}
