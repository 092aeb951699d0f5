// Runs the tests that need no browser: every `test/**/*.test.ts`, or those named.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const named = process.argv.slice(2);
const all = readdirSync(join(web, "test"), { recursive: true })
  .filter((path) => path.endsWith(".test.ts"))
  .map((path) => join("test", path))
  .sort();
const args = ["--import", "./test/ts.mjs", "--test", ...(named.length > 0 ? named : all)];
process.exit(spawnSync(process.execPath, args, { cwd: web, stdio: "inherit" }).status ?? 1);
