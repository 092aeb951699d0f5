/**
 * When the engine talks to the server: after deeds, when the server tells of changes, and now and
 * then. One round at a time over all tabs; one tab listens for all.
 */
import { backOffMs } from "../http.ts";
import { Busy, SignedOut } from "./errors.ts";
import type { Line } from "./line.ts";
import type { StateChange } from "./types.ts";

/** The part of `navigator.locks` that is used. */
export interface Locks {
  request<T>(name: string, options: { signal?: AbortSignal }, work: () => Promise<T>): Promise<T>;
}

export type LineState = "up" | "down" | "out";

export interface Rounds {
  name: string;
  locks: Locks;
  line: Line;
  /** One round; gives when the next is due (ms), or null. */
  round(what: Set<string>): Promise<number | null>;
  /** The state of the line changed. */
  told(): void;
  now(): number;
}

/** Without events, ask this often. */
const POLL_MS = 60_000;

export class Pulse {
  state: LineState = "down";
  private timer: ReturnType<typeof setTimeout> | null = null;
  private running: Promise<void> | null = null;
  private asked = false;
  private changes = new Set<string>();
  private fails = 0;
  private readonly stop = new AbortController();
  /** This tab listens for all. */
  private ear = false;
  private hearing = false;

  constructor(private readonly rounds: Rounds) {}

  start(): void {
    this.changes.add("*");
    this.now();
    void this.rounds.locks
      .request(`${this.rounds.name}:ear`, { signal: this.stop.signal }, () => this.listen())
      .catch(() => undefined);
  }

  /** Ends for good. */
  end(): void {
    this.stop.abort();
    if (this.timer !== null) clearTimeout(this.timer);
  }

  /** A round as soon as can be; while one runs, another after it. */
  now(changes: Iterable<string> = []): void {
    for (const type of changes) this.changes.add(type);
    if (this.stop.signal.aborted) return;
    if (this.running !== null) {
      this.asked = true;
      return;
    }
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.running = this.once().finally(() => {
      this.running = null;
      if (this.asked) {
        this.asked = false;
        this.now();
      }
    });
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.running !== null) await this.running;
  }

  private async once(): Promise<void> {
    const changes = this.changes;
    this.changes = new Set();
    try {
      const next = await this.rounds.locks.request(
        `${this.rounds.name}:round`,
        { signal: this.stop.signal },
        () => this.rounds.round(changes),
      );
      this.fails = 0;
      this.set("up");
      this.later(Math.min(this.ear && !this.hearing ? POLL_MS : Infinity, wait(next, this.rounds.now())));
    } catch (error) {
      if (this.stop.signal.aborted) return;
      for (const type of changes) this.changes.add(type);
      if (error instanceof SignedOut) {
        this.set("out");
        return;
      }
      this.set("down");
      const asked = error instanceof Busy ? error.retryMs : 0;
      this.later(Math.max(asked, backOffMs(this.fails++)));
    }
  }

  private later(ms: number): void {
    if (ms === Infinity || this.stop.signal.aborted) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), ms);
  }

  private set(state: LineState): void {
    if (this.state === state) return;
    this.state = state;
    this.rounds.told();
  }

  private async listen(): Promise<void> {
    let fails = 0;
    this.ear = true;
    while (!this.stop.signal.aborted) {
      const began = this.rounds.now();
      try {
        await this.settled();
        await this.rounds.line.open();
        this.hearing = true;
        await this.rounds.line.events((change) => this.heard(change), this.stop.signal);
        fails = 0;
      } catch (error) {
        if (error instanceof SignedOut) return;
        fails = this.rounds.now() - began > POLL_MS ? 1 : fails + 1;
      }
      this.hearing = false;
      if (this.stop.signal.aborted) return;
      await sleep(backOffMs(fails), this.stop.signal);
      this.now(["*"]);
    }
  }

  private heard(change: StateChange): void {
    const types = Object.values(change.changed).flatMap((states) => Object.keys(states));
    if (types.length > 0) this.now(types);
  }
}

const wait = (next: number | null, now: number): number =>
  next === null ? Infinity : Math.max(50, next - now);

function sleep(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const over = () => {
      clearTimeout(timer);
      stop.removeEventListener("abort", over);
      done();
    };
    const timer = setTimeout(over, ms);
    stop.addEventListener("abort", over);
  });
}
