// Draws public/icons/*.png from mark.svg, in Chromium: `node tools/icons.js`, after the mark changed.
import { readFileSync, writeFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { chromiumPath } from "./chromium.js";

const mark = readFileSync("public/icons/mark.svg", "utf8");
const browser = await chromium.launch({ executablePath: chromiumPath() });
const page = await browser.newPage();
for (const [name, size, share, ground] of [
  ["icon-192", 192, 1, "transparent"],
  ["icon-512", 512, 1, "transparent"],
  ["maskable-512", 512, 0.9, "#8E1B2E"], // a launcher cuts the corners off
]) {
  await page.setViewportSize({ width: size, height: size });
  const inner = Math.round(size * share);
  await page.setContent(
    `<body style="margin:0;display:grid;place-items:center;height:100vh;background:${ground}"><div style="width:${inner}px;height:${inner}px">${mark}</div></body>`,
  );
  writeFileSync(`public/icons/${name}.png`, await page.screenshot({ omitBackground: true }));
}
await browser.close();
