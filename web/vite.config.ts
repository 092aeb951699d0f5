import { fileURLToPath } from "node:url";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const server = process.env.KERWEN ?? "http://127.0.0.1:10080";

export default defineConfig({
  plugins: [svelte()],
  publicDir: "public",
  build: {
    outDir: process.env.KERWEN_WEB_OUT ?? here("../kerwen/web_dist"),
    emptyOutDir: true,
    target: ["chrome100", "firefox100", "safari15.4"],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    manifest: "chunks.json",
    rolldownOptions: {
      input: { index: here("index.html"), sw: here("src/app/sw.ts") },
      // Words are functions without effects: each goes to the views that say it, not to the first load.
      treeshake: { moduleSideEffects: [{ test: /\/src\/words\//, sideEffects: false }] },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  worker: { format: "es" },
  server: { proxy: Object.fromEntries(["/_matrix", "/_kerwen", "/.well-known"].map((p) => [p, server])) },
});
