// A stranger's HTML made harmless. Four walls, each enough by itself: DOMPurify takes out whatever is
// not wanted; nothing of what is left may name an address that is fetched; the frame runs no script
// (sandbox); the frame's own policy lets nothing be fetched but pictures that we hand it.
import DOMPurify, { type Config } from "dompurify";
import { mayFollow, pretends } from "./links.ts";

const CONFIG: Config = {
  RETURN_DOM_FRAGMENT: true,
  WHOLE_DOCUMENT: false,
  FORCE_BODY: true,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOW_UNKNOWN_PROTOCOLS: false,
  SANITIZE_NAMED_PROPS: true,
  ALLOWED_TAGS: (
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd " +
    "del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins " +
    "kbd li main mark nav ol p pre q rp rt ruby s samp section small span strike strong style sub " +
    "summary sup table tbody td tfoot th thead time tr tt u ul var wbr"
  ).split(" "),
  ALLOWED_ATTR: (
    "abbr align alt axis bgcolor border cellpadding cellspacing cite class color cols colspan compact " +
    "datetime dir face headers height href hspace id lang noshade nowrap reversed rows rowspan scope " +
    "size span src start style summary title type valign value vspace width"
  ).split(" "),
  ALLOWED_URI_REGEXP: /^(?:https?|mailto|tel|matrix|xmpp|cid|data):/i,
};
const PICTURE = /^data:image\/(?:png|gif|jpe?g|webp);base64,[a-z0-9+/=\s]+$/i;
/** More than this is no letter. */
const MOST_CHARS = 3_000_000;

export interface Safe {
  fragment: DocumentFragment;
  /** Sheets of the message, as text; only `addSheets` gives them to the frame. */
  sheets: string[];
  /** Pictures that lie elsewhere: nothing is fetched before somebody asks. */
  remote: { element: HTMLImageElement; url: string }[];
  /** Pictures that came with the message. */
  inline: { element: HTMLImageElement; cid: string }[];
  /** The message chose colours of its own: it is shown on white. */
  coloured: boolean;
}

/** Parses and cleans; the result is in no document yet. */
export function safe(html: string): Safe {
  const fragment = DOMPurify.sanitize(html.slice(0, MOST_CHARS), CONFIG) as unknown as DocumentFragment;
  const out: Safe = { fragment, sheets: [], remote: [], inline: [], coloured: false };
  for (const style of Array.from(fragment.querySelectorAll("style"))) {
    out.sheets.push(style.textContent ?? "");
    style.remove();
  }
  out.coloured = out.sheets.some((sheet) => /color|background/i.test(sheet));
  for (const element of Array.from(fragment.querySelectorAll<HTMLElement>("*"))) {
    if (element.hasAttribute("bgcolor") || element.hasAttribute("color")) out.coloured = true;
    if (/color|background/i.test(element.getAttribute("style") ?? "")) out.coloured = true;
    clean(element, out);
  }
  return out;
}

function clean(element: HTMLElement, out: Safe): void {
  // Kept aside: under our policy only the CSS object model may set styles, and it reads them first.
  const style = element.getAttribute("style");
  element.removeAttribute("style");
  if (style !== null) element.dataset.style = style;
  if (element.nodeName === "IMG") picture(element as HTMLImageElement, out);
  else element.removeAttribute("src");
  if (element.nodeName === "A") link(element as HTMLAnchorElement);
  else element.removeAttribute("href");
  element.removeAttribute("cite");
}

function picture(element: HTMLImageElement, out: Safe): void {
  const src = (element.getAttribute("src") ?? "").trim();
  if (PICTURE.test(src)) return;
  element.removeAttribute("src");
  if (/^cid:/i.test(src)) out.inline.push({ element, cid: decoded(src.slice(4)) });
  else if (/^https?:/i.test(src)) out.remote.push({ element, url: src });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function link(element: HTMLAnchorElement): void {
  const href = element.getAttribute("href") ?? "";
  const url = mayFollow(href);
  element.removeAttribute("href");
  element.removeAttribute("type");
  if (url === null) return;
  element.setAttribute("href", url.href);
  element.setAttribute("target", "_blank");
  element.setAttribute("rel", "noopener noreferrer nofollow");
  element.setAttribute("title", url.href);
  if (pretends(element.textContent ?? "", href)) element.dataset.pretends = url.hostname;
}

const FETCHES = /url\(|image\(|image-set\(|src\(|element\(|paint\(|expression|javascript:|\\/i;

/** Properties that fetch nothing and stay within the letter. */
export function setStyles(root: ParentNode): void {
  for (const element of Array.from(root.querySelectorAll<HTMLElement>("[data-style]"))) {
    const text = element.dataset.style ?? "";
    delete element.dataset.style;
    const rule = element.ownerDocument.createElement("i").style;
    rule.cssText = text;
    copyStyle(rule, element.style);
  }
}

function copyStyle(from: CSSStyleDeclaration, to: CSSStyleDeclaration): void {
  for (const name of Array.from(from)) {
    const value = from.getPropertyValue(name);
    if (name.startsWith("--") || FETCHES.test(value)) continue;
    if (name === "position" && /fixed|sticky/.test(value)) continue;
    to.setProperty(name, value, from.getPropertyPriority(name));
  }
}

/** The message's sheets, rule by rule, without what fetches. */
export function addSheets(frame: Document, sheets: string[]): void {
  const view = frame.defaultView as (Window & typeof globalThis) | null;
  if (view === null) return;
  const made: CSSStyleSheet[] = [];
  for (const text of sheets) {
    const read = new view.CSSStyleSheet();
    read.replaceSync(text);
    const kept = new view.CSSStyleSheet();
    copyRules(Array.from(read.cssRules), kept);
    made.push(kept);
  }
  frame.adoptedStyleSheets = [...frame.adoptedStyleSheets, ...made];
}

function copyRules(rules: CSSRule[], into: CSSStyleSheet | CSSMediaRule): void {
  for (const rule of rules) {
    const at = into.cssRules.length;
    if (rule.constructor.name === "CSSStyleRule") {
      const { selectorText, style } = rule as CSSStyleRule;
      into.insertRule(`${selectorText} {}`, at);
      copyStyle(style, (into.cssRules[at] as CSSStyleRule).style);
    } else if (rule.constructor.name === "CSSMediaRule" && into.constructor.name !== "CSSMediaRule") {
      const media = rule as CSSMediaRule;
      into.insertRule(`@media ${media.media.mediaText} {}`, at);
      copyRules(Array.from(media.cssRules), into.cssRules[at] as CSSMediaRule);
    }
  }
}

/** The frame's document before anything of the message is in it: constant, so it may be trusted. */
const EMPTY =
  "<!doctype html><html><head><meta charset=utf-8>" +
  "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src blob: data:; " +
  "form-action 'none'; base-uri 'none'\"><meta name=referrer content=no-referrer></head><body></body></html>";

type Maker = { createPolicy(name: string, rules: object): { createHTML(text: string): string } };
const maker = (globalThis as { trustedTypes?: Maker }).trustedTypes;
const policy = maker?.createPolicy("kerwen-letter", {
  createHTML: (text: string) => {
    if (text !== EMPTY) throw new TypeError("only the empty letter");
    return text;
  },
});

export const emptyLetter = (): string => policy?.createHTML(EMPTY) ?? EMPTY;
/** No scripts; own origin only so that we can measure it and put nodes in. */
export const SANDBOX = "allow-same-origin allow-popups allow-popups-to-escape-sandbox";

/** For what one writes and pastes: HTML in a few shapes, no styles, no pictures from elsewhere. */
export function safeWritten(html: string): DocumentFragment {
  const fragment = DOMPurify.sanitize(html.slice(0, MOST_CHARS), {
    RETURN_DOM_FRAGMENT: true,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_TAGS: "a b blockquote br code div em i li ol p pre s strong u ul h1 h2 h3 h4 hr img span table tbody thead tr td th".split(" "),
    ALLOWED_ATTR: ["href", "src", "alt", "type", "colspan", "rowspan", "width", "height"],
    ALLOWED_URI_REGEXP: /^(?:https?|mailto|tel|matrix|xmpp|cid):/i,
  }) as unknown as DocumentFragment;
  for (const element of Array.from(fragment.querySelectorAll("*"))) {
    if (element.nodeName === "IMG" && !/^cid:/i.test(element.getAttribute("src") ?? "")) element.remove();
    else if (element.nodeName !== "IMG") element.removeAttribute("src");
    if (element.nodeName === "A" && mayFollow(element.getAttribute("href") ?? "") === null) {
      element.removeAttribute("href");
    }
    if (element.nodeName !== "BLOCKQUOTE" && element.nodeName !== "OL") element.removeAttribute("type");
  }
  return fragment;
}
