/** Bytes of an event stream to events (HTML Living Standard, 9.2.6), however they are cut. */

export interface StreamEvent {
  event: string;
  data: string;
}

/** An event longer than this is none of ours. */
const MOST_CHARS = 1 << 20;

export class EventLines {
  private rest = "";
  private event = "";
  private data: string[] = [];

  feed(text: string): StreamEvent[] {
    const told: StreamEvent[] = [];
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    if (this.rest.length > MOST_CHARS) throw new Error("event too long");
    for (const line of lines) this.line(line, told);
    return told;
  }

  private line(line: string, told: StreamEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) {
        told.push({ event: this.event === "" ? "message" : this.event, data: this.data.join("\n") });
      }
      this.event = "";
      this.data = [];
      return;
    }
    const at = line.indexOf(":");
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    if (name === "data") this.data.push(value);
  }
}
