// The budgets of the first load, in bytes of Brotli: what index.html and a view bring along before
// they can be used. Ends with an error where one is broken.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const out = process.env.KERWEN_WEB_OUT ?? "../kerwen/web_dist";
const BUDGETS = JSON.parse(readFileSync("budgets.json", "utf8"));
const manifest = JSON.parse(readFileSync(join(out, "chunks.json"), "utf8"));
const files = JSON.parse(readFileSync(join(out, "files.json"), "utf8"));

function closure(keys) {
  const seen = new Set();
  const found = new Set();
  const visit = (key) => {
    if (seen.has(key)) return;
    seen.add(key);
    const chunk = manifest[key];
    if (!chunk) throw new Error(`budget: nothing was built of ${key}`);
    found.add(chunk.file);
    for (const css of chunk.css ?? []) found.add(css);
    for (const next of chunk.imports ?? []) visit(next);
  };
  keys.forEach(visit);
  return [...found];
}

let broken = false;
for (const { name, entries, bytes, files: more } of BUDGETS) {
  const parts = closure(entries);
  if (more) parts.push(...Object.keys(files).filter((path) => new RegExp(more).test(path)));
  const used = parts.reduce((sum, path) => sum + (files[path].brotli || files[path].size), 0);
  const fits = used <= bytes;
  broken ||= !fits;
  console.log(`budget: ${name} ${(used / 1000).toFixed(1)} of ${bytes / 1000} kB${fits ? "" : ": TOO MUCH"}`);
}
if (broken) process.exit(1);
