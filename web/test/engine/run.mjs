// Runs the engine's tests in Node: `node test/engine/run.mjs [NAME…]`. Each file is bundled first,
// since Node 20 reads no TypeScript; rolldown comes with Vite.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { spawnSync } from "node:child_process";
import { rolldown } from "rolldown";

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const chosen = readdirSync(here)
    .filter((name) => name.endsWith(".test.ts"))
    .filter((name) => (wanted.length > 0 ? wanted.some((word) => name.startsWith(word)) : !name.startsWith("live_")));
// beside node_modules, so that what is not bundled is found
const out = mkdtempSync(join(here, "../../node_modules/.engine-test-"));
try {
    const bundle = await rolldown({
        input: chosen.map((name) => join(here, name)),
        platform: "node",
        external: [/^node:/, "fake-indexeddb", "fake-indexeddb/auto", "@matrix-org/matrix-sdk-crypto-wasm"],
    });
    await bundle.write({ dir: out, format: "esm", entryFileNames: "[name].mjs", sourcemap: "inline" });
    const files = chosen.map((name) => join(out, name.replace(/\.ts$/, ".mjs")));
    const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", "--test-reporter=spec", ...files], { stdio: "inherit" });
    process.exitCode = run.status ?? 1;
} finally {
    rmSync(out, { recursive: true, force: true });
}
