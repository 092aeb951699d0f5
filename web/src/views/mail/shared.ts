// Small things that the mail views share.
import { toast } from "../../ui/toast.svelte.ts";
import * as m from "../../words/messages.js";
import type { MailboxRow } from "../../engine/jmap/rows.ts";
import { theMail, troubleOf, type Trouble } from "../../models/mail/mail.svelte.ts";
import type { Undo } from "../../engine/jmap/deeds.ts";

export const random = (): string =>
  [...crypto.getRandomValues(new Uint8Array(9))].map((n) => n.toString(36).padStart(2, "0")).join("");

const NAMES: Record<string, () => string> = {
  inbox: m.mail_inbox,
  archive: m.mail_archive,
  drafts: m.mail_drafts,
  sent: m.mail_sent,
  junk: m.mail_junk,
  trash: m.mail_trash,
  scheduled: m.mail_scheduled,
};

export const boxName = (box: MailboxRow | undefined): string =>
  box === undefined ? "" : (NAMES[box.role ?? ""]?.() ?? box.name);

const TROUBLES: Record<Trouble, () => string> = {
  offline: m.mail_trouble_offline,
  busy: m.mail_trouble_busy,
  "signed-out": m.mail_trouble_signed_out,
  "too-large": m.mail_trouble_large,
  "over-quota": m.mail_trouble_quota,
  recipients: m.mail_trouble_recipients,
  refused: m.mail_trouble_refused,
};
export const troubleWords = (trouble: Trouble): string => TROUBLES[trouble]();

/** Runs a deed; where it fails, says why. True if it went well. */
export async function doing(deed: () => Promise<unknown>): Promise<boolean> {
  try {
    await deed();
    return true;
  } catch (error) {
    const trouble = troubleOf(error);
    if (trouble === "refused") console.error(error);
    toast(troubleWords(trouble), { wrong: true });
    return false;
  }
}

let last: Undo | null = null;

/** Says what was done, and offers to undo it. */
export function done(text: string, undo: Undo): void {
  if (Object.keys(undo).length === 0) return;
  last = undo;
  toast(text, { action: { label: m.mail_undo(), run: () => void undoLast() } });
}

export async function undoLast(): Promise<void> {
  const undo = last;
  last = null;
  if (undo !== null) await (await theMail()).patch(undo);
}
