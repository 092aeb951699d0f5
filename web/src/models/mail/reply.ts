// Answering and forwarding as mail programs do (RFC 5322 §3.6.4, RFC 3676 §4.5).
import type { Draft } from "../../engine/jmap/rows.ts";
import type { Address, EmailHead } from "../../engine/jmap/types.ts";
import { same, shown, unique } from "./addresses.ts";

export type Way = "reply" | "all" | "forward";

/** Reply marks of other programs and languages, so that subjects do not grow. */
const RE = /^\s*((re|aw|sv|antw|отв|ответ|réf|jog)(\[\d+\])?\s*:\s*)+/i;
const FWD = /^\s*((fwd?|wg|tr|пересл|vs)(\[\d+\])?\s*:\s*)+/i;
const MOST_REFERENCES = 30;

export function subjectOf(subject: string | null, way: Way): string {
  let text = (subject ?? "").trim();
  for (let before = ""; before !== text; ) {
    before = text;
    text = text.replace(RE, "").trim();
    if (way === "forward") text = text.replace(FWD, "").trim();
  }
  return `${way === "forward" ? "Fwd" : "Re"}: ${text}`;
}

/** Whom an answer goes to. What we sent ourselves is answered to those it went to. */
export function recipients(
  head: EmailHead,
  way: Way,
  mine: string[],
): { to: Address[]; cc: Address[] } {
  if (way === "forward") return { to: [], cc: [] };
  const own = ({ email }: Address) => mine.some((me) => same(me, email));
  const from = head.from ?? [];
  const sentByUs = from.some(own);
  const replyTo = head.replyTo !== null && head.replyTo.length > 0 ? head.replyTo : from;
  const to = unique(sentByUs ? (head.to ?? []) : replyTo);
  if (way === "reply") return { to, cc: [] };
  const others = sentByUs ? (head.cc ?? []) : [...(head.to ?? []), ...(head.cc ?? [])];
  const cc = unique(others).filter(
    (one) => !own(one) && !to.some(({ email }) => same(email, one.email)),
  );
  return { to, cc };
}

export function references(head: EmailHead): { inReplyTo: string[]; references: string[] } {
  const id = head.messageId?.[0];
  const before = head.references ?? head.inReplyTo ?? [];
  if (id === undefined) return { inReplyTo: [], references: before };
  const all = [...before.filter((old) => old !== id), id];
  // The first tells where the conversation began; of the rest the last ones count.
  const kept = all.length > MOST_REFERENCES ? [all[0] as string, ...all.slice(1 - MOST_REFERENCES)] : all;
  return { inReplyTo: [id], references: kept };
}

/** Each line with `> ` before it; lines that are quotes already get `>` alone. */
export function quotedText(text: string): string {
  return text
    .replace(/\r\n/g, "\n")
    .replace(/\n-- \n[\s\S]*$/, "")
    .trimEnd()
    .split("\n")
    .map((line) => (line.startsWith(">") ? `>${line}` : line === "" ? ">" : `> ${line}`))
    .join("\n");
}

export interface Phrases {
  /** "On 3 March Ayna wrote:" */
  wrote: string;
  forwarded: string;
  from: string;
  to: string;
  cc: string;
  subject: string;
  date: string;
}

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign] ?? sign);

/** Text as HTML, line by line. */
export const textHtml = (text: string): string =>
  text
    .split("\n")
    .map((line) => `<div>${line === "" ? "<br>" : escaped(line)}</div>`)
    .join("");

function forwardLines(head: EmailHead, date: string, say: Phrases): [string, string][] {
  const list = (people: Address[] | null) => (people ?? []).map(shown).join(", ");
  const lines: [string, string][] = [
    [say.from, list(head.from)],
    [say.to, list(head.to)],
    [say.cc, list(head.cc)],
    [say.date, date],
    [say.subject, head.subject ?? ""],
  ];
  return lines.filter(([, value]) => value !== "");
}

/**
 * What stands below the writer's own words, as text and as HTML. `html`: the safe form of the
 * original, without pictures from elsewhere.
 */
export function original(
  head: EmailHead,
  text: string,
  html: string,
  way: Way,
  date: string,
  say: Phrases,
): { text: string; html: string } {
  if (way !== "forward") {
    return {
      text: `${say.wrote}\n${quotedText(text)}\n`,
      html: `<div>${escaped(say.wrote)}</div><blockquote type="cite">${html}</blockquote>`,
    };
  }
  const lines = forwardLines(head, date, say);
  const top = `---------- ${say.forwarded} ----------`;
  return {
    text: `${top}\n${lines.map(([name, value]) => `${name}: ${value}`).join("\n")}\n\n${text}`,
    html: `<div>${escaped(top)}</div>${lines
      .map(([name, value]) => `<div>${escaped(name)}: ${escaped(value)}</div>`)
      .join("")}<br><div>${html}</div>`,
  };
}

/** A draft that answers or forwards; its text and files are put in by the caller. */
export function answering(draft: Draft, head: EmailHead, way: Way, mine: string[]): Draft {
  const { to, cc } = recipients(head, way, mine);
  const thread = way === "forward" ? { inReplyTo: [], references: [] } : references(head);
  return {
    ...draft,
    ...thread,
    to,
    cc,
    subject: subjectOf(head.subject, way),
    about: { emailId: head.id, keyword: way === "forward" ? "$forwarded" : "$answered" },
  };
}
