// A draft of the server's, made ready to be written on here.
import type { EmailRow } from "../../engine/jmap/rows.ts";
import { mail, theMail } from "../../models/mail/mail.svelte.ts";
import { resumed } from "../../models/mail/writing.ts";
import { random } from "./shared.ts";

/** The key of the draft under which it can be opened. */
export async function resumedKey(head: EmailRow): Promise<string> {
  const engine = await theMail();
  const draft = await resumed(engine, head, mail.identities, random);
  await engine.adoptDraft(draft);
  return draft.key;
}
