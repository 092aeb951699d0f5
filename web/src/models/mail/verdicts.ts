// What is to be thought of a message: who says so, and what does not fit together.
import type { EmailHead } from "../../engine/jmap/types.ts";
import { domainOf } from "./addresses.ts";

export type Check = "pass" | "fail" | "none";

export interface Proof {
  spf: Check;
  dkim: Check;
  dmarc: Check;
}

/** What our own server found when the message came in; other servers' words count for nothing. */
export function proofOf(results: string[], ourNames: string[]): Proof | null {
  for (const text of results) {
    const [server = "", ...methods] = withoutComments(text).split(";");
    const name = server.trim().split(/\s/)[0]?.toLowerCase() ?? "";
    if (!ourNames.some((own) => own.toLowerCase() === name)) continue;
    const said = (method: string): Check => {
      const found = methods
        .map((one) => new RegExp(`^\\s*${method}\\s*=\\s*([a-z]+)`, "i").exec(one)?.[1]?.toLowerCase())
        .filter((result) => result !== undefined);
      if (found.includes("pass")) return "pass";
      return found.some((result) => result === "fail" || result === "softfail") ? "fail" : "none";
    };
    return { spf: said("spf"), dkim: said("dkim"), dmarc: said("dmarc") };
  }
  return null;
}

function withoutComments(text: string): string {
  let out = "";
  let depth = 0;
  let quoted = false;
  for (const sign of text) {
    if (sign === '"' && depth === 0) quoted = !quoted;
    if (sign === "(" && !quoted) depth += 1;
    if (depth === 0) out += sign;
    if (sign === ")" && !quoted && depth > 0) depth -= 1;
  }
  return out;
}

export type Warning =
  /** the sender's domain says that this is not from it */
  | "forged"
  /** nothing proves who sent it */
  | "unproved"
  /** the shown name is another address than the real one */
  | "name-is-address"
  /** an answer goes to another house than the message came from */
  | "answers-elsewhere";

const ADDRESS_IN_NAME = /[^\s<>"']+@[^\s<>"']+\.[^\s<>"']+/;

export function warnings(head: EmailHead, proof: Proof | null): Warning[] {
  const found: Warning[] = [];
  const from = head.from?.[0];
  if (proof?.dmarc === "fail") found.push("forged");
  else if (proof !== null && proof.spf !== "pass" && proof.dkim !== "pass") found.push("unproved");
  const named = ADDRESS_IN_NAME.exec(from?.name ?? "")?.[0];
  if (from !== undefined && named !== undefined && named.toLowerCase() !== from.email.toLowerCase()) {
    found.push("name-is-address");
  }
  const answer = head.replyTo?.[0];
  if (from !== undefined && answer !== undefined && !related(domainOf(answer.email), domainOf(from.email))) {
    found.push("answers-elsewhere");
  }
  return found;
}

const related = (one: string, other: string): boolean =>
  one === other || one.endsWith(`.${other}`) || other.endsWith(`.${one}`);

/** People outside of this house: to and from them mail goes readable for the servers between. */
export function outside(people: { email: string }[], domain: string): string[] {
  const emails = people.map(({ email }) => email.toLowerCase());
  return [...new Set(emails)].filter((email) => domainOf(email) !== domain.toLowerCase());
}
