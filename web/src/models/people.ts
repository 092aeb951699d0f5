// Finding people: those whom the server shows, and whoever has the very name or address written.
import type { Profile } from "../engine/types.ts";
import { engine, session } from "./session.svelte.ts";

/** The user id that a text names: `ayna`, `@ayna:example.org`, `ayna@example.org`. */
export function namedBy(text: string): string | undefined {
  const told = text.trim().toLowerCase();
  const domain = session.state.kind === "in" ? session.state.domain : "";
  if (/^@?[a-z0-9._=/+-]+$/.test(told) && domain) return `@${told.replace(/^@/, "")}:${domain}`;
  const whole = /^@?([^@:\s]+):([^\s:/]+(?::\d+)?)$/.exec(told) ?? /^([^@:\s]+)@([^\s:@/]+)$/.exec(told);
  return whole ? `@${whole[1]}:${whole[2]}` : undefined;
}

/** People for a text, oneself left out; who is named exactly comes first, if there is such a person. */
export async function findPeople(text: string, limit = 20): Promise<Profile[]> {
  const id = namedBy(text);
  const [listed, exact] = await Promise.allSettled([
    engine.rooms.searchUsers(text.trim(), limit),
    id ? engine.account.profile(id) : Promise.reject(new Error("no id")),
  ]);
  const found = listed.status === "fulfilled" ? listed.value : [];
  const all = exact.status === "fulfilled" && id ? [{ ...exact.value, userId: id }, ...found] : found;
  const seen = new Set([session.me.userId]);
  return all.filter((one) => !seen.has(one.userId) && seen.add(one.userId));
}
