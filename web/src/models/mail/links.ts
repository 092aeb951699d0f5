// Links: which may be followed, and which pretend to lead elsewhere.

const MAY = new Set(["http:", "https:", "mailto:", "tel:", "matrix:", "xmpp:"]);
const HOST = /^(?:[a-z][a-z0-9+.-]*:\/\/)?(?:[^\s/@]+@)?((?:[\p{L}\p{N}_-]+\.)+[\p{L}]{2,24})(?=$|[:/?#\s])/iu;

/** The address, or null where it is none that a message may lead to. */
export function mayFollow(href: string): URL | null {
  try {
    const url = new URL(href);
    return MAY.has(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** What a link's text says about where it leads; null where it says nothing. */
export function saidHost(text: string): string | null {
  const plain = text.replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]/g, "").trim();
  if (/^[^\s@/:]+@[^\s@/]+$/.test(plain)) return null;
  return HOST.exec(plain)?.[1]?.toLowerCase() ?? null;
}

/** True where the text names another host than the link leads to. */
export function pretends(text: string, href: string): boolean {
  const url = mayFollow(href);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return false;
  const said = saidHost(text);
  if (said === null) return false;
  let ascii = said;
  try {
    ascii = new URL(`http://${said}`).hostname;
  } catch {
    return true;
  }
  const bare = (host: string) => host.replace(/^www\./, "");
  return bare(url.hostname) !== bare(ascii) && !url.hostname.endsWith(`.${bare(ascii)}`);
}

export type Piece = { text: string; href: string | null };
const IN_TEXT = /\b(?:https?:\/\/|mailto:|www\.)[^\s<>"'`]+/giu;

/** Plain text with its links found. */
export function pieces(text: string): Piece[] {
  const out: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(IN_TEXT)) {
    let found = match[0].replace(/[.,;:!?»”’]+$/u, "");
    if (found.endsWith(")") && !found.includes("(")) found = found.slice(0, -1);
    const href = found.startsWith("www.") ? `http://${found}` : found;
    if (mayFollow(href) === null) continue;
    if (match.index > from) out.push({ text: text.slice(from, match.index), href: null });
    out.push({ text: found, href });
    from = match.index + found.length;
  }
  if (from < text.length) out.push({ text: text.slice(from), href: null });
  return out;
}
