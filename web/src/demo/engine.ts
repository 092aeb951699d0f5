// An engine of make-believe, in memory: it lets the views be seen without a server (`make shots`,
// `vite --mode demo`). It is never part of the app that is served.
import type {
  CallMember, CallRecord, Engine, EngineEvents, EventName, ItemContent, Preview, Profile, RoomSummary, SessionState, TimelineItem,
} from "../engine/types.ts";
import { getLocale } from "../app/locale.svelte.ts";
import { PICTURE, lines, people } from "./data.ts";

const query = new URLSearchParams(location.search);
const state0 = query.get("state");
const me: Profile = { userId: "@ayna:kerwen.tm", name: people.ayna };
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const noon = (back: number, hour: number, minute: number) => new Date().setHours(hour, minute, 0, 0) - back * DAY;
const listeners = new Map<EventName, Set<(data: never) => void>>();
function emit<K extends EventName>(name: K, data: EngineEvents[K]): void {
  for (const listener of listeners.get(name) ?? []) (listener as (d: EngineEvents[K]) => void)(data);
}

const user = (id: string): Profile => ({ userId: `@${id}:kerwen.tm`, name: (people as Record<string, string>)[id] });
let nextId = 1;
function item(roomId: string, sender: Profile, ts: number, content: ItemContent, more: Partial<TimelineItem> = {}): TimelineItem {
  const n = nextId++;
  const mine = sender.userId === me.userId;
  return {
    key: `k${n}`, eventId: `$e${n}`, roomId, sender: sender.userId, senderName: sender.name ?? sender.userId, mine, ts, content,
    status: "sent", edited: false, reactions: [], readBy: [], read: mine, seal: "sealed", mentionsMe: false, pinned: false,
    canEdit: mine && content.kind === "text", canRedact: mine, ...more,
  };
}
const text = (body: string, html?: string): ItemContent => ({ kind: "text", body, html, style: "text" });
const rooms = new Map<string, RoomSummary>();
const timelines = new Map<string, TimelineItem[]>();

function preview(of: TimelineItem): Preview {
  const c = of.content;
  const said = c.kind === "text" ? c.body : "caption" in c ? c.caption : c.kind === "file" ? c.media.name : c.kind === "poll" ? c.poll.question : undefined;
  return { eventId: of.eventId, sender: of.sender, senderName: of.senderName, mine: of.mine, ts: of.ts, kind: c.kind, text: said };
}
function room(id: string, more: Partial<RoomSummary>, items: TimelineItem[]): void {
  const last = items[items.length - 1];
  timelines.set(id, items);
  rooms.set(id, {
    id, kind: "dm", membership: "join", name: "", nameFromHeroes: false, heroes: [], joined: 2, invited: 0, encrypted: true,
    last: last && preview(last), ts: last?.ts ?? Date.now(), unread: 0, highlights: 0, markedUnread: false, notify: "all", favourite: false,
    lowPriority: false, parents: [], typing: [], queued: 0, failed: 0, canSend: true, pinned: [], ...more,
  });
}

function fill(): void {
  const t = lines[getLocale()];
  const ayna = me;
  const [batyr, jeren, merdan, oguljan, kerim, maral, guest] = ["batyr", "jeren", "merdan", "oguljan", "kerim", "maral", "guest"].map(user) as Profile[];
  const wave = Array.from({ length: 80 }, (_, i) => Math.abs(Math.sin(i * 0.6) * Math.cos(i * 0.17)) * (0.4 + 0.6 * Math.abs(Math.sin(i * 1.9))));
  const photo = { media: { mxc: "mxc://demo/photo", name: "jaýlak.webp", mime: "image/webp", size: 184_000 }, width: 1200, height: 800, blurhash: "LKO2?U%2Tw=w]~RBVZRi};RPxuwH" };
  const g = "!family:kerwen.tm";
  const ask = item(g, merdan!, noon(0, 9, 12), text(t.q));
  room(g, { kind: "group", name: t.family, joined: 6, unread: 0, pinned: [ask.eventId!], typing: [], favourite: true, disappearMs: undefined }, [
    item(g, ayna, noon(3, 18, 2), { kind: "state", change: "encrypted", type: "m.room.encryption" }),
    item(g, oguljan!, noon(1, 19, 40), text(t.g1)),
    item(g, oguljan!, noon(1, 19, 41), { kind: "image", ...photo, caption: t.g2 }, { reactions: [{ key: "❤️", count: 4, mine: true, names: [] }, { key: "😍", count: 2, mine: false, names: [] }] }),
    item(g, ayna, noon(1, 19, 55), text(t.g3)),
    ask,
    item(g, kerim!, noon(0, 9, 15), { kind: "voice", media: { mxc: "mxc://demo/voice", name: "voice.ogg", mime: "audio/ogg", size: 31_000 }, durationMs: 14_000, waveform: wave }),
    item(g, ayna, noon(0, 9, 21), { kind: "poll", poll: { question: t.poll, open: true, ended: false, maxChoices: 1, voters: 5, answers: t.answers.map((answer, i) => ({ id: String(i), text: answer, votes: [3, 2, 0][i]!, mine: i === 0, winner: false })) } }),
    item(g, merdan!, noon(0, 9, 30), text(t.g4), { replyTo: { eventId: ask.eventId!, preview: preview(ask) }, thread: { count: 3, last: preview(item(g, jeren!, noon(0, 9, 40), text(t.g5))) } }),
    item(g, jeren!, noon(0, 9, 44), { kind: "file", media: { mxc: "mxc://demo/file", name: t.file, mime: "application/pdf", size: 2_350_000 } }),
    item(g, ayna, noon(0, 9, 46), text(t.g6, t.g6h), { edited: true }),
    item(g, ayna, noon(0, 9, 47), { kind: "file", media: { local: "1", name: "toý-sanawy.xlsx", mime: "application/vnd.ms-excel", size: 880_000 } }, { status: "sending", txnId: "t1", eventId: undefined, read: false, upload: { id: "1", direction: "up", done: 540_000, total: 880_000, paused: false } }),
  ]);
  const b = "!batyr:kerwen.tm";
  room(b, { name: batyr!.name, dmUser: batyr!.userId, unread: 2, typing: [batyr!.name!] }, [
    item(b, batyr!, noon(0, 8, 5), text(t.b1)),
    item(b, ayna, noon(0, 8, 6), text(t.b2)),
    item(b, ayna, noon(0, 8, 6), text("👍")),
    item(b, batyr!, noon(0, 10, 31), { kind: "location", lat: 37.95, lon: 58.38, body: "37.95, 58.38" }),
    item(b, batyr!, noon(0, 10, 32), text(t.b3)),
  ]);
  room("!work:kerwen.tm", { kind: "group", name: t.work, joined: 23, unread: 14, highlights: 1, parents: ["!space:kerwen.tm"] }, [item("!work:kerwen.tm", maral!, noon(0, 10, 2), text(t.w1))]);
  room("!news:kerwen.tm", { kind: "channel", name: t.news, joined: 1840, encrypted: false, canSend: false, notify: "none", unread: 3 }, [item("!news:kerwen.tm", maral!, noon(0, 7, 30), text(t.n1))]);
  room("!jeren:kerwen.tm", { name: jeren!.name, dmUser: jeren!.userId, draft: t.draft }, [item("!jeren:kerwen.tm", jeren!, noon(1, 21, 10), text(t.j1))]);
  room("!kerim:kerwen.tm", { name: kerim!.name, dmUser: kerim!.userId }, [item("!kerim:kerwen.tm", ayna, noon(1, 16, 22), text(t.k1))]);
  room("!school:kerwen.tm", { kind: "group", name: t.school, joined: 31, encrypted: false, failed: 1 }, [item("!school:kerwen.tm", ayna, noon(2, 12, 0), text(t.s1), { status: "failed", txnId: "t9", fault: { code: "offline", text: "" } })]);
  room("!oguljan:kerwen.tm", { name: oguljan!.name, dmUser: oguljan!.userId }, [item("!oguljan:kerwen.tm", oguljan!, noon(3, 20, 1), { kind: "voice", media: { name: "voice.ogg", mime: "audio/ogg" }, durationMs: 4000, waveform: wave })]);
  room("!merdan:kerwen.tm", { name: merdan!.name, dmUser: merdan!.userId }, [item("!merdan:kerwen.tm", merdan!, noon(9, 20, 1), { kind: "sticker", ...photo })]);
  room("!guest:other.example", { name: guest!.name, dmUser: "@guest:other.example", membership: "invite", inviter: { ...guest!, userId: "@guest:other.example" }, stranger: true, ts: noon(0, 6, 40), last: undefined }, []);
  room("!space:kerwen.tm", { kind: "space", name: t.space, children: ["!work:kerwen.tm"] }, []);
  const long = "!long:kerwen.tm";
  if (state0 === "long") {
    const start = noon(400, 8, 0);
    room(long, { kind: "group", name: "50 000", joined: 40 }, Array.from({ length: 50_000 }, (_, i) => item(long, [batyr!, ayna, jeren!, ayna, maral!][i % 5]!, start + i * 11 * MINUTE, text(`${i}. ${[t.b1, t.w1, t.g4, t.b2, t.n1][i % 5]}`))));
  }
}
fill();

let session: SessionState = state0 === "out" ? { kind: "out" } : { kind: "in", userId: me.userId, deviceId: "DEMO", domain: "kerwen.tm" };
const recovery = state0 === "nokey" ? "none" : state0 === "locked" ? "locked" : "ready";
const views = new Map<string, { roomId: string; from: number }>();
const touch = (id: string, more: Partial<RoomSummary>) => {
  const next = { ...rooms.get(id)!, ...more };
  rooms.set(id, next);
  emit("rooms", { changed: [next], gone: [] });
};
async function picture(): Promise<Blob> {
  return new Blob([PICTURE], { type: "image/svg+xml" });
}
async function say(roomId: string, content: ItemContent): Promise<string> {
  const all = timelines.get(roomId)!;
  const made = item(roomId, me, Date.now(), content, { read: false });
  all.push(made);
  for (const [view, open] of views)
    if (open.roomId === roomId) emit("timeline", { view, splices: [{ at: all.length - 1 - open.from, remove: 0, insert: [made] }], before: open.from > 0, after: false, loading: false });
  touch(roomId, { last: preview(made), ts: made.ts });
  return made.key;
}

const comparing = () => ({ id: "v1", userId: user("batyr").userId, own: false, incoming: false, phase: "comparing", emoji: [..."🐢🌷🔑🎸🚲🍓🌙"].map((symbol) => ({ symbol, name: symbol })) });
// what is not written out here answers with nothing
const nothing = async () => undefined;
const group = (own: object): never => new Proxy(own, { get: (target, name) => (target as Record<string | symbol, unknown>)[name] ?? nothing }) as never;
const admin = async (path: string): Promise<object> => {
  if (path.includes("capabilities")) return { capabilities: { "m.account_moderation": { lock: true, suspend: true } } };
  if (path.includes("statistics")) return { accounts: 1284, accounts_new_30d: 96, active_1d: 611, active_7d: 902, active_30d: 1103, devices: 2260, rooms: 3811, rooms_encrypted: 3402, events: 1_284_550, media_files: 48_201, media_bytes: 61_300_000_000, cached_bytes: 4_100_000_000, thumbnail_bytes: 820_000_000 };
  if (path.includes("registration_tokens")) return { registration_tokens: [{ token: "çaý-gül-ýyldyz", uses: 1, uses_max: 20, expires_ms: Date.now() + 5 * DAY }, { token: "bahar-4821", uses: 0, uses_max: 1, expires_ms: Date.now() + 6 * DAY }] };
  if (path.includes("accounts")) return { accounts: Object.keys(people).map((id, i) => ({ ...user(id), user_id: user(id).userId, name: user(id).name, admin: i === 0, locked: i === 4, suspended: false, deactivated_ms: 0, devices: 2, seen_ms: Date.now() - i * HOUR, media_bytes: 4e8, mail_bytes: 2e8, rooms: 12 })), next: null };
  return { ready: true, reports: [], entries: [], next: null };
};

const inCall = (id: string, verified = true): CallMember => ({ ...user(id), name: user(id).name ?? id, deviceId: "D", identity: id, since: Date.now(), video: true, here: false, verified });
const members = (here: boolean): CallMember[] => [inCall("merdan"), inCall("jeren"), inCall("oguljan", false), ...(here ? [{ ...inCall("ayna"), here }] : [])];
const callLog = (): CallRecord[] => ([["batyr", "!batyr:kerwen.tm", 0, 9, true, "missed"], ["ayna", "!batyr:kerwen.tm", 0, 8, false, "out"], ["merdan", "!family:kerwen.tm", 1, 20, true, "answered"], ["batyr", "!batyr:kerwen.tm", 2, 14, false, "declined"]] as const).map(
  ([who, roomId, back, hour, video, outcome], i) => ({ id: `$c${i}`, roomId, sender: user(who).userId, senderName: user(who).name ?? who, video, ts: noon(back, hour, 17), outcome }),
);

export async function connect(): Promise<Engine> {
  return {
    on(name, listener) {
      if (!listeners.has(name)) listeners.set(name, new Set());
      listeners.get(name)!.add(listener as (data: never) => void);
      return () => void listeners.get(name)!.delete(listener as (data: never) => void);
    },
    session: group({
      state: async () => session,
      offer: async () => ({ domain: "kerwen.tm", registration: "invite" }),
      nameFree: async () => true,
      login: async () => emit("session", (session = { kind: "in", userId: me.userId, deviceId: "DEMO", domain: "kerwen.tm" })),
      logout: async () => emit("session", (session = { kind: "out" })),
      connection: async () => (state0 === "offline" ? { kind: "waiting", catchingUp: false } : { kind: "online", catchingUp: false }),
      crypto: async () => ({ kind: "ready", loaded: 1, total: 1 }),
      request: async ({ path }: { path: string }) => ({ status: 200, headers: {}, body: new TextEncoder().encode(JSON.stringify(await admin(path))).buffer }),
    }),
    account: group({
      profile: async (id?: string) => (id ? user(id.slice(1).split(":")[0]!) : me),
      devices: async () => [
        { deviceId: "A", name: "Kerwen · Linux", current: true, verified: true, seenAt: Date.now() },
        { deviceId: "B", name: "Kerwen · Android", current: false, verified: true, seenAt: noon(0, 7, 4), seenIp: "10.1.4.20" },
        { deviceId: "C", name: "Element X", current: false, verified: false, seenAt: noon(4, 21, 15), seenIp: "10.9.0.3" },
      ],
      keys: async () => ({ recovery, verified: true, backup: { on: true, pending: 0 } }),
      createRecoveryKey: async () => ({ key: "EsTR mwqJ JoXZ 8dKN F8hP 9tpz 5x8w 4Cpu Md5Q rzgG Yf6P c3ab" }),
      ignored: async () => [],
    }),
    verification: group({
      list: async () => [comparing()],
      requestUser: async () => comparing(),
      trust: async (id: string) => (id.includes("batyr") ? "verified" : "encrypted"),
      devicesOf: async () => [{ deviceId: "X", name: "Kerwen · Android", current: false, verified: true, fingerprint: "3fZq 0aXw 9Ls1 kQeR 77pB mD4c Vn2y" }],
    }),
    rooms: group({
      list: async () => (state0 === "empty" ? [] : [...rooms.values()]),
      get: async (id: string) => rooms.get(id),
      details: async (id: string) => ({
        summary: rooms.get(id)!, myPower: 100, joinRule: "invite", historyVisibility: "shared", version: "12", altAliases: [], ignored: [],
        rights: { send: true, invite: true, kick: true, ban: true, redactOthers: true, name: true, topic: true, avatar: true, pin: true, power: true, joinRule: true, timer: true, mentionRoom: true, children: true },
        changedIdentities: state0 === "changed" ? [user("merdan")] : [],
      }),
      members: async () => Object.keys(people).slice(0, 6).map((id, i) => ({ ...user(id), membership: "join", power: i ? 0 : 100, role: i ? "member" : "owner" })),
      searchUsers: async (wanted: string) => Object.keys(people).map(user).filter((one) => `${one.name} ${one.userId}`.toLowerCase().includes(wanted.toLowerCase())),
      pinnedItems: async (id: string) => timelines.get(id)!.filter((one) => rooms.get(id)!.pinned.includes(one.eventId!)),
      inviteLink: async (id: string) => `https://kerwen.tm/join/${encodeURIComponent(id)}`,
      setNotify: async (id: string, notify: RoomSummary["notify"]) => touch(id, { notify }),
      setFavourite: async (id: string, favourite: boolean) => touch(id, { favourite }),
      openDm: async () => "!batyr:kerwen.tm",
      create: async () => "!family:kerwen.tm",
    }),
    timeline: group({
      open: async ({ roomId, thread, at }: { roomId: string; thread?: string; at?: string }) => {
        const view = `v${nextId++}`;
        const all = timelines.get(roomId) ?? [];
        const found = at ? all.find((one) => one.eventId === at) : undefined;
        const from = thread ? 0 : Math.max(0, all.length - (state0 === "long" ? 50_000 : 60));
        views.set(view, { roomId, from });
        return { view, roomId, items: thread ? all.filter((one) => one.eventId === thread).concat(all.slice(5, 7)) : all.slice(from), before: from > 0, after: false, loading: false, unreadKey: rooms.get(roomId)?.unread === 2 ? all[3]?.key : undefined, focusKey: found?.key };
      },
      loadBefore: async () => 0,
      loadAfter: async () => 0,
      threads: async () => [],
    }),
    composer: group({
      text: (to: { roomId: string }, markdown: string) => say(to.roomId, text(markdown)),
      draft: async (id: string) => (rooms.get(id)?.draft ? { text: rooms.get(id)!.draft! } : undefined),
    }),
    outbox: group({ list: async () => (state0 === "offline" ? [1, 2, 3].map((n) => ({ txnId: String(n), roomId: "", queuedAt: 0, status: "queued", tries: 0 })) : []) }),
    media: group({ get: picture, thumb: picture, stickers: async () => [], limit: async () => 1e9 }),
    search: group({
      messages: async ({ text: wanted }: { text: string }) => ({
        hits: [...timelines.entries()].flatMap(([roomId, all]) => all.filter((one) => one.content.kind === "text" && one.content.body.toLowerCase().includes(wanted.toLowerCase())).map((one) => ({ roomId, roomName: rooms.get(roomId)!.name, item: one, words: [wanted] }))).slice(0, 20),
        more: false,
      }),
      names: async (wanted: string) => ({ rooms: [...rooms.values()].filter((one) => one.membership === "join" && one.name.toLowerCase().includes(wanted.toLowerCase())).slice(0, 4), people: [] }),
      progress: async () => ({ indexed: 1, rooms: 1 }),
    }),
    calls: group({
      offered: async () => true,
      running: async () => (state0 === "held" || state0 === "call" ? [{ roomId: "!family:kerwen.tm", members: members(state0 === "call") }] : []),
      members: async () => members(true),
      rings: async () => (state0 === "ring" ? [{ id: "$ring", roomId: "!batyr:kerwen.tm", sender: user("batyr").userId, senderName: user("batyr").name!, video: true, ts: Date.now(), until: Date.now() + 30_000 }] : []),
      join: async () => ({ url: "", jwt: "", identity: "me", own: { index: 0, key: "" }, keys: [] }),
      history: async () => callLog(),
    }),
    storage: group({ use: async () => ({ bytes: 48_000_000, quota: 1e9, mediaBytes: 31_000_000, persisted: false }) }),
  };
}
