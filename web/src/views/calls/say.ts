// What a call was, in words.
import type { CallRecord } from "../../engine/types.ts";
import * as m from "../../words/messages.js";

export function sayCall(record: CallRecord): string {
  if (record.outcome === "missed") return record.video ? m.call_missed_video() : m.call_missed_voice();
  if (record.outcome === "declined") return m.call_declined();
  if (record.outcome === "out") return record.video ? m.call_out_video() : m.call_out_voice();
  return record.video ? m.call_in_video() : m.call_in_voice();
}
