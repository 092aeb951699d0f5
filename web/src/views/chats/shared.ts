// What another app shared with this one: the service worker keeps it until a conversation takes it.
const CACHE = "kerwen-shared";

/** Takes it: the second to ask gets nothing. */
export async function takeShared(): Promise<{ text: string; files: File[] } | undefined> {
  if (!("caches" in globalThis) || !(await caches.has(CACHE))) return;
  const cache = await caches.open(CACHE);
  const note = await cache.match("/start/share");
  if (!note) return;
  const { text, files } = (await note.json()) as { text: string; files: string[] };
  const taken: File[] = [];
  for (const path of files) {
    const answer = await cache.match(path);
    if (!answer) continue;
    const blob = await answer.blob();
    taken.push(new File([blob], decodeURIComponent(answer.headers.get("x-name") ?? "file"), { type: blob.type }));
  }
  await caches.delete(CACHE);
  return { text, files: taken };
}
