// Two people call each other in two browsers, against a running server with Janus:
// `node test/browser/calls.mjs URL`. Voice and picture go both ways, encrypted; one declines,
// one answers on one of two devices, one leaves. No policy may be broken, nothing may be asked of
// another host, axe must find nothing.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { chromiumPath } from "../../tools/chromium.js";

const [url] = process.argv.slice(2);
const PATIENCE = Number(process.env.KERWEN_PATIENCE ?? 30_000);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: chromiumPath(),
  args: ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"],
});
const wrong = [];
let steps = 0;
const began = Date.now();
const step = (text) => {
  steps += 1;
  console.log(`${((Date.now() - began) / 1000).toFixed(1)} s  ${text}`);
};

async function person(name, width = 1280) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, locale: "en-GB", reducedMotion: "reduce", permissions: ["microphone", "camera"] });
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
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => console.error(`Content Security Policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}`));
    window.lines = [];
    const Plain = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Plain {
      constructor(...given) {
        super(...given);
        window.lines.push(this);
      }
    };
  });
  return page;
}

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
  await session.send("Page.setBypassCSP", { enabled: false });
  await session.detach();
}

/** What comes in on all lines of a page: frames decoded, and how loud it was. */
const heard = (page) =>
  page.evaluate(async () => {
    const sum = { frames: 0, energy: 0 };
    for (const line of window.lines) {
      if (line.connectionState === "closed") continue;
      for (const one of (await line.getStats()).values()) {
        if (one.type !== "inbound-rtp") continue;
        sum.frames += one.framesDecoded ?? 0;
        sum.energy += one.totalAudioEnergy ?? 0;
      }
    }
    return sum;
  });

async function gets(page, who, frames = 30) {
  const before = await heard(page);
  const end = Date.now() + PATIENCE;
  let now = before;
  while (Date.now() < end) {
    now = await heard(page);
    if (now.frames - before.frames >= frames && now.energy > before.energy) return;
    await page.waitForTimeout(200);
  }
  throw new Error(`${who} decodes too little: ${JSON.stringify([before, now])}`);
}

async function register(page, name, password) {
  await page.goto(`${url}/start/register`);
  await page.fill("input[name=username]", name);
  await page.fill("input[name=password]", password);
  await page.click("form button[type=submit]");
  await page.waitForSelector(".keys");
  await page.goto(url);
  await page.waitForSelector(".list h1");
}

const tag = Math.random().toString(36).slice(2, 8);
const [aynaName, batyrName, password] = [`ayna${tag}`, `batyr${tag}`, "a long enough password"];
const call = (page, label) => page.locator(".head").getByRole("button", { name: label });
const over = (page) => page.waitForSelector("section.call", { state: "detached" });
try {
  const [ayna, batyr] = [await person("ayna"), await person("batyr", 390)];
  await register(ayna, aynaName, password);
  await register(batyr, batyrName, password);
  await ayna.locator(".list header button").first().click();
  await ayna.fill("dialog input[type=search]", batyrName);
  await ayna.locator("dialog .row").filter({ hasText: batyrName }).first().click();
  await ayna.waitForSelector(".composer textarea");
  await batyr.locator(".list .row").first().click();
  await batyr.locator(".deeds button").first().click();
  await batyr.waitForSelector(".composer textarea");
  step("a direct chat");

  await call(ayna, "Video call").click();
  await batyr.waitForSelector(".ring");
  await accessible(batyr, "ringing");
  await batyr.locator(".ring").getByRole("button", { name: "Accept" }).click();
  await Promise.all([gets(ayna, "ayna"), gets(batyr, "batyr")]);
  for (const page of [ayna, batyr]) {
    const bare = await page.evaluate(() => window.lines.flatMap((line) => line.getSenders()).filter((sender) => sender.track && !sender.lk_e2ee).length);
    if (bare) wrong.push(`${bare} tracks leave a device unencrypted`);
  }
  step("picture and voice both ways, each decoded");
  await accessible(ayna, "call");
  await accessible(batyr, "call on a phone");
  if (process.env.KERWEN_SHOTS) for (const [i, page] of [ayna, batyr].entries()) await page.screenshot({ path: `${process.env.KERWEN_SHOTS}/call-${i}.png` });

  await ayna.getByRole("button", { name: "Make small and chat" }).click();
  await ayna.fill(".composer textarea", "I show you the garden");
  await ayna.press(".composer textarea", "Enter");
  await ayna.getByText("I show you the garden").first().waitFor();
  await ayna.getByRole("button", { name: "Turn the microphone off" }).click();
  await batyr.locator(".tile .sign").getByText("Microphone off").waitFor({ state: "attached" });
  step("she chats beside it, and mutes herself");

  await batyr.getByRole("button", { name: "Hang up" }).click();
  await Promise.all([over(ayna), over(batyr)]);
  await batyr.locator("article").getByText("Video call").first().waitFor();
  step("he hangs up, and both are out");

  await call(batyr, "Voice call").click();
  await ayna.waitForSelector(".ring");
  await ayna.locator(".ring").getByRole("button", { name: "Decline" }).click();
  await over(batyr);
  await ayna.waitForSelector(".ring", { state: "detached" });
  await ayna.locator("article").getByText("Declined call").first().waitFor();
  step("she declines, and it rings no longer");

  const second = await person("batyr's second device");
  await second.goto(url);
  await second.fill("input[name=username]", batyrName);
  await second.fill("input[name=password]", password);
  await second.click("form button[type=submit]");
  await second.waitForSelector(".list .row");
  // a new device gets keys once others know of it; what was sealed before stays shut there
  for (let i = 0; ; i++) {
    await ayna.fill(".composer textarea", `for both ${i}`);
    await ayna.press(".composer textarea", "Enter");
    if (await second.getByText(`for both ${i}`).first().waitFor({ timeout: 3_000 }).then(() => true, () => i > 9)) break;
  }
  await call(ayna, "Voice call").click();
  await Promise.all([batyr.waitForSelector(".ring"), second.waitForSelector(".ring")]);
  await second.locator(".ring").getByRole("button", { name: "Accept" }).click();
  await batyr.waitForSelector(".ring", { state: "detached" });
  const loud = async () => (await heard(ayna)).energy;
  const before = await loud();
  for (let i = 0; i < 100 && (await loud()) <= before; i++) await ayna.waitForTimeout(200);
  if ((await loud()) <= before) wrong.push("ayna hears nothing of the second device");
  step("answered on one device, the other rings no longer");

  await second.close();
  await over(ayna);
  step("a tab that is closed has left the call");
} catch (error) {
  wrong.push(String(error.stack ?? error).split("\n").slice(0, 12).join("\n"));
  for (const [i, context] of browser.contexts().entries())
    for (const page of context.pages()) await page.screenshot({ path: `${process.env.KERWEN_SHOTS ?? "/tmp"}/calls-${i}.png` }).catch(() => {});
}
await browser.close();
for (const line of [...new Set(wrong)]) console.log(`WRONG ${line}`);
console.log(`calls told: ${steps} steps, ${wrong.length} wrong`);
process.exit(wrong.length ? 1 : 0);
