// One open window on a room: its messages as they come and change.
import type { EventId, RoomId, TimelineItem } from "../engine/types.ts";
import { engine } from "./session.svelte.ts";

export class Timeline {
  items = $state.raw<TimelineItem[]>([]);
  before = $state(false);
  after = $state(false);
  ready = $state(false);
  failed = $state(false);
  unreadKey = $state<string>();
  focusKey = $state<string>();
  readonly roomId: RoomId;
  readonly thread: EventId | undefined;
  #view: string | undefined;
  #early: Parameters<Timeline["take"]>[0][] = [];
  #stops: (() => void)[] = [];
  #closed = false;
  #busy = false;

  constructor(roomId: RoomId, thread?: EventId, at?: EventId) {
    this.roomId = roomId;
    this.thread = thread;
    this.#stops.push(
      engine.on("timeline", (change) => {
        if (this.#view === undefined) {
          if (!this.failed) this.#early.push(change);
        } else if (change.view === this.#view) this.take(change);
      }),
      engine.on("restarted", () => void this.#open(at)),
    );
    void this.#open(at);
  }

  async #open(at?: EventId): Promise<void> {
    this.#view = undefined; // what comes of the window before its name is known waits in `early`
    this.failed = false;
    try {
      const state = await engine.timeline.open({ roomId: this.roomId, thread: this.thread, at });
      if (this.#closed) return void engine.timeline.close(state.view);
      this.#view = state.view;
      this.items = state.items;
      this.before = state.before;
      this.after = state.after;
      this.unreadKey = state.unreadKey;
      this.focusKey = state.focusKey;
      for (const change of this.#early) if (change.view === state.view) this.take(change);
      this.ready = true;
    } catch {
      this.failed = true;
    }
    this.#early = [];
  }

  take(change: { view: string; splices: { at: number; remove: number; insert: TimelineItem[] }[]; before: boolean; after: boolean }): void {
    const next = this.items.slice();
    for (const { at, remove, insert } of change.splices) next.splice(at, remove, ...insert);
    this.items = next;
    this.before = change.before;
    this.after = change.after;
  }

  /** More above or below; one at a time. */
  async more(where: "before" | "after"): Promise<void> {
    if (!this.#view || this.#busy || !this[where]) return;
    this.#busy = true;
    try {
      await (where === "before" ? engine.timeline.loadBefore(this.#view, 40) : engine.timeline.loadAfter(this.#view, 40));
    } catch {
      // no line: what is there stays, and scrolling asks again
    } finally {
      this.#busy = false;
    }
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    if (this.#view) void engine.timeline.close(this.#view);
  }
}
