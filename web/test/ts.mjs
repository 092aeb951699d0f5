// Lets Node's own test runner read TypeScript: `node --import ./test/ts.mjs --test 'test/**/*.test.ts'`.
import { register } from "node:module";

register("./ts_hooks.mjs", import.meta.url);
