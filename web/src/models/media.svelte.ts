// Pictures and files as addresses for the page. At most so many are held; the oldest are let go.
import { SvelteMap } from "svelte/reactivity";
import type { MediaRef, Mxc, TransferState } from "../engine/types.ts";
import { engine } from "./session.svelte.ts";

const HELD = 300;
const urls = new SvelteMap<string, string>();
const asked = new Map<string, Promise<string>>();
export const transfers = new SvelteMap<string, TransferState>();

function hold(key: string, blob: Blob): string {
  const url = URL.createObjectURL(blob);
  urls.set(key, url);
  if (urls.size > HELD) {
    const [oldest, gone] = urls.entries().next().value!;
    urls.delete(oldest);
    asked.delete(oldest);
    setTimeout(() => URL.revokeObjectURL(gone), 10_000);
  }
  return url;
}

function fetched(key: string, get: () => Promise<Blob>): Promise<string> {
  let waiting = asked.get(key);
  if (!waiting) {
    waiting = get().then((blob) => hold(key, blob));
    waiting.catch(() => setTimeout(() => asked.delete(key), 5000));
    asked.set(key, waiting);
  }
  return waiting;
}

/** The address of a small picture, once it is there. */
export function thumbUrl(mxc: Mxc, size: number): string | undefined {
  const wanted = size <= 48 ? 96 : size <= 96 ? 192 : 320;
  const key = `${mxc} ${wanted}`;
  queueMicrotask(() => void fetched(key, () => engine.media.thumb(mxc, wanted, wanted, true)).catch(() => {}));
  return urls.get(key);
}

export function mediaKey(ref: MediaRef): string {
  return ref.file?.url ?? ref.mxc ?? `local:${ref.local}`;
}

/** The address of a file, decrypted. */
export function mediaUrl(ref: MediaRef): Promise<string> {
  return fetched(mediaKey(ref), () => engine.media.get(ref));
}

/** The address if it is there already. */
export function mediaHere(ref: MediaRef): string | undefined {
  return urls.get(mediaKey(ref));
}

function click(href: string, name: string): void {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
}

/** Saves a file to the person's disk. */
export async function save(ref: MediaRef): Promise<void> {
  click(await mediaUrl(ref), ref.name);
}

/** Gives what was made here to the browser's downloads. */
export function download(data: Blob, name: string): void {
  const url = URL.createObjectURL(data);
  click(url, name.replace(/[\\/:*?"<>|\u0000-\u001f]/g, "_") || "file");
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Begins to hear of files under way; the answer ends it, and lets all go: the next account sees none of it. */
export function bindMedia(): () => void {
  const stop = engine.on("transfer", (state) => {
    if (state.direction === "up") return; // its message tells of it
    transfers.set(state.id, state);
    if (transfers.size > HELD) transfers.delete(transfers.keys().next().value!);
  });
  return () => {
    stop();
    for (const url of urls.values()) URL.revokeObjectURL(url);
    for (const held of [urls, asked, transfers]) held.clear();
  };
}
