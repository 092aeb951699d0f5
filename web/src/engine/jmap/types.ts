/** What goes over the wire: RFC 8620 (core), RFC 8621 (mail), RFC 9404 (blobs), RFC 9425 (quotas). */

export type Id = string;

export const CORE = "urn:ietf:params:jmap:core";
export const MAIL = "urn:ietf:params:jmap:mail";
export const SUBMISSION = "urn:ietf:params:jmap:submission";
export const VACATION = "urn:ietf:params:jmap:vacationresponse";
export const QUOTA = "urn:ietf:params:jmap:quota";
export const BLOB = "urn:ietf:params:jmap:blob";
export const SIEVE = "urn:ietf:params:jmap:sieve";

export interface AccountInfo {
  name: string;
  isPersonal: boolean;
  isReadOnly: boolean;
  accountCapabilities: Record<string, Record<string, unknown>>;
}

/** RFC 8620 §2: the session object. */
export interface Session {
  username: string;
  apiUrl: string;
  downloadUrl: string;
  uploadUrl: string;
  eventSourceUrl: string;
  state: string;
  capabilities: Record<string, Record<string, unknown>>;
  accounts: Record<Id, AccountInfo>;
  primaryAccounts: Record<string, Id>;
}

export type Args = Record<string, unknown>;
export type Invocation = [name: string, args: Args, callId: string];

export interface ResultReference {
  resultOf: string;
  name: string;
  path: string;
}

export interface GetAnswer<T> {
  accountId: Id;
  state: string;
  list: T[];
  notFound: Id[];
}

export interface ChangesAnswer {
  accountId: Id;
  oldState: string;
  newState: string;
  hasMoreChanges: boolean;
  created: Id[];
  updated: Id[];
  destroyed: Id[];
  updatedProperties?: string[] | null;
}

export interface QueryAnswer {
  accountId: Id;
  queryState: string;
  canCalculateChanges: boolean;
  position: number;
  ids: Id[];
  total?: number;
  limit?: number;
}

export interface QueryChangesAnswer {
  accountId: Id;
  oldQueryState: string;
  newQueryState: string;
  total?: number;
  removed: Id[];
  added: { id: Id; index: number }[];
}

export interface SetError {
  type: string;
  description?: string | null;
  properties?: string[];
  [more: string]: unknown;
}

export interface SetAnswer<T> {
  accountId: Id;
  oldState: string | null;
  newState: string;
  created?: Record<string, Partial<T>> | null;
  updated?: Record<Id, Partial<T> | null> | null;
  destroyed?: Id[] | null;
  notCreated?: Record<string, SetError> | null;
  notUpdated?: Record<Id, SetError> | null;
  notDestroyed?: Record<Id, SetError> | null;
}

export type Role =
  | "inbox"
  | "archive"
  | "drafts"
  | "sent"
  | "junk"
  | "trash"
  | "important"
  | "scheduled";

export interface Mailbox {
  id: Id;
  name: string;
  parentId: Id | null;
  role: Role | null;
  sortOrder: number;
  totalEmails: number;
  unreadEmails: number;
  totalThreads: number;
  unreadThreads: number;
  isSubscribed: boolean;
  myRights?: Record<string, boolean>;
}

export interface Address {
  name: string | null;
  email: string;
}

/** The part of an Email that lists and headings need; kept for every message once seen. */
export interface EmailHead {
  id: Id;
  blobId: Id;
  threadId: Id;
  mailboxIds: Record<Id, true>;
  keywords: Record<string, true>;
  size: number;
  receivedAt: string;
  sentAt: string | null;
  messageId: string[] | null;
  inReplyTo: string[] | null;
  references: string[] | null;
  from: Address[] | null;
  to: Address[] | null;
  cc: Address[] | null;
  bcc: Address[] | null;
  replyTo: Address[] | null;
  subject: string | null;
  hasAttachment: boolean;
  preview: string;
}

export const HEAD_PROPERTIES: readonly (keyof EmailHead)[] = [
  "id",
  "blobId",
  "threadId",
  "mailboxIds",
  "keywords",
  "size",
  "receivedAt",
  "sentAt",
  "messageId",
  "inReplyTo",
  "references",
  "from",
  "to",
  "cc",
  "bcc",
  "replyTo",
  "subject",
  "hasAttachment",
  "preview",
];

export interface BodyPart {
  partId: string | null;
  blobId: Id | null;
  size: number;
  name: string | null;
  type: string;
  charset?: string | null;
  disposition: string | null;
  cid: string | null;
  subParts?: BodyPart[] | null;
}

export interface BodyValue {
  value: string;
  isEncodingProblem?: boolean;
  isTruncated?: boolean;
}

/** What reading needs beyond the head; kept by size limit. */
export interface EmailBody {
  id: Id;
  textBody: BodyPart[];
  htmlBody: BodyPart[];
  attachments: BodyPart[];
  bodyValues: Record<string, BodyValue>;
  authenticationResults: string[];
  listUnsubscribe: string[] | null;
}

export interface Thread {
  id: Id;
  emailIds: Id[];
}

export interface Identity {
  id: Id;
  name: string;
  email: string;
  replyTo: Address[] | null;
  bcc: Address[] | null;
  textSignature: string;
  htmlSignature: string;
  mayDelete: boolean;
}

export interface Submission {
  id: Id;
  identityId: Id;
  emailId: Id;
  threadId: Id;
  sendAt: string;
  undoStatus: "pending" | "final" | "canceled";
  deliveryStatus?: Record<string, { smtpReply: string; delivered: string; displayed: string }> | null;
}

export interface Vacation {
  id: "singleton";
  isEnabled: boolean;
  fromDate: string | null;
  toDate: string | null;
  subject: string | null;
  textBody: string | null;
  htmlBody: string | null;
}

export interface Quota {
  id: Id;
  resourceType: "count" | "octets";
  used: number;
  hardLimit: number;
  scope: string;
  name: string;
  types: string[];
}

/** RFC 8621 §4.4.1, as far as we ask. */
export interface EmailFilter {
  inMailbox?: Id;
  inMailboxOtherThan?: Id[];
  before?: string;
  after?: string;
  minSize?: number;
  maxSize?: number;
  hasKeyword?: string;
  notKeyword?: string;
  hasAttachment?: boolean;
  text?: string;
  from?: string;
  to?: string;
  cc?: string;
  bcc?: string;
  subject?: string;
  body?: string;
  header?: string[];
}

export type Filter =
  | EmailFilter
  | { operator: "AND" | "OR" | "NOT"; conditions: Filter[] };

export interface StateChange {
  "@type": "StateChange";
  changed: Record<Id, Record<string, string>>;
}
