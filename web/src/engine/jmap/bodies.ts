/** What is inside messages: fetched once, kept while there is room. */
import type { Desk } from "./desk.ts";
import { Refused } from "./errors.ts";
import type { BodyRow } from "./rows.ts";
import type { BodyPart, BodyValue, EmailBody, GetAnswer, Id } from "./types.ts";

/** Room for bodies on the device, in bytes; a body counts twice its characters. */
const ROOM_BYTES = 40 * 1024 * 1024;
/** More of one text part than this is fetched only as a file. */
const MOST_PART_BYTES = 1024 * 1024;
/** Bodies fetched in one go when reading ahead. */
const AHEAD = 10;

const PART_PROPERTIES = ["partId", "blobId", "size", "name", "type", "charset", "disposition", "cid"];

interface WireBody {
  id: Id;
  textBody: BodyPart[];
  htmlBody: BodyPart[];
  attachments: BodyPart[];
  bodyValues: Record<string, BodyValue>;
  "header:Authentication-Results:asText:all"?: (string | null)[];
  "header:List-Unsubscribe:asURLs"?: string[] | null;
}

const PROPERTIES = [
  "id",
  "textBody",
  "htmlBody",
  "attachments",
  "bodyValues",
  "header:Authentication-Results:asText:all",
  "header:List-Unsubscribe:asURLs",
];

export async function body(desk: Desk, id: Id): Promise<EmailBody> {
  const known = await desk.shelf.read(["bodies"], (tx) => tx.get("bodies", id));
  if (known !== undefined) {
    await desk.shelf.write(["bodies"], async (tx) => tx.put("bodies", { ...known, usedAt: desk.now() }));
    return known;
  }
  await fetchBodies(desk, [id]);
  const got = await desk.shelf.read(["bodies"], (tx) => tx.get("bodies", id));
  if (got === undefined) throw new Refused("notFound");
  return got;
}

/** Brings bodies that are not here, so that they can be read off line. */
export async function ahead(desk: Desk, ids: Id[]): Promise<void> {
  const here = new Set(await desk.shelf.read(["bodies"], (tx) => tx.keys("bodies")));
  const missing = ids.filter((id) => !here.has(id)).slice(0, AHEAD);
  if (missing.length > 0) await fetchBodies(desk, missing);
}

async function fetchBodies(desk: Desk, ids: Id[]): Promise<void> {
  const batch = desk.line.batch();
  const call = batch.add<GetAnswer<WireBody>>("Email/get", {
    ids,
    properties: PROPERTIES,
    bodyProperties: PART_PROPERTIES,
    fetchTextBodyValues: true,
    fetchHTMLBodyValues: true,
    maxBodyValueBytes: MOST_PART_BYTES,
  });
  const list = (await desk.line.send(batch)).of(call).list;
  await desk.shelf.write(["bodies"], async (tx) => {
    for (const wire of list) tx.put("bodies", rowOf(wire, desk.now()));
  });
  await makeRoom(desk);
}

function rowOf(wire: WireBody, now: number): BodyRow {
  const row: EmailBody = {
    id: wire.id,
    textBody: wire.textBody,
    htmlBody: wire.htmlBody,
    attachments: wire.attachments,
    bodyValues: wire.bodyValues,
    authenticationResults: (wire["header:Authentication-Results:asText:all"] ?? []).filter(
      (text) => text !== null,
    ),
    listUnsubscribe: wire["header:List-Unsubscribe:asURLs"] ?? null,
  };
  const chars = Object.values(wire.bodyValues).reduce((sum, { value }) => sum + value.length, 500);
  return { ...row, bytes: 2 * chars, usedAt: now };
}

/** Forgets what was not read for longest. */
async function makeRoom(desk: Desk): Promise<void> {
  await desk.shelf.write(["bodies"], async (tx) => {
    const rows: { id: Id; bytes: number; usedAt: number }[] = [];
    let sum = 0;
    await tx.each("bodies", ({ id, bytes, usedAt }) => {
      rows.push({ id, bytes, usedAt });
      sum += bytes;
      return true;
    });
    rows.sort((a, b) => a.usedAt - b.usedAt);
    for (const { id, bytes } of rows) {
      if (sum <= ROOM_BYTES) break;
      tx.delete("bodies", id);
      sum -= bytes;
    }
  });
}
