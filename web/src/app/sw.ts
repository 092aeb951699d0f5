// The service worker. It holds the shell under the names with hashes in them, gives the one page for
// every address of the app, and takes what other apps share. It never sees an answer of the API.
/// <reference lib="webworker" />
declare const self: ServiceWorkerGlobalScope;

const SHELL = JSON.parse("__SHELL__") as string[];
const CACHE = "kerwen-__VERSION__";
const SHARED = "kerwen-shared";
const VIEW = /^\/(chats|mail|calls|people|settings|admin|join|start)?(\/|$)/;

self.addEventListener("install", (event) => {
  event.waitUntil(fill());
});

/** Takes over what an older version held: only what changed is fetched. */
async function fill(): Promise<void> {
  const cache = await caches.open(CACHE);
  for (const url of SHELL) {
    const held = url.startsWith("/assets/") ? await caches.match(url) : undefined;
    if (held) await cache.put(url, held);
    else await cache.add(new Request(url, { cache: url === "/" ? "no-cache" : "default" }));
  }
}

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name !== CACHE && name !== SHARED) await caches.delete(name);
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("message", (event) => {
  if (event.data === "take") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (url.origin !== self.location.origin) return;
  if (request.method === "POST" && url.pathname === "/start/share") event.respondWith(takeShare(request));
  else if (request.method !== "GET") return;
  else if (request.mode === "navigate" && VIEW.test(url.pathname)) event.respondWith(page(request));
  else if (url.pathname.startsWith("/assets/") || url.pathname.startsWith("/icons/") || url.pathname === "/manifest.webmanifest")
    event.respondWith(asset(request));
});

async function page(request: Request): Promise<Response> {
  return (await caches.match("/", { cacheName: CACHE })) ?? fetch(request);
}

/** From the cache; what is not in the shell (the WebAssembly, icons) joins it at its first use. */
async function asset(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const held = (await cache.match(request)) ?? (await caches.match(request));
  if (held) return held;
  const answer = await fetch(request);
  if (answer.ok && answer.status === 200) void cache.put(request, answer.clone()).catch(() => {});
  return answer;
}

/** Keeps what another app shared until the app asks for it. */
async function takeShare(request: Request): Promise<Response> {
  const form = await request.formData();
  const cache = await caches.open(SHARED);
  const files = form.getAll("files").filter((part): part is File => part instanceof File);
  const text = ["title", "text", "url"].map((name) => form.get(name)).filter((part) => typeof part === "string" && part);
  const names: string[] = [];
  for (const [i, file] of files.entries()) {
    const headers = { "content-type": file.type || "application/octet-stream", "x-name": encodeURIComponent(file.name) };
    await cache.put(`/start/share/${i}`, new Response(file, { headers }));
    names.push(`/start/share/${i}`);
  }
  await cache.put("/start/share", new Response(JSON.stringify({ text: text.join("\n"), files: names })));
  return Response.redirect("/chats?shared=1", 303);
}

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const path = (event.notification.data as { path?: string } | undefined)?.path ?? "/";
  event.waitUntil(
    (async () => {
      for (const client of await self.clients.matchAll({ type: "window" })) {
        await client.focus();
        client.postMessage({ go: path });
        return;
      }
      await self.clients.openWindow(path);
    })(),
  );
});

export {};
