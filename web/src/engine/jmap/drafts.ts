/** Drafts: kept here with each pause of the typing hand, on the server now and then. */
import { type Desk, everyone, HEAD_STORES, rememberPeople } from "./desk.ts";
import { Refused } from "./errors.ts";
import { PIECE_BYTES } from "./line.ts";
import type { Draft, DraftFile } from "./rows.ts";
import { type Address, type EmailHead, type Id, type Mailbox, type SetAnswer } from "./types.ts";

export function newDraft(now: number, domain: string, random: () => string): Draft {
  return {
    key: random(),
    identityId: null,
    to: [],
    cc: [],
    bcc: [],
    subject: "",
    html: null,
    text: "",
    files: [],
    messageId: `${random()}@${domain}`,
    inReplyTo: [],
    references: [],
    about: null,
    rev: 0,
    changedAt: now,
    saved: null,
    unsure: false,
    stage: "writing",
    notBefore: 0,
    holdSeconds: 0,
    sendAt: null,
    submissionId: null,
    trouble: null,
  };
}

export const isEmpty = (draft: Draft): boolean =>
  everyone(draft).length === 0 &&
  draft.subject.trim() === "" &&
  draft.text.trim() === "" &&
  draft.files.length === 0;

/** What the writer may change; the rest is the engine's. */
export type Written = Pick<
  Draft,
  "identityId" | "to" | "cc" | "bcc" | "subject" | "html" | "text" | "files"
>;

/** Keeps what was written. Refuses once it is on its way. */
export async function keepDraft(desk: Desk, draft: Draft, written: Written): Promise<Draft> {
  const kept = await desk.shelf.write(["drafts"], async (tx) => {
    const now = (await tx.get("drafts", draft.key)) ?? draft;
    if (now.stage === "sending" || now.stage === "held") throw new Refused("sending");
    const files = written.files.map((file) => {
      const old = now.files.find(({ key }) => key === file.key);
      return old === undefined ? file : { ...file, blobId: old.blobId, pieces: old.pieces };
    });
    const next: Draft = {
      ...now,
      ...written,
      files,
      rev: now.rev + 1,
      changedAt: desk.now(),
      stage: "writing",
      trouble: null,
    };
    tx.put("drafts", next);
    return next;
  });
  desk.tell({ kind: "drafts" });
  return kept;
}

export async function addFile(desk: Desk, file: DraftFile, data: Blob): Promise<void> {
  // As bytes: some browsers lose blobs that were put into IndexedDB.
  const bytes = new Uint8Array(await data.arrayBuffer());
  await desk.shelf.write(["files"], async (tx) => tx.put("files", { key: file.key, data: bytes }));
}

/** Away with it, here and on the server. */
export async function dropDraft(desk: Desk, key: string): Promise<Id | null> {
  const saved = await desk.shelf.write(["drafts", "files"], async (tx) => {
    const draft = await tx.get("drafts", key);
    for (const file of draft?.files ?? []) tx.delete("files", file.key);
    tx.delete("drafts", key);
    return draft?.saved?.emailId ?? null;
  });
  desk.tell({ kind: "drafts" });
  return saved;
}

/** Sends what the server lacks of the attachments. Pieces that went stay gone after a cut. */
export async function uploadFiles(desk: Desk, draft: Draft): Promise<Draft> {
  let now = draft;
  for (const file of draft.files) {
    if (file.blobId !== null) continue;
    const row = await desk.shelf.read(["files"], (tx) => tx.get("files", file.key));
    if (row === undefined) throw new Refused("blobNotFound", file.name);
    const data = new Blob([row.data as BlobPart], { type: file.type });
    const progress = (done: number) =>
      desk.tell({ kind: "upload", key: file.key, done: Math.min(done, file.size), total: file.size });
    progress(file.pieces.length * PIECE_BYTES);
    const uploaded = await desk.line.upload(data, file.type, file.pieces, async (pieces) => {
      now = await setFile(desk, now.key, { ...file, pieces });
      progress(pieces.length * PIECE_BYTES);
    });
    now = await setFile(desk, now.key, { ...file, blobId: uploaded.blobId, pieces: [] });
    progress(file.size);
  }
  return now;
}

function setFile(desk: Desk, key: string, file: DraftFile): Promise<Draft> {
  return desk.shelf.write(["drafts"], async (tx) => {
    const draft = await tx.get("drafts", key);
    if (draft === undefined) throw new Refused("notFound");
    const files = draft.files.map((old) =>
      old.key === file.key ? { ...old, blobId: file.blobId, pieces: file.pieces } : old,
    );
    const next = { ...draft, files };
    tx.put("drafts", next);
    return next;
  });
}

/** RFC 8621 §4: the message as `Email/set` makes it. */
export function emailOf(draft: Draft, from: Address, mailboxId: Id, sentAt: string): object {
  const part = (file: DraftFile) => ({
    blobId: file.blobId,
    type: file.type === "" ? "application/octet-stream" : file.type,
    name: file.name,
    disposition: file.cid === null ? "attachment" : "inline",
    ...(file.cid === null ? {} : { cid: file.cid }),
  });
  const inline = draft.html === null ? [] : draft.files.filter((file) => file.cid !== null);
  const attached = draft.files.filter((file) => !inline.includes(file));
  const text = { partId: "text", type: "text/plain" };
  const html = { partId: "html", type: "text/html" };
  const related =
    inline.length === 0
      ? html
      : { type: "multipart/related", subParts: [html, ...inline.map(part)] };
  const body =
    draft.html === null ? text : { type: "multipart/alternative", subParts: [text, related] };
  const values: Record<string, { value: string }> = { text: { value: draft.text } };
  if (draft.html !== null) values.html = { value: draft.html };
  const some = (people: Address[]) => (people.length === 0 ? null : people);
  return {
    mailboxIds: { [mailboxId]: true },
    keywords: { $draft: true, $seen: true },
    from: [from],
    to: some(draft.to),
    cc: some(draft.cc),
    bcc: some(draft.bcc),
    subject: draft.subject,
    sentAt,
    messageId: [draft.messageId],
    inReplyTo: draft.inReplyTo.length === 0 ? null : draft.inReplyTo,
    references: draft.references.length === 0 ? null : draft.references,
    bodyStructure:
      attached.length === 0
        ? body
        : { type: "multipart/mixed", subParts: [body, ...attached.map(part)] },
    bodyValues: values,
  };
}

export async function roleBox(desk: Desk, role: string): Promise<Mailbox> {
  const boxes = await desk.shelf.read(["mailboxes"], (tx) => tx.all("mailboxes"));
  const box = boxes.find((row) => row.role === role);
  if (box === undefined) throw new Refused("noMailbox", role);
  return box;
}

export async function senderOf(desk: Desk, draft: Draft): Promise<{ id: Id; from: Address }> {
  const identities =
    (await desk.shelf.read(["meta"], (tx) =>
      tx.meta<{ id: Id; name: string; email: string }[]>("identities"),
    )) ?? [];
  const identity = identities.find(({ id }) => id === draft.identityId) ?? identities[0];
  if (identity === undefined) throw new Refused("noIdentity");
  const name = identity.name === "" ? null : identity.name;
  return { id: identity.id, from: { name, email: identity.email } };
}

/** What the server has of a draft whose answer got lost, by its Message-ID. */
export async function findCopies(desk: Desk, draft: Draft): Promise<Id[]> {
  const batch = desk.line.batch();
  const call = batch.add<{ ids: Id[] }>("Email/query", {
    filter: { header: ["Message-ID", draft.messageId] },
    sort: [{ property: "receivedAt", isAscending: false }],
  });
  return (await desk.line.send(batch)).of(call).ids;
}

/**
 * Saves drafts that the server has not got in this form and that were let alone for `quietMs`.
 * Gives when to look again (ms), or null.
 */
export async function saveDrafts(desk: Desk, quietMs: number): Promise<number | null> {
  const drafts = await desk.shelf.read(["drafts"], (tx) => tx.all("drafts"));
  let next: number | null = null;
  for (const draft of drafts) {
    if (draft.stage !== "writing" || isEmpty(draft) || draft.saved?.rev === draft.rev) continue;
    const due = draft.changedAt + quietMs;
    if (due > desk.now()) {
      next = Math.min(next ?? due, due);
      continue;
    }
    try {
      await saveDraft(desk, draft);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      // Said in the page; tried again with the next change.
      await mark(desk, draft.key, { trouble: error.type, saved: { emailId: draft.saved?.emailId ?? "", rev: draft.rev } });
    }
  }
  return next;
}

async function saveDraft(desk: Desk, before: Draft): Promise<void> {
  const box = await roleBox(desk, "drafts");
  const draft = await uploadFiles(desk, before);
  const { from } = await senderOf(desk, draft);
  const copies = draft.unsure ? await findCopies(desk, draft) : [];
  const saved = draft.saved?.emailId ?? "";
  if (saved !== "" && !copies.includes(saved)) copies.push(saved);
  await mark(desk, draft.key, { unsure: true });
  const batch = desk.line.batch();
  const make = batch.add<SetAnswer<EmailHead>>("Email/set", {
    create: { m: emailOf(draft, from, box.id, new Date(desk.now()).toISOString().slice(0, 19) + "Z") },
  });
  if (copies.length > 0) batch.add("Email/set", { destroy: copies });
  const answer = (await desk.line.send(batch)).of(make);
  const id = answer.created?.m?.id;
  if (id === undefined) throw new Refused(answer.notCreated?.m?.type ?? "serverFail");
  await mark(desk, draft.key, { saved: { emailId: id, rev: draft.rev }, unsure: false });
}

/** Changes what the engine keeps of a draft. Does not count as writing. */
export async function mark(desk: Desk, key: string, change: Partial<Draft>): Promise<void> {
  await desk.shelf.write(["drafts"], async (tx) => {
    const draft = await tx.get("drafts", key);
    if (draft !== undefined) tx.put("drafts", { ...draft, ...change });
  });
  desk.tell({ kind: "drafts" });
}

export async function rememberWritten(desk: Desk, draft: Draft): Promise<void> {
  await desk.shelf.write(HEAD_STORES, (tx) =>
    rememberPeople(tx, everyone(draft), desk.now(), true),
  );
}

