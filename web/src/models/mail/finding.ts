// What is typed into the search field, as a filter; and what can be found without the server.
import type { EmailHead, EmailFilter, Filter, Mailbox } from "../../engine/jmap/types.ts";

const WORD = /(-?)(?:([\p{L}]+):)?("[^"]*"|\S+)/gu;
/** Words before the colon, in the languages of the app, and what they ask. */
const NAMES: Record<string, string> = {
  from: "from", kimden: "from", от: "from", de: "from",
  to: "to", kime: "to", кому: "to", à: "to",
  subject: "subject", tema: "subject", тема: "subject", objet: "subject",
  in: "in", gutuda: "in", в: "in", dans: "in",
  is: "is", has: "has", before: "before", after: "after", larger: "larger", smaller: "smaller",
};

/** `from:ayna "white carpet" has:attachment is:unread before:2026-01-01 -draft`. */
export function filterOf(typed: string, mailboxes: Pick<Mailbox, "id" | "name" | "role">[]): Filter {
  const all: Filter[] = [];
  for (const [, minus, name, raw] of typed.matchAll(WORD)) {
    const value = (raw ?? "").replace(/^"(.*)"$/, "$1").trim();
    if (value === "") continue;
    const known = name === undefined ? undefined : NAMES[name.toLowerCase()];
    const said = known === undefined ? null : condition(known, value, mailboxes);
    const plain = name === undefined || said !== null ? value : `${name}:${value}`;
    const one: EmailFilter = said ?? { text: plain };
    all.push(minus === "-" ? { operator: "NOT", conditions: [one] } : one);
  }
  if (all.length === 0) return {};
  return all.length === 1 ? (all[0] as Filter) : { operator: "AND", conditions: all };
}

function condition(
  name: string,
  value: string,
  mailboxes: Pick<Mailbox, "id" | "name" | "role">[],
): EmailFilter | null {
  const low = value.toLowerCase();
  switch (name) {
    case "from":
    case "to":
    case "subject":
      return { [name]: value };
    case "has":
      return low.startsWith("attach") ? { hasAttachment: true } : null;
    case "is":
      return IS[low] ?? null;
    case "before":
    case "after":
      return day(value) === null ? null : { [name]: day(value) };
    case "larger":
    case "smaller":
      return bytes(low) === null ? null : { [name === "larger" ? "minSize" : "maxSize"]: bytes(low) };
    case "in": {
      const box = mailboxes.find((one) => one.role === low || one.name.toLowerCase() === low);
      return box === undefined ? null : { inMailbox: box.id };
    }
    default:
      return null;
  }
}

const IS: Record<string, EmailFilter> = {
  unread: { notKeyword: "$seen" },
  read: { hasKeyword: "$seen" },
  flagged: { hasKeyword: "$flagged" },
  starred: { hasKeyword: "$flagged" },
  answered: { hasKeyword: "$answered" },
};

function day(value: string): string | null {
  const date = /^(\d{4})-(\d{1,2})-(\d{1,2})$/.exec(value);
  if (date === null) return null;
  const at = Date.UTC(Number(date[1]), Number(date[2]) - 1, Number(date[3]));
  return Number.isNaN(at) ? null : new Date(at).toISOString().slice(0, 19) + "Z";
}

function bytes(value: string): number | null {
  const size = /^(\d+)(k|m|g)?b?$/.exec(value);
  if (size === null) return null;
  return Number(size[1]) * { k: 1e3, m: 1e6, g: 1e9, "": 1 }[size[2] ?? ""]!;
}

/** Off line: whether a message that is kept here fits, by its heading and preview. */
export function fitsHere(head: EmailHead, filter: Filter): boolean {
  if ("operator" in filter) {
    if (filter.operator === "NOT") return !filter.conditions.some((one) => fitsHere(head, one));
    const fits = (one: Filter) => fitsHere(head, one);
    return filter.operator === "AND" ? filter.conditions.every(fits) : filter.conditions.some(fits);
  }
  const people = (list: EmailHead["from"]) =>
    (list ?? []).map(({ name, email }) => `${name ?? ""} ${email}`).join(" ");
  const has = (text: string, want: string | undefined) =>
    want === undefined || text.toLowerCase().includes(want.toLowerCase());
  const subject = head.subject ?? "";
  const to = `${people(head.to)} ${people(head.cc)} ${people(head.bcc)}`;
  return (
    has(`${subject} ${people(head.from)} ${to} ${head.preview}`, filter.text) &&
    has(people(head.from), filter.from) &&
    has(to, filter.to) &&
    has(subject, filter.subject) &&
    (filter.hasAttachment === undefined || head.hasAttachment === filter.hasAttachment) &&
    (filter.hasKeyword === undefined || head.keywords[filter.hasKeyword] === true) &&
    (filter.notKeyword === undefined || head.keywords[filter.notKeyword] !== true) &&
    (filter.before === undefined || head.receivedAt < filter.before) &&
    (filter.after === undefined || head.receivedAt >= filter.after) &&
    (filter.minSize === undefined || head.size >= filter.minSize) &&
    (filter.maxSize === undefined || head.size < filter.maxSize) &&
    (filter.inMailbox === undefined || head.mailboxIds[filter.inMailbox] === true)
  );
}
