// Compiles words/*.json to typed functions in src/words, and fails where Paraglide would only
// shrug: with its plug-in missing it says "successfully compiled" and writes no message at all.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { compile } from "@inlang/paraglide-js";

const locales = ["en", "tk", "ru", "fr"];
const words = Object.fromEntries(
  locales.map((l) => [l, JSON.parse(readFileSync(`words/${l}.json`, "utf8"))]),
);
const keys = Object.keys(words.en).filter((k) => k !== "$schema");
let wrong = 0;
for (const locale of locales) {
  for (const key of keys) if (!(key in words[locale])) complain(`${locale}.json lacks ${key}`);
  for (const key of Object.keys(words[locale]))
    if (!(key in words.en)) complain(`${locale}.json has ${key}, en.json has not`);
}
if (wrong) process.exit(1);

rmSync("src/words", { recursive: true, force: true });
await compile({
  project: "./project.inlang",
  outdir: "./src/words",
  outputStructure: "message-modules",
  strategy: ["globalVariable", "baseLocale"],
  emitTsDeclarations: false,
  emitGitIgnore: false,
  emitPrettierIgnore: false,
  cookieName: "unused",
});
// the stock runtime looks in cookies and addresses; ours knows what the settings say
writeFileSync("src/words/runtime.js", 'export * from "../app/locale.svelte.ts";\n');
const made = existsSync("src/words/messages") ? readdirSync("src/words/messages").length : 0;
if (made < keys.length) complain(`only ${made} of ${keys.length} words were compiled`);
if (wrong) process.exit(1);
console.log(`words: ${keys.length} in ${locales.length} languages`);

function complain(text) {
  console.error(`words: ${text}`);
  wrong += 1;
}
