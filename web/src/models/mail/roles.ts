// Mailboxes in the order in which people look for them, as a tree.
import type { MailboxRow } from "../../engine/jmap/rows.ts";
import type { Id, Role } from "../../engine/jmap/types.ts";

const ORDER: (Role | "other")[] = ["inbox", "drafts", "sent", "scheduled", "archive", "important", "other", "junk", "trash"];

export interface Placed {
  box: MailboxRow;
  depth: number;
}

const place = (box: MailboxRow): number => {
  const at = ORDER.indexOf(box.role ?? "other");
  return at < 0 ? ORDER.indexOf("other") : at;
};

export function ordered(boxes: MailboxRow[]): Placed[] {
  const children = new Map<Id | null, MailboxRow[]>();
  const known = new Set(boxes.map(({ id }) => id));
  for (const box of boxes) {
    const parent = box.parentId !== null && known.has(box.parentId) ? box.parentId : null;
    children.set(parent, [...(children.get(parent) ?? []), box]);
  }
  const out: Placed[] = [];
  const walk = (parent: Id | null, depth: number) => {
    const mine = (children.get(parent) ?? []).sort(
      (a, b) => place(a) - place(b) || a.sortOrder - b.sortOrder || a.name.localeCompare(b.name),
    );
    for (const box of mine) {
      out.push({ box, depth });
      if (depth < 8) walk(box.id, depth + 1);
    }
  };
  walk(null, 0);
  return out;
}

export const byRole = (boxes: MailboxRow[], role: Role): MailboxRow | undefined =>
  boxes.find((box) => box.role === role);
