// The engine, and how things stand: who is signed in, the line, the keys.
import type {
  Connection, CryptoLoad, Engine, EngineFault, KeyState, OutboxEntry, Profile, SessionState,
} from "../engine/types.ts";

export let engine: Engine;

export const session = $state<{
  state: SessionState;
  connection: Connection;
  crypto: CryptoLoad;
  keys: KeyState;
  me: Profile;
  outbox: OutboxEntry[];
}>({
  state: { kind: "starting" },
  connection: { kind: "connecting", catchingUp: true },
  crypto: { kind: "idle", loaded: 0, total: 0 },
  keys: { recovery: "unknown", verified: false, backup: { on: false, pending: 0 } },
  me: { userId: "" },
  outbox: [],
});

let tell: () => void;
/** Resolves when there is an engine to ask. */
export const ready = new Promise<void>((resolve) => (tell = resolve));

// On a first visit nobody is signed in, and the door can be shown before the engine has come.
const SIGNED_IN = "kerwen.in";
export const firstVisit = typeof localStorage !== "undefined" && !localStorage.getItem(SIGNED_IN);

function remember(state: SessionState): void {
  if (state.kind === "in" || state.kind === "soft-out") localStorage.setItem(SIGNED_IN, "1");
  else if (state.kind === "out") localStorage.removeItem(SIGNED_IN);
}

/** Binds the app to an engine; called once. */
export async function begin(found: Engine): Promise<void> {
  engine = found;
  tell();
  engine.on("session", (state) => {
    session.state = state;
    remember(state);
    if (state.kind === "in") void refresh();
    if (state.kind === "out") void forgetMail();
  });
  engine.on("connection", (line) => (session.connection = line));
  engine.on("crypto", (load) => (session.crypto = load));
  engine.on("keys", (keys) => (session.keys = keys));
  engine.on("outbox", (entries) => (session.outbox = entries));
  engine.on("profile", (profile) => {
    if (profile.userId === session.me.userId) session.me = profile;
  });
  engine.on("restarted", () => void refresh());
  await refresh();
}

/** What mail kept here goes at log-out, also where its view was not opened this time. */
async function forgetMail(): Promise<void> {
  for (const { name } of (await indexedDB.databases?.()) ?? []) {
    if (name?.startsWith("kerwen-mail:")) indexedDB.deleteDatabase(name);
  }
}

async function refresh(): Promise<void> {
  session.state = await engine.session.state();
  remember(session.state);
  if (session.state.kind !== "in") return;
  session.me = { userId: session.state.userId };
  session.connection = await engine.session.connection();
  session.crypto = await engine.session.crypto();
  const [keys, outbox, me] = await Promise.allSettled([
    engine.account.keys(), engine.outbox.list(), engine.account.profile(),
  ]);
  if (keys.status === "fulfilled") session.keys = keys.value;
  if (outbox.status === "fulfilled") session.outbox = outbox.value;
  if (me.status === "fulfilled") session.me = me.value;
}

/** The fault of a rejected call. */
export function faultOf(error: unknown): EngineFault {
  if (typeof error === "object" && error && "code" in error) return error as EngineFault;
  return { code: "bug", text: String(error) };
}

/** `name` of `@name:domain`. */
export function localpart(userId: string): string {
  return userId.replace(/^@/, "").replace(/:.*$/, "");
}
