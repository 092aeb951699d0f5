// Calls as views see them: who rings, who is in a call, and the one that this tab is in. LiveKit's
// client is loaded when a call begins (call_line).
import { chime } from "../app/notices.ts";
import { settings } from "../app/settings.svelte.ts";
import type { CallMember, CallRecord, CallRing, EventId, RoomId } from "../engine/types.ts";
import { toast } from "../ui/toast.svelte.ts";
import * as m from "../words/messages.js";
import type { CallLine } from "./call_line.svelte.ts";
import { room } from "./rooms.svelte.ts";
import { engine } from "./session.svelte.ts";

const AGAIN_MS = 2_500; // from one ring tone to the next
const UNANSWERED_MS = 35_000;

type CallEnd = "declined" | "unanswered" | "failed";
const ENDS: Record<CallEnd, () => string> = { declined: m.call_ended_declined, unanswered: m.call_ended_unanswered, failed: m.call_ended_failed };

export const calls = $state<{
  offered: boolean;
  rings: CallRing[];
  members: Record<RoomId, CallMember[]>;
  log: CallRecord[];
  /** Missed calls that were not looked at. */
  missed: number;
  roomId: RoomId | undefined;
  video: boolean;
  /** Whether somebody else was in it. */
  met: boolean;
  small: boolean;
}>({ offered: false, rings: [], members: {}, log: [], missed: 0, roomId: undefined, video: false, met: false, small: false });

let line = $state.raw<CallLine>();
/** The line of the call that this tab is in; undefined until LiveKit's client has come. */
export const callLine = (): CallLine | undefined => line;

const outcomes = $derived(new Map(calls.log.map((one) => [one.id, one])));
export const callRecord = (id: EventId | undefined): CallRecord | undefined => (id ? outcomes.get(id) : undefined);
/** Who is in the call of a room, this tab's device aside. */
export const others = (roomId: RoomId): CallMember[] => (calls.members[roomId] ?? []).filter((one) => !one.here);

let tone: ReturnType<typeof setInterval> | undefined;
let seated = false;
let alone: ReturnType<typeof setTimeout> | undefined;

function sound(): void {
  clearInterval(tone);
  tone = undefined;
  if (!settings.sounds || calls.rings.length === 0 || calls.roomId) return;
  const play = () => {
    try {
      chime();
    } catch {
      // a browser may want a touch before it makes a sound
    }
  };
  play();
  tone = setInterval(play, AGAIN_MS);
}

/** Begins to hear of calls; the answer ends it. */
export function bindCalls(): () => void {
  void load();
  const stops = [
    engine.on("ring", ({ ring, over }) => {
      calls.rings = calls.rings.filter((one) => one.id !== ring.id);
      if (!over) calls.rings.push(ring);
      if (over === "missed") calls.missed += 1;
      sound();
    }),
    engine.on("callMembers", ({ roomId, members }) => {
      calls.members[roomId] = members;
      if (roomId !== calls.roomId) return;
      // the server said our leave while the line was lost, and the line is back
      const here = members.some((one) => one.here);
      if (!here && seated && line?.state === "on") void engine.calls.again().catch(() => {});
      seated = here;
      met(roomId);
    }),
    engine.on("callKey", (key) => void (key.roomId === calls.roomId && line?.key(key, key.after))),
    engine.on("callDeclined", ({ roomId }) => {
      if (roomId === calls.roomId && !calls.met && room(roomId)?.kind === "dm") void hangUp("declined");
    }),
    engine.on("callLogged", (record) => (calls.log = [record, ...calls.log.filter((one) => one.id !== record.id)].sort((a, b) => b.ts - a.ts))),
    engine.on("restarted", () => void load().then(take)),
    engine.on("session", (state) => void (state.kind !== "in" && hangUp())),
  ];
  const gone = () => void (calls.roomId && engine.calls.leave());
  addEventListener("pagehide", gone);
  return () => {
    for (const stop of stops) stop();
    removeEventListener("pagehide", gone);
    clearInterval(tone);
    Object.assign(calls, { offered: false, rings: [], members: {}, log: [], missed: 0 });
  };
}

async function load(): Promise<void> {
  const [running, rings, log] = await Promise.allSettled([engine.calls.running(), engine.calls.rings(), engine.calls.history()]);
  if (running.status === "fulfilled") calls.members = Object.fromEntries(running.value.map(({ roomId, members }) => [roomId, members]));
  if (rings.status === "fulfilled") calls.rings = rings.value;
  if (log.status === "fulfilled") calls.log = log.value;
  calls.offered = await engine.calls.offered().catch(() => false);
  sound();
}

/** Another tab has the engine now: it learns of the call that goes on here, and draws a key for it. */
async function take(): Promise<void> {
  if (!calls.roomId || !line) return;
  const pass = await engine.calls.join(calls.roomId, { video: calls.video, ring: false }).catch(() => undefined);
  if (pass) line?.key({ identity: pass.identity, ...pass.own }, 0);
}

function met(roomId: RoomId): void {
  if (others(roomId).length > 0) {
    calls.met = true;
    clearTimeout(alone);
  } else if (calls.met && room(roomId)?.kind === "dm") void hangUp();
}

/** Calls, or joins the call that is held in a room. */
export async function startCall(roomId: RoomId, video: boolean): Promise<void> {
  if (calls.roomId === roomId) return void (calls.small = false);
  await hangUp();
  Object.assign(calls, { roomId, video, met: others(roomId).length > 0, small: false });
  sound();
  try {
    const [{ openLine }, pass] = await Promise.all([
      import.meta.env.MODE === "demo" ? import("../demo/call_line.svelte.ts") : import("./call_line.svelte.ts"),
      engine.calls.join(roomId, { video, ring: true }),
    ]);
    if (calls.roomId !== roomId) return;
    const opened = openLine(pass, () => void (calls.roomId === roomId && engine.calls.again().catch(() => {})));
    line = opened;
    opened.onended = () => void (line === opened && hangUp("failed"));
    await opened.open(video);
    if (!calls.met && room(roomId)?.kind === "dm") alone = setTimeout(() => void (calls.roomId === roomId && !calls.met && hangUp("unanswered")), UNANSWERED_MS);
  } catch (error) {
    console.warn(error);
    if (calls.roomId === roomId) await hangUp("failed");
  }
}

export async function accept(ring: CallRing, video: boolean): Promise<void> {
  calls.rings = calls.rings.filter((one) => one.id !== ring.id);
  await startCall(ring.roomId, video);
}

export async function decline(ring: CallRing): Promise<void> {
  calls.rings = calls.rings.filter((one) => one.id !== ring.id);
  sound();
  await engine.calls.decline(ring.id).catch(() => {});
}

export async function hangUp(why?: CallEnd): Promise<void> {
  if (!calls.roomId) return;
  clearTimeout(alone);
  seated = false;
  const before = line;
  line = undefined;
  Object.assign(calls, { roomId: undefined, met: false });
  if (why) toast(ENDS[why]());
  await Promise.allSettled([before?.close(), engine.calls.leave()]);
  sound();
}
