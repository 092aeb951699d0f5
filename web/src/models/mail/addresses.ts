// Addresses as people type, read and choose them.
import type { ContactRow } from "../../engine/jmap/rows.ts";
import type { Address } from "../../engine/jmap/types.ts";

const SHAPE = /^[^\s@<>(),;:"[\]\\]{1,64}@[^\s@<>(),;:"[\]\\]{1,253}$/;

export const valid = (email: string): boolean => SHAPE.test(email);

export const domainOf = (email: string): string =>
  email.slice(email.lastIndexOf("@") + 1).toLowerCase();

/** The name, or the address where there is none. */
export const called = (address: Address | undefined): string =>
  address === undefined ? "" : (address.name?.trim() || address.email);

/** `Ayna Amanowa <ayna@x.tm>`. */
export function shown(address: Address): string {
  if (!address.name?.trim()) return address.email;
  const name = address.name.trim();
  const quoted = /[,;<>@"()]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
  return `${quoted} <${address.email}>`;
}

/** What was typed or pasted into a field of addresses; `rest`: what is none (yet). */
export function parsed(text: string): { found: Address[]; rest: string } {
  const found: Address[] = [];
  const rest: string[] = [];
  for (const piece of pieces(text)) {
    const one = single(piece);
    if (one !== null) found.push(one);
    else if (piece.trim() !== "") rest.push(piece.trim());
  }
  return { found, rest: rest.join(", ") };
}

/** Splits at commas, semicolons and lines, but not within quotes or angle brackets. */
function pieces(text: string): string[] {
  const out: string[] = [];
  let now = "";
  let quoted = false;
  let angle = false;
  for (const sign of text) {
    if (sign === '"') quoted = !quoted;
    if (sign === "<") angle = true;
    if (sign === ">") angle = false;
    if (!quoted && !angle && /[,;\n]/.test(sign)) {
      out.push(now);
      now = "";
    } else now += sign;
  }
  return [...out, now];
}

function single(piece: string): Address | null {
  const angle = /^\s*(.*?)\s*<\s*([^<>]+?)\s*>\s*$/s.exec(piece);
  const email = (angle?.[2] ?? piece).trim().replace(/^mailto:/i, "");
  if (!valid(email)) return null;
  const name = (angle?.[1] ?? "").replace(/^"(.*)"$/s, "$1").replace(/\\(.)/g, "$1").trim();
  return { name: name === "" ? null : name, email };
}

export const same = (one: string, other: string): boolean =>
  one.toLowerCase() === other.toLowerCase();

/** Each address once, the first with its name. */
export function unique(all: Address[]): Address[] {
  return all.filter((one, at) => all.findIndex((other) => same(other.email, one.email)) === at);
}

/** People that fit what is being typed: those written to most come first. */
export function suggested(
  typed: string,
  contacts: ContactRow[],
  chosen: Address[],
  most = 6,
): ContactRow[] {
  const want = typed.trim().toLowerCase();
  if (want === "") return [];
  const fits = (row: ContactRow): boolean => {
    const words = `${row.name ?? ""} ${row.email}`.toLowerCase().split(/[\s.@_-]+/);
    return row.email.startsWith(want) || words.some((word) => word.startsWith(want)) ||
      (row.name ?? "").toLowerCase().includes(want);
  };
  return contacts
    .filter((row) => fits(row) && !chosen.some(({ email }) => same(email, row.email)))
    .sort((a, b) => b.written - a.written || b.seenAt - a.seenAt)
    .slice(0, most);
}
