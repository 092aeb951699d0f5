// After Vite: lists every file for the server (type, size, tag), puts a Brotli form beside each that
// gains by it, and tells the service worker what the shell is.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { extname, join, relative } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const out = process.env.KERWEN_WEB_OUT ?? "../kerwen/web_dist";
const cache = ".cache";
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webp": "image/webp",
  ".wasm": "application/wasm",
  ".opus": "audio/ogg",
};
const PRESSED = [".html", ".js", ".css", ".json", ".webmanifest", ".svg", ".wasm"];

function walk(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? walk(path) : [path];
  });
}

const tag = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 20);

function press(bytes) {
  // 11 is slow on megabytes of WebAssembly, so what was pressed is kept
  const kept = join(cache, `${tag(bytes)}.br`);
  if (existsSync(kept)) return readFileSync(kept);
  const pressed = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
  if (bytes.length > 1_000_000) {
    mkdirSync(cache, { recursive: true });
    writeFileSync(kept, pressed);
  }
  return pressed;
}

for (const path of walk(out)) if (path.endsWith(".br")) rmSync(path);
rmSync(join(out, "files.json"), { force: true });

const paths = walk(out).map((path) => relative(out, path)).sort();
const assets = paths.filter((p) => p.startsWith("assets/") && !p.endsWith(".wasm"));
const worker = join(out, "sw.js");
const version = tag(Buffer.from(paths.map((p) => tag(readFileSync(join(out, p)))).join()));
const shell = ["/", "/manifest.webmanifest", ...assets.map((p) => `/${p}`)];
writeFileSync(
  worker,
  readFileSync(worker, "utf8").replace('JSON.parse(`__SHELL__`)', JSON.stringify(shell)).replace('JSON.parse("__SHELL__")', JSON.stringify(shell)).replace("__VERSION__", version),
);

const files = {};
for (const path of paths) {
  const bytes = readFileSync(join(out, path));
  const type = TYPES[extname(path)];
  if (!type) throw new Error(`pack: no type for ${path}`);
  let brotli = 0;
  if (PRESSED.includes(extname(path)) && bytes.length > 200) {
    const pressed = press(bytes);
    if (pressed.length < bytes.length * 0.95) {
      writeFileSync(join(out, `${path}.br`), pressed);
      brotli = pressed.length;
    }
  }
  files[path] = { type, size: bytes.length, brotli, etag: tag(bytes) };
}
writeFileSync(join(out, "files.json"), JSON.stringify(files));
console.log(`pack: ${paths.length} files`);
