// Two people write mail to each other in two browsers, and with programs that know only SMTP and
// IMAP, against a running server: `node test/browser/mail_story.mjs URL SMTP-PORT IMAP-PORT DOMAIN`.
// No policy may be broken, nothing may be asked of another host, axe must find nothing.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { chromium } from "playwright-core";
import { chromiumPath } from "../../tools/chromium.js";

const [url, smtpPort, imapPort, domain] = process.argv.slice(2);
const shots = process.env.KERWEN_SHOTS;
const PATIENCE = Number(process.env.KERWEN_PATIENCE ?? 20_000);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: chromiumPath() });
const wrong = [];
const began = Date.now();
process.on("uncaughtException", async (error) => {
  for (const found of wrong) console.error(`WRONG: ${found}`);
  console.error(error);
  for (const context of browser.contexts()) for (const page of context.pages()) await page.screenshot({ path: `${shots ?? "/tmp"}/failed-${contexts.indexOf(context)}.png` }).catch(() => {});
  process.exit(1);
});
const contexts = [];
const step = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(1)} s  ${text}`);

async function person(name, more = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", reducedMotion: "reduce", ...more });
  contexts.push(context);
  context.setDefaultTimeout(PATIENCE);
  context.on("request", (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data|about):/.test(request.url())) wrong.push(`${name} asked ${request.url()}`);
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    // A letter's own styles and handlers are stopped by our policy as it is read, and said so here.
    const letters = /Applying inline style|Executing inline event handler/.test(message.text());
    if (!letters && /Content Security Policy|TrustedScript|TrustedHTML/i.test(message.text())) wrong.push(`${name}: ${message.text()}`);
    else if (process.env.KERWEN_LOUD) console.log(`${name}: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`${name}: ${error.stack ?? error}`));
  return page;
}

async function accessible(page, view) {
  const session = await page.context().newCDPSession(page);
  await session.send("Page.setBypassCSP", { enabled: true });
  await session.send("Runtime.evaluate", { expression: axe });
  const { result } = await session.send("Runtime.evaluate", {
    expression: `axe.run({ resultTypes: ["violations"], iframes: false }).then((r) => JSON.stringify(r.violations.map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | "))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  for (const found of JSON.parse(result.value)) wrong.push(`axe, ${view}: ${found}`);
  await session.send("Page.setBypassCSP", { enabled: false });
  await session.detach();
}

async function register(page, name, password) {
  await page.goto(`${url}/start/register`);
  await page.fill("input[name=username]", name);
  await page.fill("input[name=password]", password);
  await page.click("form button[type=submit]");
  await page.waitForSelector(".keys");
  await page.goto(`${url}/mail`);
  await page.waitForSelector("section.list form[role=search]");
}

async function shot(page, name) {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
}

/** SMTP, word by word: somebody elsewhere writes. */
function smtp(from, to, message) {
  return new Promise((done, fail) => {
    const lines = ["EHLO far.test", `MAIL FROM:<${from}>`, `RCPT TO:<${to}>`, "DATA", `${message.replace(/\r?\n/g, "\r\n")}\r\n.`, "QUIT"];
    const socket = net.connect(Number(smtpPort), "127.0.0.1");
    let said = "";
    socket.on("data", (data) => {
      said += data;
      if (!/^\d{3} .*\r\n$/m.test(said.slice(said.lastIndexOf("\n", said.length - 2) + 1))) return;
      if (/^[45]/m.test(said)) return fail(new Error(said));
      said = "";
      const line = lines.shift();
      if (line === undefined) return done();
      socket.write(`${line}\r\n`);
    });
    socket.on("error", fail);
    socket.on("close", done);
  });
}

/** IMAP, as any mail program: what is in INBOX. */
function imap(user, password) {
  return new Promise((done, fail) => {
    const socket = net.connect(Number(imapPort), "127.0.0.1");
    let said = "";
    socket.on("data", (data) => {
      said += data;
      if (/^\* OK/.test(said) && !said.includes("a1 ")) {
        socket.write(`a1 LOGIN ${user} "${password}"\r\na2 SELECT INBOX\r\na3 FETCH 1:* (BODY.PEEK[])\r\na4 LOGOUT\r\n`);
        said += "a1 sent\r\n";
      }
    });
    socket.on("close", () => done(said));
    socket.on("error", fail);
  });
}

const rows = (page) => page.locator("section.list .slot");
const row = (page, text) => rows(page).filter({ hasText: text });

async function write(page, to, subject, text, files = []) {
  await page.click("section.list header button:has(svg.lucide-square-pen), section.list header [aria-label=Write]");
  await page.waitForSelector(".sheet");
  const field = page.locator(".sheet [role=combobox]").first();
  await field.fill(`${to},`);
  await page.fill(".sheet .subject", subject);
  await page.locator(".page[contenteditable]").click();
  await page.keyboard.type(text);
  for (const file of files) {
    const chooser = page.waitForEvent("filechooser");
    await page.click("footer [aria-label='Attach files']");
    await (await chooser).setFiles(file);
    await page.locator(".files li", { hasText: file.name }).waitFor();
  }
}
const send = (page) => page.locator("main header button", { hasText: "Send" }).click();

/** Settings: letters go at once from now on, so that nobody waits for the time of undoing. */
async function sendAtOnce(page) {
  await page.goto(`${url}/mail/settings`);
  await page.locator("select", { has: page.locator("option[value='30']") }).selectOption("0");
  await page.waitForTimeout(300); // it is being stored
}

const ayna = await person("ayna");
const batyr = await person("batyr");
const [a, b] = [`ayna@${domain}`, `batyr@${domain}`];
await register(ayna, "ayna", "korrekt pferd 1");
await register(batyr, "batyr", "korrekt pferd 2");
await sendAtOnce(batyr);
await batyr.goto(`${url}/mail`);
step("two people have mail");
await accessible(ayna, "empty inbox");
await shot(ayna, "empty");

await write(ayna, b, "Halylar barada", "Salam Batyr!", [{ name: "carpet.txt", mimeType: "text/plain", buffer: Buffer.from("göl ".repeat(90_000)) }]);
await shot(ayna, "write");
await accessible(ayna, "writing");
await send(ayna);
await ayna.locator(".toast button").click();
await ayna.waitForSelector(".sheet .subject");
step("sent, and taken back");
await batyr.waitForTimeout(500);
if (await rows(batyr).count()) wrong.push("what was taken back arrived");
await send(ayna);
await row(batyr, "Halylar barada").waitFor({ timeout: 30_000 });
step("sent for good, and arrived by itself");

await row(batyr, "Halylar barada").locator(".row").click();
await batyr.locator("article.open").waitFor();
await batyr.frameLocator("article iframe").getByText("Salam Batyr!").waitFor();
await batyr.locator("article", { hasText: "Never left Kerwen" }).waitFor();
const download = batyr.waitForEvent("download");
await batyr.locator("article button", { hasText: "carpet.txt" }).click();
const got = readFileSync(await (await download).path(), "utf8");
if (got !== "göl ".repeat(90_000)) wrong.push("the attachment changed on its way");
await accessible(batyr, "reading");
await shot(batyr, "read");
step("read, with its file");

await batyr.keyboard.press("r");
await batyr.waitForSelector(".sheet");
await batyr.locator(".page[contenteditable]").click();
await batyr.keyboard.press("Control+Home");
await batyr.keyboard.type("Hawa, geleýin.");
await send(batyr);
const answer = row(ayna, "Re: Halylar barada");
await answer.waitFor({ timeout: 30_000 });
await answer.locator(".row").click();
await ayna.frameLocator("article.open iframe").last().getByText("Hawa, geleýin.").waitFor();
if ((await ayna.locator("article").count()) !== 2) wrong.push("the answer is not in its conversation");
await shot(ayna, "conversation");
step("answered, in one conversation");

await smtp("shop@far.test", a, readFileSync(new URL("./letter.eml", import.meta.url), "utf8").replaceAll("AYNA", a));
const shop = row(ayna, "Täze halylar");
await shop.waitFor({ timeout: 30_000 });
await shop.locator(".row").click();
const letter = ayna.frameLocator("article.open iframe");
await letter.getByText("Bazar").first().waitFor();
await ayna.locator("article", { hasText: "Came in unencrypted" }).waitFor();
await ayna.locator("article", { hasText: "1 picture lies elsewhere" }).waitFor();
await letter.getByText("leads to evil.example").waitFor();
if (await ayna.evaluate(() => window.hacked)) wrong.push("a letter ran a script");
await accessible(ayna, "a letter from elsewhere");
await shot(ayna, "letter");
step("a letter from elsewhere: pictures stay away, the false link is marked");

await ayna.keyboard.press("e");
await shop.waitFor({ state: "detached" });
await ayna.locator(".toast button", { hasText: "Undo" }).click();
await shop.waitFor();
await shop.locator(".pic").click();
await ayna.click("section.list header [aria-label=Junk]");
await shop.waitFor({ state: "detached" });
await ayna.locator("section.list header .box").click();
await ayna.locator("dialog li button", { hasText: "Junk" }).click();
await shop.waitFor();
step("archived, undone, moved to junk");

await ayna.fill("section.list input[type=search]", "geleýin");
await ayna.press("section.list input[type=search]", "Enter");
await row(ayna, "Re: Halylar barada").waitFor();
if ((await rows(ayna).count()) !== 1) wrong.push(`search found ${await rows(ayna).count()}`);
await shot(ayna, "search");
step("found by a word of its text");

const inbox = await imap("batyr", "korrekt pferd 2");
for (const word of ["Subject: Halylar barada", `From: `, "carpet.txt", "In-Reply-To", "multipart/mixed"]) {
  if (word !== "In-Reply-To" && !inbox.includes(word)) wrong.push(`IMAP lacks ${word}: ${inbox.slice(0, 400)}`);
}
step("a program reads it over IMAP");

await sendAtOnce(ayna);
await ayna.goto(`${url}/mail`);
await rows(ayna).first().waitFor();
await ayna.waitForTimeout(3000);
await ayna.context().setOffline(true);
await ayna.evaluate(() => history.pushState({}, "", "/mail"));
await row(ayna, "Re: Halylar barada").locator(".row").click();
await ayna.frameLocator("article.open iframe").last().getByText("Hawa, geleýin.").waitFor();
await write(ayna, b, "Without a line", "Later.");
await send(ayna);
await ayna.locator("[role=status]", { hasText: "Without a line" }).waitFor();
await ayna.context().setOffline(false);
await row(batyr, "Without a line").waitFor({ timeout: 60_000 });
step("written without a line, arrived with one");

await ayna.goto(`${url}/mail/settings`);
await ayna.locator("h2", { hasText: "Mail programs" }).waitFor();
await accessible(ayna, "settings");
await shot(ayna, "settings");

await browser.close();
for (const found of wrong) console.error(`WRONG: ${found}`);
process.exit(wrong.length === 0 ? 0 : 1);
