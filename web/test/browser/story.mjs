// Two people in two browsers, against a running server: `node test/browser/story.mjs URL`.
// They register, meet in an encrypted group, send a text, a picture and a voice message; one of them
// makes a recovery key and reads everything again in a third browser. All that the browsers ask for
// must be the server's, no policy may be broken, and axe must find nothing in the views passed.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { chromiumPath } from "../../tools/chromium.js";

const [url] = process.argv.slice(2);
const PATIENCE = Number(process.env.KERWEN_PATIENCE ?? 30_000);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: chromiumPath(),
  args: ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
});
const wrong = [];
let steps = 0;
const began = Date.now();
function step(text) {
  steps += 1;
  console.log(`${((Date.now() - began) / 1000).toFixed(1)} s  ${text}`);
}

async function person(name, width = 1280) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, locale: "en-GB", reducedMotion: "reduce", permissions: ["microphone"] });
  context.setDefaultTimeout(PATIENCE);
  context.on("request", (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) wrong.push(`${name} asked ${request.url()}`);
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (/Content Security Policy|TrustedScript|TrustedHTML/i.test(message.text())) wrong.push(`${name}: ${message.text()}`);
    else if (process.env.KERWEN_LOUD) console.log(`${name}: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`${name}: ${error.stack ?? error}`));
  await page.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (e) => console.error(`Content Security Policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}`)),
  );
  return page;
}

/** What axe finds in what the page shows, as a test and not as a script of the page. */
async function accessible(page, view) {
  const session = await page.context().newCDPSession(page);
  await session.send("Page.setBypassCSP", { enabled: true });
  await session.send("Runtime.evaluate", { expression: axe });
  const { result } = await session.send("Runtime.evaluate", {
    expression: `axe.run({ resultTypes: ["violations"] }).then((r) => JSON.stringify(r.violations.map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | "))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  for (const found of JSON.parse(result.value)) wrong.push(`axe, ${view}: ${found}`);
  await session.detach();
}

async function register(page, name, password) {
  // before the engine has come nobody knows whether an invitation is needed: a field that is required
  // and then goes would swallow who is quick
  await page.addInitScript(() => {
    new MutationObserver(() => { if (document.querySelector("input[name=invite]")) globalThis.askedForInvite = true; })
      .observe(document, { childList: true, subtree: true });
  });
  await page.goto(`${url}/start/register`);
  await page.fill("input[name=username]", name);
  await page.fill("input[name=password]", password);
  await page.click("form button[type=submit]");
  await page.waitForSelector(".keys");
  if (await page.evaluate(() => globalThis.askedForInvite)) wrong.push(`${name} was asked for an invitation where none is needed`);
}

async function makeKey(page, password) {
  await page.waitForSelector(".keys input[name=password]");
  await page.fill(".keys input[name=password]", password);
  await page.click(".keys form button[type=submit]");
  await page.waitForSelector("ol.key");
  const groups = await page.locator("ol.key li").allInnerTexts();
  await page.check(".sure input");
  await page.locator(".card > button").last().click();
  return groups.join(" ");
}

async function say(page, text) {
  await page.fill(".composer textarea", text);
  await page.press(".composer textarea", "Enter");
}

/** matrix-js-sdk in a process of its own; `said` resolves with the line that begins so. */
function thirdPerson(name, password, awaited, answer) {
  const child = spawn("node", [fileURLToPath(new URL("third.mjs", import.meta.url)), url, name, password, awaited, answer], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = [];
  const waiting = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    for (const check of waiting) check();
  });
  const said = (start) =>
    new Promise((done, failed) => {
      const timer = setTimeout(() => failed(new Error(`the third client did not say "${start}":\n${lines.join("\n")}`)), 2 * PATIENCE);
      const check = () => {
        const line = lines.find((one) => one.startsWith(start));
        if (line !== undefined) (clearTimeout(timer), done(line.slice(start.length).trim()));
      };
      waiting.push(check);
      check();
    });
  return { said, end: () => child.kill() };
}

const tag = Math.random().toString(36).slice(2, 8);
const [aynaName, batyrName, password] = [`ayna${tag}`, `batyr${tag}`, "a long enough password"];
try {
  const ayna = await person("ayna");
  await ayna.goto(url);
  await ayna.waitForSelector("input[name=username]");
  await accessible(ayna, "log-in");
  step("the door is usable");
  const batyr = await person("batyr", 390);
  await Promise.all([register(ayna, aynaName, password), register(batyr, batyrName, password)]);
  step("both registered");

  const key = await makeKey(ayna, password);
  step("the recovery key was shown once");
  await ayna.waitForSelector(".list h1");
  await batyr.goto(url);
  await batyr.waitForSelector(".list h1");

  await ayna.locator(".list header button").first().click();
  await ayna.locator(".kinds button").first().click();
  await ayna.locator("dialog input").first().fill("Garden");
  await ayna.fill("dialog input[type=search]", `${batyrName}`);
  await ayna.locator("dialog .list .row").first().click();
  await ayna.locator("dialog footer button").last().click();
  await ayna.waitForSelector(".composer textarea");
  step("ayna made an encrypted group");

  await batyr.locator(".list .row").first().click();
  await batyr.locator(".deeds button").first().click();
  await batyr.waitForSelector(".composer textarea");
  step("batyr said yes");

  await say(ayna, "The **mulberries** are ripe");
  await batyr.getByText("mulberries").first().waitFor();
  await say(batyr, "I come at eight");
  await ayna.getByText("I come at eight").first().waitFor();
  step("both read what the other wrote");
  await accessible(ayna, "conversation");
  await accessible(batyr, "conversation on a phone");

  const picture = await ayna.evaluate(async () => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    const c = canvas.getContext("2d");
    c.fillStyle = "#8e1b2e";
    c.fillRect(0, 0, 64, 64);
    return canvas.toDataURL("image/png").split(",")[1];
  });
  await ayna.setInputFiles("input[type=file]", { name: "garden.png", mimeType: "image/png", buffer: Buffer.from(picture, "base64") });
  await ayna.waitForSelector(".files img");
  await say(ayna, "our garden");
  await batyr.waitForSelector("article img[alt='our garden']");
  step("batyr sees the picture");

  await batyr.locator(".composer .line > button").last().click();
  await batyr.waitForSelector(".recorder");
  await batyr.waitForTimeout(1200);
  await batyr.locator(".recorder button").last().click();
  await ayna.waitForSelector("article .voice");
  await ayna.locator("article .voice .play").click();
  await ayna.waitForFunction(() => document.querySelector("article .voice .bars i.past"));
  step("ayna hears the voice message");

  // everything by keyboard: from the list to a message and back
  await ayna.goto(url);
  await ayna.waitForSelector(".list .row");
  await accessible(ayna, "chats");
  await ayna.locator(".list .row").first().focus();
  await ayna.keyboard.press("Enter");
  await ayna.waitForSelector(".composer textarea");
  await ayna.locator(".composer textarea").focus();
  await ayna.keyboard.type("by keyboard");
  await ayna.keyboard.press("Enter");
  await batyr.getByText("by keyboard").first().waitFor();
  step("a message by keyboard alone");

  // off line: the app opens with its history, and what is written goes when the line is back
  await ayna.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await ayna.context().setOffline(true);
  await ayna.goto(url);
  await ayna.locator(".list .row").first().click();
  await ayna.getByText("mulberries").first().waitFor();
  await say(ayna, "written off line");
  await ayna.getByText("written off line").first().waitFor();
  await ayna.context().setOffline(false);
  await batyr.getByText("written off line").first().waitFor();
  step("off line it opens, and sends later");

  if (process.env.KERWEN_THIRD !== "off") {
    const third = thirdPerson(`jeren${tag}`, password, "for everybody", "I read you from another program");
    try {
      const id = await third.said("id ");
      await ayna.click(".head .who");
      await ayna.locator(".members .row").first().click();
      await ayna.fill("dialog input[type=search]", id);
      await ayna.locator("dialog .row").first().click();
      await third.said("joined");
      await ayna.locator(".side header button").click();
      await ayna.getByText(`jeren${tag} joined`).first().waitFor();
      await say(ayna, "for everybody");
      await ayna.getByText("I read you from another program").first().waitFor();
      await batyr.getByText("I read you from another program").first().waitFor();
      step("matrix-js-sdk reads the room and is read");
    } finally {
      third.end();
    }
  }

  for (const view of ["settings/look", "settings/devices", "settings/safety", "settings/account", "people"]) {
    await ayna.goto(`${url}/${view}`);
    await ayna.waitForSelector(".panes");
    await ayna.waitForTimeout(400);
    await accessible(ayna, view);
  }
  step("settings are accessible");

  const again = await person("ayna on a second device");
  await again.goto(url);
  await again.fill("input[name=username]", aynaName);
  await again.fill("input[name=password]", password);
  await again.click("form button[type=submit]");
  await again.waitForSelector(".list .row");
  await again.goto(`${url}/start/key`);
  await again.waitForSelector("textarea[name=recovery-key]");
  await again.fill("textarea[name=recovery-key]", key);
  await again.click(".keys form button[type=submit]");
  await again.waitForSelector(".pic.good");
  await again.goto(url);
  await again.locator(".list .row").first().click();
  await again.getByText("mulberries").first().waitFor();
  step("a second device reads the first message with the recovery key");
} catch (error) {
  wrong.push(String(error.stack ?? error).split("\n").slice(0, 12).join("\n"));
  for (const [i, context] of browser.contexts().entries())
    for (const page of context.pages()) await page.screenshot({ path: `${process.env.KERWEN_SHOTS ?? "/tmp"}/story-${i}.png` }).catch(() => {});
}
await browser.close();
for (const line of [...new Set(wrong)]) console.log(`WRONG ${line}`);
console.log(`browser told: ${steps} steps, ${wrong.length} wrong`);
process.exit(wrong.length ? 1 : 0);
