// Markdown as people type it in chats → the body and formatted body of a message. Small on purpose:
// bold, italic, strike, code, code blocks, links, quotes, lists. Everything else is text. Pure.

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text: string): string => text.replace(/[&<>"]/g, (letter) => ESCAPES[letter] ?? letter);

const LINK = /\[([^\][\n]{1,500})\]\(((?:https?:\/\/|mailto:|xmpp:|tel:)[^\s()<>"]{1,2000})\)/;
const TOKENS: { at: RegExp; html: (found: RegExpExecArray) => string }[] = [
    { at: /`([^`\n]+)`/, html: (found) => `<code>${escape(found[1] ?? "")}</code>` },
    { at: LINK, html: (found) => `<a href="${escape(found[2] ?? "")}">${inline(found[1] ?? "")}</a>` },
    { at: /\bhttps?:\/\/[^\s<>"]+[^\s<>".,:;!?)\]]/, html: (found) => escape(found[0]) },
    { at: /\*\*(\S(?:.*?\S)?)\*\*/, html: (found) => `<strong>${inline(found[1] ?? "")}</strong>` },
    { at: /~~(\S(?:.*?\S)?)~~/, html: (found) => `<del>${inline(found[1] ?? "")}</del>` },
    { at: /(?<![\w*])\*([^\s*](?:[^*\n]*?[^\s*])?)\*(?![\w*])/, html: (found) => `<em>${inline(found[1] ?? "")}</em>` },
    { at: /(?<![\w_])_([^\s_](?:[^_\n]*?[^\s_])?)_(?![\w_])/, html: (found) => `<em>${inline(found[1] ?? "")}</em>` },
];

function inline(text: string): string {
    let html = "";
    let rest = text;
    for (let round = 0; rest !== "" && round < 2000; round++) {
        let best: { found: RegExpExecArray; html: (found: RegExpExecArray) => string } | undefined;
        for (const token of TOKENS) {
            const found = token.at.exec(rest);
            if (found && (!best || found.index < best.found.index)) best = { found, html: token.html };
        }
        if (!best) break;
        html += escape(rest.slice(0, best.found.index)) + best.html(best.found);
        rest = rest.slice(best.found.index + best.found[0].length);
    }
    return html + escape(rest);
}

type Block = { kind: "text" | "quote" | "ul" | "ol" | "code"; lines: string[]; language?: string };

function blocks(text: string): Block[] {
    const found: Block[] = [];
    let fence: Block | undefined;
    for (const line of text.split("\n")) {
        const mark = /^```(\w{0,20})\s*$/.exec(line);
        if (fence) {
            if (mark) fence = undefined;
            else fence.lines.push(line);
            continue;
        }
        if (mark) {
            fence = { kind: "code", lines: [], ...(mark[1] ? { language: mark[1] } : {}) };
            found.push(fence);
            continue;
        }
        const [kind, rest] = lineKind(line);
        const last = found.at(-1);
        if (last?.kind === kind) last.lines.push(rest);
        else found.push({ kind, lines: [rest] });
    }
    return found;
}

function lineKind(line: string): [Exclude<Block["kind"], "code">, string] {
    const quote = /^>\s?(.*)$/.exec(line);
    if (quote) return ["quote", quote[1] ?? ""];
    const bullet = /^[-*]\s+(.+)$/.exec(line);
    if (bullet) return ["ul", bullet[1] ?? ""];
    const step = /^\d{1,3}[.)]\s+(.+)$/.exec(line);
    if (step) return ["ol", step[1] ?? ""];
    return ["text", line];
}

function blockHtml(block: Block): string {
    const list = (): string => block.lines.map((line) => `<li>${inline(line)}</li>`).join("");
    switch (block.kind) {
        case "code": {
            const language = block.language ? ` class="language-${block.language}"` : "";
            return `<pre><code${language}>${escape(block.lines.join("\n"))}\n</code></pre>`;
        }
        case "quote":
            return `<blockquote>${block.lines.map(inline).join("<br>")}</blockquote>`;
        case "ul":
            return `<ul>${list()}</ul>`;
        case "ol":
            return `<ol>${list()}</ol>`;
        case "text":
            return block.lines.map(inline).join("<br>");
    }
}

/** `html` is absent where the text says all. Links that name a person become their name in `body`. */
export function formatMarkdown(text: string): { body: string; html?: string } {
    const html = blocks(text).map(blockHtml).join("");
    const body = text.replace(/\[([^\][\n]{1,500})\]\(https:\/\/matrix\.to\/#\/[^\s()]{1,500}\)/g, "$1");
    return html === escape(text).replace(/\n/g, "<br>") ? { body } : { body, html };
}
