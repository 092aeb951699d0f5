// A corpus of letters that attack, shown as the app shows them, in Chromium, under the app's policy:
// `node test/browser/letters.mjs DIST`. No script may run, nothing may be asked for, nothing may get
// out of the frame. The server answers every request, so that whatever is asked is seen.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { build } from "vite";
import { chromiumPath } from "../../tools/chromium.js";

const CANARY = "/canary";
const POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; frame-src 'self' blob:; " +
  "object-src 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types kerwen-letter dompurify";

const js = "parent.hit('script')";
const b64 = Buffer.from(`<script>${js}</script>`).toString("base64");
const out = (what) => `${CANARY}?${what}`;
/** Name → HTML. Known classes of attacks, in words of our own. */
const LETTERS = {
  script: `<script>${js}</script><script src="${out("src")}"></script><SCRIPT/x>${js}</SCRIPT>`,
  handlers: `<img src=x onerror="${js}"><body onload="${js}"><div onmouseover=${js} style="height:100px">x</div><details open ontoggle="${js}">x</details><video onloadstart="${js}"><source></video><input autofocus onfocus="${js}"><marquee onstart="${js}">x</marquee>`,
  svg: `<svg onload="${js}"><script>${js}</script><animate onbegin="${js}" attributeName=x dur=1s /><use href="data:image/svg+xml;base64,${b64}#x"/><image href="${out("svg")}"/><foreignObject><iframe srcdoc="<script>${js}</script>"></iframe></foreignObject></svg>`,
  mutation1: `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=${js}&gt;">`,
  mutation2: `<svg></p><style><a id="</style><img src=1 onerror=${js}>">`,
  mutation3: `<noscript><p title="</noscript><img src=x onerror=${js}>">`,
  mutation4: `<form><math><mtext></form><form><mglyph><style></math><img src onerror=${js}>`,
  mutation5: `<xmp><p title="</xmp><img src=x onerror=${js}>"></xmp><textarea><img title="</textarea><img src=x onerror=${js}>">`,
  mutation6: `${"<div>".repeat(600)}<svg><style><img src=x onerror=${js}></style></svg>`,
  refresh: `<meta http-equiv="refresh" content="0;url=${out("refresh")}"><meta http-equiv=set-cookie content=a=b>`,
  base: `<base href="https://canary.test/"><img src="canary?base"><a href="x">x</a>`,
  forms: `<form action="${out("form")}" id=f><input name=password><button formaction="${out("form2")}" autofocus>x</button><input type=image src="${out("image")}"></form><isindex action="${out("isindex")}">`,
  frames: `<iframe src="${out("iframe")}"></iframe><iframe srcdoc="<script>${js}</script>"></iframe><object data="${out("object")}"></object><embed src="${out("embed")}"><frameset><frame src="${out("frame")}"></frameset><portal src="${out("portal")}"></portal>`,
  links: `<a href="javascript:${js}" id=click>x</a><a href="  java\tscript:${js}" class=click>x</a><a href="data:text/html;base64,${b64}" class=click>x</a><a href="vbscript:x">x</a><a href="#" ping="${out("ping")}">x</a><area href="javascript:${js}">`,
  pictures: `<img src="https://canary.test/a.png"><img srcset="${out("srcset")} 2x"><img src="//canary.test/b.png"><img src="${out("own")}"><picture><source srcset="${out("source")}"><img></picture><img lowsrc="${out("low")}" dynsrc="${out("dyn")}"><table background="${out("background")}"><td background="${out("td")}">x</table><video poster="${out("poster")}" src="${out("video")}"></video><audio src="${out("audio")}" autoplay></audio><track src="${out("track")}">`,
  css: `<style>@import "${out("import")}"; @import url(${out("import2")}); @font-face { font-family: f; src: url(${out("font")}) } body { background: url(${out("css")}); font-family: f } div { background: u\\72l(${out("escape")}); --x: url(${out("var")}); background-image: var(--x); cursor: url(${out("cursor")}), auto; list-style: url(${out("list")}); content: url(${out("content")}) } @media all { p { background: image-set("${out("set")}" 1x) } } input[value^=a] { background: url(${out("leak")}) } @supports (display: block) { p { background: url(${out("supports")}) } } @namespace url(${out("namespace")}); @layer a { p { background: url(${out("layer")}) } } </style><div style="background:url(${out("style")});behavior:url(${out("htc")});-moz-binding:url(${out("xbl")})">x</div><p style="width: expression(${js}); background: \\75rl(${out("escape2")})">x</p><link rel=stylesheet href="${out("link")}"><link rel=preload as=image href="${out("preload")}"><link rel=dns-prefetch href="//canary.test">`,
  data: `<img src="data:image/svg+xml;base64,${Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" onload="${js}"><image href="${out("datasvg")}"/></svg>`).toString("base64")}"><iframe src="data:text/html;base64,${b64}"></iframe><object data="data:text/html;base64,${b64}"></object>`,
  encodings: `&lt;script&gt;${js}&lt;/script&gt;<img src=x on\u0000error="${js}"><img src=x onerror\u00a0="${js}"><a href="&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;${js}" class=click>x</a><scr<script>ipt>${js}</scr</script>ipt>+ADw-script+AD4-${js}+ADw-/script+AD4-`,
  clobber: `<form id=body name=body><input name=attributes><input name=nodeName></form><img name=adoptedStyleSheets><a id=defaultView><a id=defaultView name=x><form name=createElement></form>`,
  comments: `<!--[if IE]><script>${js}</script><![endif]--><![CDATA[<script>${js}</script>]]><?xml-stylesheet href="${out("xml")}"?><!--><img src=x onerror=${js}>-->`,
  template: `<template><script>${js}</script><img src="${out("template")}"></template><div><template shadowrootmode=open><img src="${out("shadow")}"><script>${js}</script></template></div>`,
  manifest: `<html manifest="${out("manifest")}"><head profile="${out("profile")}"><body background="${out("bodybg")}"><blockquote cite="${out("cite")}">x</blockquote><del cite="${out("del")}">x</del><img longdesc="${out("long")}" usemap="#m">`,
  escape: `<div style="position:fixed;inset:0;z-index:99999;background:red">x</div></body></html><script>${js}</script><plaintext><script>${js}</script>`,
};

const ENTRY = "virtual:letters";
const code = `
import { addSheets, emptyLetter, safe, safeWritten, SANDBOX, setStyles } from ${JSON.stringify(fileURLToPath(new URL("../../src/models/mail/safe_html.ts", import.meta.url)))};
window.hits = [];
window.hit = (what) => window.hits.push(what);
window.show = (html) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", SANDBOX);
  frame.onload = () => {
    const letter = safe(html);
    const inside = frame.contentDocument;
    addSheets(inside, letter.sheets);
    inside.body.append(inside.adoptNode(letter.fragment));
    setStyles(inside.body);
    for (const link of inside.querySelectorAll("a")) if (!/^https?:/.test(link.href)) link.click();
    const page = document.createElement("div");
    page.append(safeWritten(html));
    document.body.append(page);
    const left = [...inside.querySelectorAll("*")].flatMap((e) => [...e.attributes].filter((a) => /^on|^(srcset|poster|background|action|formaction|ping|style)$/i.test(a.name) && a.name !== "style").map((a) => e.nodeName + " " + a.name));
    const tags = [...inside.body.querySelectorAll("script,iframe,object,embed,form,input,link,meta,base,svg,math,style,template")].map((e) => e.nodeName);
    const own = [...page.querySelectorAll("*")].flatMap((e) => [...e.attributes].filter((a) => /^on|^style$/i.test(a.name)).map((a) => e.nodeName + " " + a.name));
    setTimeout(() => { frame.remove(); page.remove(); done([...left, ...tags, ...own]); }, 40);
  };
  frame.srcdoc = emptyLetter();
  document.body.append(frame);
});
window.ready = true;
`;
const made = await build({
  configFile: false,
  logLevel: "error",
  build: { write: false, minify: false, rolldownOptions: { input: ENTRY, output: { format: "es" } } },
  plugins: [{ name: "letters", resolveId: (id) => (id === ENTRY ? id : null), load: (id) => (id === ENTRY ? code : null) }],
});
const script = (Array.isArray(made) ? made[0] : made).output[0].code;
const asked = [];
const server = createServer((request, answer) => {
  const at = request.url ?? "";
  answer.setHeader("Content-Security-Policy", POLICY);
  if (at === "/") return answer.setHeader("Content-Type", "text/html").end("<!doctype html><meta charset=utf-8><script type=module src=/letters.js></script><body></body>");
  if (at === "/letters.js") return answer.setHeader("Content-Type", "text/javascript").end(script);
  if (at !== "/favicon.ico") asked.push(at);
  answer.end();
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const url = `http://127.0.0.1:${server.address().port}/`;
const browser = await chromium.launch({ executablePath: chromiumPath() });
const context = await browser.newContext();
const page = await context.newPage();
context.on("page", (opened) => asked.push(`opened ${opened.url()}`));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !/^(data|blob|about):/.test(request.url())) asked.push(request.url());
});
await page.goto(url);
await page.waitForFunction(() => window.ready === true);
const wrong = [];
for (const [name, html] of Object.entries(LETTERS)) {
  asked.length = 0;
  const left = await page.evaluate((text) => window.show(text), html);
  const hits = await page.evaluate(() => window.hits.splice(0));
  for (const what of [...hits.map((hit) => `ran ${hit}`), ...asked.map((ask) => `asked ${ask}`), ...left.map((one) => `left ${one}`)]) {
    wrong.push(`${name}: ${what}`);
  }
  if (page.url() !== url) wrong.push(`${name}: led away`);
}
// The watch itself must see something, or it proves nothing.
asked.length = 0;
await page.evaluate(() => fetch("/canary?watch").then(() => window.hit("watch")));
if (asked.length !== 1 || (await page.evaluate(() => window.hits.length)) !== 1) wrong.push("the watch is blind");
await browser.close();
server.close();
for (const found of wrong) console.error(`WRONG: ${found}`);
console.log(`letters: ${Object.keys(LETTERS).length} attacks, ${wrong.length} got through`);
process.exit(wrong.length === 0 ? 0 : 1);
