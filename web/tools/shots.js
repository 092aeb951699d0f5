// Photographs every main view of the app with its make-believe engine: 1280 and 360 wide, light and
// dark, four languages. `node tools/shots.js [only-this-view] [en,tk] [wide,phone] [light,dark]`.
import { spawnSync } from "node:child_process";
import { createServer } from "node:http";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { chromium } from "playwright-core";
import { chromiumPath } from "./chromium.js";

const DIST = ".cache/demo";
const OUT = "shots";
const [only = "", languages = "en,tk,ru,fr", widths = "wide,phone", themes = "light,dark"] = process.argv.slice(2);
if (!process.env.KEEP_BUILD) {
  const made = spawnSync("npx", ["vite", "build", "--mode", "demo", "--outDir", DIST, "--logLevel", "error"], { stdio: "inherit" });
  if (made.status) process.exit(made.status);
}

const FAMILY = `/chats/${encodeURIComponent("!family:kerwen.tm")}`;
const BATYR = `/chats/${encodeURIComponent("!batyr:kerwen.tm")}`;
export const VIEWS = {
  start: { path: "/?state=out" },
  register: { path: `/join/${encodeURIComponent("bahar-4821")}?state=out` },
  key: { path: "/start/key?state=nokey", act: async (page) => {
    await page.fill("input[type=password]", "a password");
    await page.click("form button[type=submit]");
    await page.waitForSelector("ol.key");
  } },
  unlock: { path: "/start/key?state=locked" },
  chats: { path: "/" },
  empty: { path: "/?state=empty" },
  offline: { path: "/?state=offline" },
  group: { path: FAMILY },
  changed: { path: `${FAMILY}?state=changed` },
  dm: { path: BATYR },
  info: { path: FAMILY, act: async (page) => {
    await page.click(".head .who");
    await page.waitForSelector(".sheet .members .row");
  } },
  link: { path: FAMILY, act: async (page) => {
    await page.click(".head .who");
    await page.click(".sheet .deeds button:last-of-type");
    await page.waitForSelector("dialog svg[role=img]");
  } },
  menu: { path: FAMILY, act: async (page) => {
    await page.locator("article").nth(-2).click({ button: "right", position: { x: 60, y: 20 } });
    await page.waitForSelector("[role=menu]");
  } },
  newchat: { path: "/", act: async (page) => {
    await page.locator(".list header button").first().click();
    await page.waitForSelector("dialog");
  } },
  search: { path: "/", act: async (page) => {
    await page.fill(".search input", "a");
    await page.waitForSelector(".results h3");
  } },
  request: { path: `/chats/${encodeURIComponent("!guest:other.example")}` },
  people: { path: `/people/${encodeURIComponent("@batyr:kerwen.tm")}` },
  verify: { path: `/people/${encodeURIComponent("@jeren:kerwen.tm")}`, act: async (page) => {
    await page.click(".lines button");
    await page.waitForSelector("dialog .emoji");
  } },
  calls: { path: "/calls?state=held" },
  ring: { path: `${BATYR}?state=ring`, act: (page) => page.waitForSelector(".ring") },
  held: { path: `${FAMILY}?state=held` },
  call: { path: BATYR, act: (page) => startCall(page, 1) },
  voicecall: { path: BATYR, act: (page) => startCall(page, 0) },
  groupcall: { path: `${FAMILY}?state=call`, act: (page) => startCall(page, 1) },
  speaker: { path: `${FAMILY}?state=call`, act: async (page) => {
    await startCall(page, 1);
    await page.locator("section.call header .plain").first().click();
  } },
  smallcall: { path: `${FAMILY}?state=call`, act: async (page) => {
    await startCall(page, 1);
    await page.locator("section.call header .plain").last().click();
  } },
  calldevices: { path: BATYR, act: async (page) => {
    await startCall(page, 1);
    await page.locator("section.call footer .control").nth(-2).click();
    await page.waitForSelector("dialog select");
  } },
  mail: { path: "/mail", act: (page) => page.waitForSelector(".slot") },
  mailboxes: { path: "/mail", act: async (page) => {
    await page.click(".list header .box");
    await page.waitForSelector("dialog li");
  } },
  letter: { path: "/mail/t/TE1", act: (page) => page.waitForSelector("article.open .plain") },
  letterhtml: { path: "/mail/t/TE3", act: (page) => page.waitForSelector("article.open iframe") },
  write: { path: `/mail/write?to=${encodeURIComponent("batyr@kerwen.tm, camille@other.example")}`, act: (page) => page.waitForSelector(".sheet [contenteditable]") },
  mailsettings: { path: "/mail/settings", act: (page) => page.waitForSelector(".page form") },
  settings: { path: "/settings/look" },
  settingslist: { path: "/settings" },
  devices: { path: "/settings/devices" },
  safety: { path: "/settings/safety" },
  profile: { path: "/settings/profile" },
  account: { path: "/settings/account" },
  admin: { path: "/admin/numbers" },
  accounts: { path: "/admin/accounts" },
  invites: { path: "/admin/invites" },
};

/** Begins a call by the `n`th button of the conversation's head: voice, picture. */
async function startCall(page, n) {
  await page.locator(".head .actions button").nth(n).click();
  await page.waitForSelector("section.call .tile, section.call .wait");
  await page.waitForTimeout(500);
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webmanifest": "application/json", ".png": "image/png", ".wasm": "application/wasm" };
const server = createServer((request, answer) => {
  const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
  const file = join(DIST, path);
  const found = /^\/(assets|icons)\//.test(path) && existsSync(file) ? file : join(DIST, "index.html");
  answer.setHeader("content-type", TYPES[extname(found)] ?? "application/octet-stream");
  answer.end(readFileSync(found));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const base = `http://127.0.0.1:${server.address().port}`;
const browser = await chromium.launch({ executablePath: chromiumPath() });
mkdirSync(OUT, { recursive: true });
let wrong = 0;
for (const language of languages.split(","))
  for (const width of widths.split(","))
    for (const theme of themes.split(",")) {
      const context = await browser.newContext({
        viewport: width === "wide" ? { width: 1280, height: 800 } : { width: 360, height: 740 },
        colorScheme: theme, locale: "en-GB", hasTouch: width === "phone", reducedMotion: "reduce",
      });
      await context.addInitScript((l) => localStorage.setItem("kerwen.locale", l), language);
      const page = await context.newPage();
      page.on("pageerror", (error) => (console.error(`${error}`), (wrong += 1)));
      for (const [name, { path, act }] of Object.entries(VIEWS)) {
        if (only && !only.split("+").includes(name)) continue;
        await page.goto(base + path);
        await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
        await page.waitForTimeout(path.startsWith("/chats") ? 900 : 400);
        try {
          await act?.(page);
        } catch (error) {
          console.error(`${name} ${width}: ${String(error).split("\n")[0]}`);
          wrong += 1;
        }
        await page.waitForTimeout(150);
        // what is wider than the screen is a mistake
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (over > 0) console.error(`${name} ${language} ${width}: ${over} px too wide`);
        await page.screenshot({ path: `${OUT}/${name}-${language}-${width}-${theme}.png` });
      }
      await context.close();
    }
await browser.close();
server.close();
process.exit(wrong ? 1 : 0);
