/** What is kept in IndexedDB. */
import type { Address, EmailBody, EmailHead, Filter, Id, Mailbox, Submission } from "./types.ts";

export type EmailRow = EmailHead;
export type MailboxRow = Mailbox;

/** The messages of a conversation that are known here; `whole` once the server named them all. */
export interface ThreadRow {
  id: Id;
  emailIds: Id[];
  whole: boolean;
}

export interface BodyRow extends EmailBody {
  bytes: number;
  usedAt: number;
}

/** What a list shows: a mailbox, a search, or both. */
export interface ListSpec {
  filter: Filter;
  /** One row for each conversation. */
  threads: boolean;
}

/** The beginning of a list, as far as it was looked at. */
export interface ListRow {
  key: string;
  spec: ListSpec;
  ids: Id[];
  total: number;
  queryState: string;
  /** False where changes went by that were not asked for; then it is asked for anew when opened. */
  fresh: boolean;
  usedAt: number;
}

/** `null` takes away, `true` puts. Paths as in RFC 8621 §4.6: `keywords/$seen`, `mailboxIds/…`. */
export type Patch = Record<string, true | null>;

/** A deed that waits for the line. Patches set things to what they shall be: doing one twice is harmless. */
export interface DeedRow {
  no?: number;
  kind: "patch" | "destroy";
  /** For patches: what becomes of which message. */
  patches: Record<Id, Patch>;
  /** For destroy. */
  ids: Id[];
}

export type Stage =
  /** being written */
  | "writing"
  /** to be sent as soon as the line and its time allow */
  | "sending"
  /** with the server, which still holds it back */
  | "held"
  /** the server, or we, could not: `trouble` says why */
  | "failed";

export interface DraftFile {
  key: string;
  name: string;
  type: string;
  size: number;
  /** Set for pictures in the text. */
  cid: string | null;
  /** Set once the server has it, or where it came with the message answered or forwarded. */
  blobId: Id | null;
  /** Pieces that went before a cut. */
  pieces: Id[];
}

export interface Draft {
  key: string;
  identityId: Id | null;
  to: Address[];
  cc: Address[];
  bcc: Address[];
  subject: string;
  /** Safe HTML; null in a plain message. */
  html: string | null;
  text: string;
  files: DraftFile[];
  messageId: string;
  inReplyTo: string[];
  references: string[];
  /** What was answered or forwarded; gets its mark when this is sent. */
  about: { emailId: Id; keyword: "$answered" | "$forwarded" } | null;
  /** Counts each change. */
  rev: number;
  changedAt: number;
  /** What the server has: which message, and of which change. */
  saved: { emailId: Id; rev: number } | null;
  /** An answer got lost: look what the server has before doing it again. */
  unsure: boolean;
  stage: Stage;
  /** When sending: not before this time (ms). */
  notBefore: number;
  /** When sending: how many seconds the server shall hold it. */
  holdSeconds: number;
  /** When scheduled: the time (ms), else null. */
  sendAt: number | null;
  submissionId: Id | null;
  trouble: string | null;
}

/** The bytes of an attachment until the server has them. */
export interface FileRow {
  key: string;
  data: Blob | Uint8Array;
}

/** Somebody who was written to or who wrote, for suggestions. */
export interface ContactRow {
  /** Lower case. */
  email: string;
  name: string | null;
  written: number;
  seenAt: number;
  /** "always" once remote pictures of this sender were allowed for good. */
  pictures: "ask" | "always";
}

export type SubmissionRow = Submission;

/** Objects of which there are few, each under its name. */
export interface MetaRow {
  key: string;
  value: unknown;
}

/** The state strings up to which the rows here are true. */
export interface States {
  Mailbox?: string;
  Email?: string;
  Identity?: string;
  EmailSubmission?: string;
  VacationResponse?: string;
  Quota?: string;
}
