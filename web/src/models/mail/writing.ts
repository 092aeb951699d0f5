// A draft to write on: new, or of a message that is answered, forwarded, or was begun elsewhere.
import type { Mail } from "../../engine/jmap/mail.ts";
import type { Draft, DraftFile } from "../../engine/jmap/rows.ts";
import type { BodyPart, EmailBody, EmailHead, Identity } from "../../engine/jmap/types.ts";
import { same } from "./addresses.ts";
import { answering, original, type Phrases, textHtml, type Way } from "./reply.ts";
import { plainOf } from "./plain.ts";
import { safeWritten } from "./safe_html.ts";

/** What a person set for writing, in this browser. */
export interface Habits {
  rich: boolean;
  undoSeconds: number;
}
export const HABITS: Habits = { rich: true, undoSeconds: 10 };

export const htmlOf = (body: EmailBody): string | null =>
  partText(body, body.htmlBody, (part) => part.type === "text/html");

export const textOf = (body: EmailBody): string => {
  const text = partText(body, body.textBody, (part) => part.type === "text/plain");
  if (text !== null) return text;
  const html = htmlOf(body);
  return html === null ? "" : plainOf(safeWritten(html));
};

function partText(body: EmailBody, parts: BodyPart[], want: (part: BodyPart) => boolean): string | null {
  const found = parts.filter(want).map((part) => body.bodyValues[part.partId ?? ""]?.value ?? "");
  return found.length === 0 ? null : found.join("\n");
}

const serialised = (fragment: DocumentFragment): string => {
  const holder = document.implementation.createHTMLDocument("").createElement("div");
  holder.append(fragment);
  return holder.innerHTML;
};

function kept(part: BodyPart, cid: string | null, random: () => string): DraftFile {
  return {
    key: random(), name: part.name ?? "file", type: part.type, size: part.size, cid, blobId: part.blobId, pieces: [],
  };
}

function signed(identity: Identity | undefined): { text: string; html: string } {
  const text = identity?.textSignature.trim() ?? "";
  const html = identity?.htmlSignature.trim() ?? "";
  if (text === "" && html === "") return { text: "", html: "" };
  const plain = text === "" ? plainOf(safeWritten(html)) : text;
  return {
    text: `\n\n-- \n${plain}\n`,
    html: `<div><br></div><div>-- </div>${html === "" ? textHtml(plain) : serialised(safeWritten(html))}`,
  };
}

const EMPTY_LINE = "<div><br></div>";

export function blank(mail: Mail, identities: Identity[], habits: Habits): Draft {
  const draft = mail.newDraft();
  const identity = identities[0];
  const sign = signed(identity);
  return {
    ...draft,
    identityId: identity?.id ?? null,
    bcc: identity?.bcc ?? [],
    text: sign.text,
    html: habits.rich ? EMPTY_LINE + sign.html : null,
  };
}

/** An answer to a message, or its forwarding, with the original below. */
export async function answer(
  mail: Mail,
  head: EmailHead,
  way: Way,
  identities: Identity[],
  habits: Habits,
  date: string,
  say: Phrases,
  random: () => string,
): Promise<Draft> {
  const body = await mail.body(head.id);
  const mine = identities.map(({ email }) => email);
  const came = [...(head.to ?? []), ...(head.cc ?? [])];
  const identity = identities.find(({ email }) => came.some((one) => same(one.email, email))) ?? identities[0];
  const html = htmlOf(body);
  const clean = html === null ? textHtml(textOf(body)) : serialised(safeWritten(html));
  const below = original(head, textOf(body), clean, way, date, say);
  const sign = signed(identity);
  const files = [...inlineOf(body, clean, random), ...(way === "forward" ? attachedOf(body, clean, random) : [])];
  const rich = habits.rich || (html !== null && files.some(({ cid }) => cid !== null));
  return {
    ...answering(mail.newDraft(), head, way, mine),
    identityId: identity?.id ?? null,
    bcc: identity?.bcc ?? [],
    text: `${sign.text}\n\n${below.text}`,
    html: rich ? `${EMPTY_LINE}${sign.html}<div><br></div>${below.html}` : null,
    files,
  };
}

const shows = (html: string, cid: string | null): cid is string => cid !== null && html.includes(`cid:${cid}`);

const inlineOf = (body: EmailBody, html: string, random: () => string): DraftFile[] =>
  body.attachments.filter(({ cid }) => shows(html, cid)).map((part) => kept(part, part.cid, random));

const attachedOf = (body: EmailBody, html: string, random: () => string): DraftFile[] =>
  body.attachments.filter(({ cid }) => !shows(html, cid)).map((part) => kept(part, null, random));

/** A draft that lies on the server, to go on with. */
export async function resumed(mail: Mail, head: EmailHead, identities: Identity[], random: () => string): Promise<Draft> {
  const local = (await mail.drafts()).find(({ saved }) => saved?.emailId === head.id);
  if (local !== undefined) return local;
  const body = await mail.body(head.id);
  const html = htmlOf(body);
  const clean = html === null ? null : serialised(safeWritten(html));
  const fresh = mail.newDraft();
  const identity = identities.find(({ email }) => same(email, head.from?.[0]?.email ?? ""));
  return {
    ...fresh,
    messageId: head.messageId?.[0] ?? fresh.messageId,
    identityId: identity?.id ?? null,
    to: head.to ?? [],
    cc: head.cc ?? [],
    bcc: head.bcc ?? [],
    subject: head.subject ?? "",
    text: textOf(body),
    html: clean,
    inReplyTo: head.inReplyTo ?? [],
    references: head.references ?? [],
    files: clean === null ? attachedOf(body, "", random) : [...inlineOf(body, clean, random), ...attachedOf(body, clean, random)],
    saved: { emailId: head.id, rev: 0 },
  };
}
