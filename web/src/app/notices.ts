// New messages while the app is open but not looked at: a notification, and a short sound of our own.
import { engine } from "../models/session.svelte.ts";
import { sayItem } from "../models/say.ts";
import * as m from "../words/messages.js";
import { path, go } from "./router.svelte.ts";
import { settings } from "./settings.svelte.ts";

/** Two soft notes, made here: nothing is downloaded. */
export function chime(up = true): void {
  const audio = new AudioContext();
  for (const [i, tone] of (up ? [587.3, 880] : [880, 587.3]).entries()) {
    const note = audio.createOscillator();
    const gain = audio.createGain();
    const at = audio.currentTime + i * 0.09;
    note.type = "sine";
    note.frequency.value = tone;
    gain.gain.setValueAtTime(0, at);
    gain.gain.linearRampToValueAtTime(0.09, at + 0.015);
    gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.35);
    note.connect(gain).connect(audio.destination);
    note.start(at);
    note.stop(at + 0.4);
  }
  setTimeout(() => void audio.close(), 1000);
}

async function tell(title: string, body: string, tag: string, to: string): Promise<void> {
  const options = { body, tag, icon: "/icons/icon-192.png", data: { path: to } };
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) await worker.showNotification(title, options);
  else new Notification(title, options).onclick = () => (window.focus(), go(to));
}

/** Begins to tell of new messages; the answer ends it. */
export function bindNotices(): () => void {
  const heard = (event: MessageEvent) => {
    const to = (event.data as { go?: string } | undefined)?.go;
    if (typeof to === "string" && to.startsWith("/")) go(to);
  };
  navigator.serviceWorker?.addEventListener("message", heard);
  const stop = engine.on("notify", ({ room, item, loud }) => {
    if (item.mine || (document.visibilityState === "visible" && document.hasFocus())) return;
    if (settings.sounds && loud) chime();
    if (!settings.notify || !("Notification" in window) || Notification.permission !== "granted") return;
    const text = settings.notifyText ? sayItem(item) : m.notify_new();
    const title = room.kind === "dm" ? item.senderName : `${item.senderName} · ${room.name}`;
    void tell(title, text, room.id, path("chats", room.id)).catch(() => {});
  });
  return () => {
    stop();
    navigator.serviceWorker?.removeEventListener("message", heard);
  };
}
