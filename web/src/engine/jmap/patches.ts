/** What a patch does to what is kept here, before the server has heard of it. */
import type { ListRow, MailboxRow, Patch } from "./rows.ts";
import type { EmailFilter, EmailHead, Filter, Id } from "./types.ts";

export function patched(head: EmailHead, patch: Patch): EmailHead {
  const keywords = { ...head.keywords };
  const mailboxIds = { ...head.mailboxIds };
  for (const [path, value] of Object.entries(patch)) {
    const at = path.indexOf("/");
    const target = path.slice(0, at) === "keywords" ? keywords : mailboxIds;
    const name = path.slice(at + 1);
    if (value === true) target[name] = true;
    else delete target[name];
  }
  return { ...head, keywords, mailboxIds };
}

/** The patch that undoes `patch` on this message. */
export function inverse(head: EmailHead, patch: Patch): Patch {
  const back: Patch = {};
  for (const path of Object.keys(patch)) {
    const at = path.indexOf("/");
    const now = path.slice(0, at) === "keywords" ? head.keywords : head.mailboxIds;
    back[path] = now[path.slice(at + 1)] === true ? true : null;
  }
  return back;
}

/** A patch that leaves out what is so already; null where nothing is left. */
export function needed(head: EmailHead, patch: Patch): Patch | null {
  const left: Patch = {};
  const back = inverse(head, patch);
  for (const [path, value] of Object.entries(patch)) {
    if (back[path] !== value) left[path] = value;
  }
  return Object.keys(left).length === 0 ? null : left;
}

const unseen = (head: EmailHead): boolean =>
  head.keywords["$seen"] !== true && head.keywords["$draft"] !== true;

/** Counts of mailboxes as they are after one message changed from `was` to `is` (null: not there). */
export function recount(
  mailboxes: Map<Id, MailboxRow>,
  was: EmailHead | null,
  is: EmailHead | null,
): Set<Id> {
  const changed = new Set<Id>();
  const count = (head: EmailHead | null, by: number) => {
    for (const id of Object.keys(head?.mailboxIds ?? {})) {
      const box = mailboxes.get(id);
      if (head === null || box === undefined) continue;
      const unread = unseen(head) ? by : 0;
      mailboxes.set(id, {
        ...box,
        totalEmails: Math.max(0, box.totalEmails + by),
        unreadEmails: Math.max(0, box.unreadEmails + unread),
      });
      changed.add(id);
    }
  };
  count(was, -1);
  count(is, 1);
  return changed;
}

/** Whether a message belongs into a list; null where only the server can tell. */
export function matches(head: EmailHead, filter: Filter): boolean | null {
  if ("operator" in filter) {
    const said = filter.conditions.map((condition) => matches(head, condition));
    if (filter.operator === "AND") {
      if (said.includes(false)) return false;
      return said.includes(null) ? null : true;
    }
    if (filter.operator === "OR") {
      if (said.includes(true)) return true;
      return said.includes(null) ? null : false;
    }
    if (said.includes(true)) return false;
    return said.includes(null) ? null : true;
  }
  return matchesOne(head, filter);
}

function matchesOne(head: EmailHead, filter: EmailFilter): boolean | null {
  let unknown = false;
  for (const [name, want] of Object.entries(filter)) {
    if (want === undefined) continue;
    const said = condition(head, name, want);
    if (said === false) return false;
    if (said === null) unknown = true;
  }
  return unknown ? null : true;
}

function condition(head: EmailHead, name: string, want: unknown): boolean | null {
  switch (name) {
    case "inMailbox":
      return head.mailboxIds[want as Id] === true;
    case "inMailboxOtherThan":
      return Object.keys(head.mailboxIds).some((id) => !(want as Id[]).includes(id));
    case "hasKeyword":
      return head.keywords[want as string] === true;
    case "notKeyword":
      return head.keywords[want as string] !== true;
    case "hasAttachment":
      return head.hasAttachment === want;
    case "before":
      return head.receivedAt < (want as string);
    case "after":
      return head.receivedAt >= (want as string);
    default:
      return null;
  }
}

/**
 * A list after messages changed. `heads`: all that is known of the messages in it and of the changed
 * ones. New ones are put where their date belongs, if that is within what is loaded.
 */
export function relist(list: ListRow, changed: EmailHead[], heads: Map<Id, EmailHead>): ListRow {
  let ids = list.ids;
  let total = list.total;
  let fresh = list.fresh;
  const whole = list.ids.length >= list.total;
  for (const head of changed) {
    const fits = matches(head, list.spec.filter);
    const at = ids.indexOf(head.id);
    if (fits === null) {
      fresh = false;
    } else if (!fits && at >= 0) {
      ids = ids.filter((id) => id !== head.id);
      total -= 1;
    } else if (fits && at < 0) {
      const put = placed(ids, head, heads, list.spec.threads, whole);
      if (put === null) fresh = false;
      else if (put.length > ids.length) total += 1;
      ids = put ?? ids;
    }
  }
  return { ...list, ids, total: Math.max(total, ids.length), fresh };
}

/** The list with one more message; null where its place is not loaded. */
function placed(
  ids: Id[],
  head: EmailHead,
  heads: Map<Id, EmailHead>,
  threads: boolean,
  whole: boolean,
): Id[] | null {
  const left = [...ids];
  if (threads) {
    const sibling = left.findIndex((id) => heads.get(id)?.threadId === head.threadId);
    if (sibling >= 0) {
      const other = heads.get(left[sibling] as Id);
      if (other !== undefined && other.receivedAt >= head.receivedAt) return ids;
      left.splice(sibling, 1);
    }
  }
  const at = left.findIndex((id) => (heads.get(id)?.receivedAt ?? "") < head.receivedAt);
  if (at < 0 && !whole) return null;
  left.splice(at < 0 ? left.length : at, 0, head.id);
  return left;
}
