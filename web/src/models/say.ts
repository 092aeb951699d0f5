// What happened, in words: previews of lists, lines of the conversation, notifications.
import type { ItemContent, MemberChange, Preview, RoomSummary, StateChange, TimelineItem, UndecryptableWhy } from "../engine/types.ts";
import * as m from "../words/messages.js";
import { localpart } from "./session.svelte.ts";

/** A room's name, or what we call one that has none. */
export function roomName(room: RoomSummary): string {
  if (room.name) return room.name;
  if (room.dmUser) return localpart(room.dmUser);
  return m.room_empty();
}

export function sayMember(c: MemberChange, sender: string): string {
  const who = c.userName;
  switch (c.change) {
    case "joined": return m.did_join({ who });
    case "invited": return m.did_invite({ who, by: sender });
    case "left": return m.did_leave({ who });
    case "kicked": return m.did_remove({ who, by: sender });
    case "banned": return m.did_ban({ who, by: sender });
    case "unbanned": return m.did_unban({ who, by: sender });
    case "refused": return m.did_refuse({ who });
    case "withdrawn": return m.did_withdraw({ who, by: sender });
    case "knocked": return m.did_knock({ who });
    case "renamed": return m.did_rename({ old: c.oldName ?? localpart(c.user), who });
    case "new-avatar": return m.did_avatar({ who });
  }
}

export function sayState(c: StateChange, by: string): string {
  switch (c.change) {
    case "created": return m.did_create({ by });
    case "encrypted": return m.did_encrypt();
    case "named": return m.did_name({ by, text: c.text ?? "" });
    case "topic": return m.did_topic({ by });
    case "avatar": return m.did_room_avatar({ by });
    case "pinned": return m.did_pin({ by });
    case "unpinned": return m.did_unpin({ by });
    case "power": return m.did_power({ by });
    case "join-rule": return m.did_join_rule({ by });
    case "timer": return c.ms ? m.did_timer({ by, time: span(c.ms) }) : m.did_timer_off({ by });
    case "replaced": return m.did_replace();
    case "address": return m.did_address({ by });
    case "other": return m.did_other({ by });
  }
}

/** "1 day", "8 hours" for timers. */
export function span(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 60) return m.n_minutes({ count: Math.max(1, minutes) });
  const hours = Math.round(minutes / 60);
  if (hours < 24) return m.n_hours({ count: hours });
  const days = Math.round(hours / 24);
  return days % 7 === 0 && days < 60 ? m.n_weeks({ count: days / 7 }) : m.n_days({ count: days });
}

export function sayWhy(why: UndecryptableWhy): string {
  switch (why) {
    case "loading": return m.sealed_loading();
    case "no-key": return m.sealed_no_key();
    case "before-device": return m.sealed_before();
    case "withheld": return m.sealed_withheld();
    case "broken": return m.sealed_broken();
  }
}

const KINDS: Partial<Record<ItemContent["kind"], () => string>> = {
  image: m.kind_image, video: m.kind_video, voice: m.kind_voice, audio: m.kind_audio, file: m.kind_file,
  sticker: m.kind_sticker, poll: m.kind_poll, location: m.kind_location, redacted: m.kind_redacted,
  undecryptable: m.kind_sealed, verification: m.kind_verification, call: m.kind_call, state: m.kind_state,
  member: m.kind_member, unsupported: m.kind_unsupported,
};

/** One line of a list, with whose it is where that is not plain. */
export function sayPreview(p: Preview, room: RoomSummary): { who: string; text: string } {
  const who = p.mine ? m.you() : room.kind === "dm" ? "" : p.senderName.split(" ")[0]!;
  if (p.kind === "text") return { who, text: p.text ?? "" };
  const kind = KINDS[p.kind]?.() ?? "";
  if (p.kind === "state" || p.kind === "member" || p.kind === "redacted") return { who: "", text: kind };
  const text = p.text && p.kind !== "voice" && p.kind !== "undecryptable" ? (p.kind === "image" || p.kind === "video" ? p.text : `${kind}: ${p.text}`) : kind;
  return { who, text };
}

/** A message in one line. */
export function sayItem(item: TimelineItem): string {
  const c = item.content;
  if (c.kind === "text") return c.body;
  if (c.kind === "member") return sayMember(c, item.senderName);
  if (c.kind === "state") return sayState(c, item.senderName);
  if (c.kind === "poll") return c.poll.question;
  if ("caption" in c && c.caption) return c.caption;
  if (c.kind === "file") return c.media.name;
  return KINDS[c.kind]?.() ?? "";
}
