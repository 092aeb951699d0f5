// The rooms of the list, kept in order.
import { SvelteMap } from "svelte/reactivity";
import type { RoomId, RoomSummary } from "../engine/types.ts";
import { engine } from "./session.svelte.ts";

const all = new SvelteMap<RoomId, RoomSummary>();
export const rooms = $state({ loaded: false });

const ordered = $derived(
  [...all.values()].sort((a, b) => Number(b.favourite) - Number(a.favourite) || b.ts - a.ts || (a.id < b.id ? -1 : 1)),
);
const chats = $derived(ordered.filter((room) => room.membership === "join" && room.kind !== "space" && !room.replacedBy));
const requests = $derived(ordered.filter((room) => room.membership === "invite" && room.kind !== "space"));
const spaces = $derived(ordered.filter((room) => room.membership === "join" && room.kind === "space"));
const unread = $derived(
  chats.reduce((sum, room) => sum + (room.notify === "none" ? 0 : room.unread), 0) + requests.length,
);

/** Joined chats, favourites first, then the newest. */
export const joined = (): RoomSummary[] => chats;
/** Invites that wait for an answer. */
export const invites = (): RoomSummary[] => requests;
export const folders = (): RoomSummary[] => spaces;
export const unreadTotal = (): number => unread;
export const room = (id: RoomId): RoomSummary | undefined => all.get(id);

let bound = false;

export async function loadRooms(): Promise<void> {
  if (!bound) {
    bound = true;
    engine.on("rooms", ({ changed, gone }) => {
      for (const one of changed) all.set(one.id, one);
      for (const id of gone) all.delete(id);
    });
    engine.on("restarted", () => void take());
    engine.on("session", (state) => {
      if (state.kind === "out") {
        all.clear();
        rooms.loaded = false;
      }
    });
  }
  await take();
}

async function take(): Promise<void> {
  const found = await engine.rooms.list();
  const ids = new Set(found.map((one) => one.id));
  for (const id of all.keys()) if (!ids.has(id)) all.delete(id);
  for (const one of found) all.set(one.id, one);
  rooms.loaded = true;
}
