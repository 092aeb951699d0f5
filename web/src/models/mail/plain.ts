// Plain text for reading: quotes and signatures apart, so that they can be folded.

export interface Block {
  kind: "words" | "quote" | "signature";
  /** For quotes: how deep. */
  depth: number;
  text: string;
}

const QUOTE = /^((?:> ?)+)/;

export function blocks(text: string): Block[] {
  const out: Block[] = [];
  let signature = false;
  for (const line of text.replace(/\r\n?/g, "\n").replace(/\s+$/, "").split("\n")) {
    if (line === "-- ") signature = true;
    const marks = QUOTE.exec(line)?.[1] ?? "";
    const depth = marks.replace(/ /g, "").length;
    const kind = depth > 0 ? "quote" : signature ? "signature" : "words";
    const last = out.at(-1);
    const body = line.slice(marks.length);
    // A quote within a quote stays with it: what is folded is folded whole.
    const shown = kind === "quote" && last?.kind === "quote" ? ">".repeat(Math.max(0, depth - last.depth)) : "";
    const joined = shown === "" ? body : `${shown} ${body}`;
    if (last !== undefined && last.kind === kind) last.text += `\n${joined}`;
    else out.push({ kind, depth, text: joined });
  }
  return out.filter((block) => block.text.trim() !== "");
}

/** Text of HTML for previews and for the plain half of what is written. */
export function plainOf(node: Node): string {
  return walk(node).replace(/[ \t]+\n/g, "\n").replace(/\n{3,}/g, "\n\n").trim();
}

const BLOCK = new Set(["DIV", "P", "LI", "UL", "OL", "BLOCKQUOTE", "TR", "TABLE", "H1", "H2", "H3", "H4", "PRE", "HR"]);

function walk(node: Node): string {
  if (node.nodeType === 3) return (node.nodeValue ?? "").replace(/\s+/g, " ");
  const element = node as Element;
  const name = element.nodeName;
  if (name === "BR") return "\n";
  if (name === "STYLE" || name === "SCRIPT") return "";
  let inner = "";
  for (const child of Array.from(node.childNodes)) inner += after(inner, walk(child));
  if (name === "A") {
    const href = element.getAttribute("href") ?? "";
    if (/^https?:/.test(href) && inner.trim() !== href) inner += ` <${href}>`;
  }
  if (name === "LI") inner = `- ${inner.trim()}`;
  if (name === "BLOCKQUOTE") {
    inner = inner.trim().split("\n").map((line) => (line.startsWith(">") ? `>${line}` : `> ${line}`)).join("\n");
  }
  return BLOCK.has(name) ? `\n${inner.replace(/^\n+|\n+$/g, "")}\n` : inner;
}

const after = (before: string, next: string): string =>
  before.endsWith("\n") && next.startsWith("\n") ? next.slice(1) : next;
