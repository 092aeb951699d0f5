import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { DraftFile } from "../../src/engine/jmap/rows.ts";
import { PIECE_BYTES } from "../../src/engine/jmap/line.ts";
import type { Mail } from "../../src/engine/jmap/mail.ts";
import { Bench, rounds, written } from "./desk.ts";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

const AT_ONCE = { undoSeconds: 0, sendAt: null };

async function attached(mail: Mail, bytes: number): Promise<DraftFile> {
  const file: DraftFile = {
    key: `f${bytes}`,
    name: "carpet.jpg",
    type: "image/jpeg",
    size: bytes,
    cid: null,
    blobId: null,
    pieces: [],
  };
  await mail.addFile(file, new Blob([new Uint8Array(bytes).fill(7)]));
  return file;
}

describe("sending", () => {
  it("goes in one request: made, handed over, in Sent, what it answers is marked", async () => {
    const about = bench.server.arrive();
    const mail = await bench.open();
    const fresh = { ...mail.newDraft(), about: { emailId: about, keyword: "$answered" as const } };
    const draft = await mail.keepDraft(fresh, written({ bcc: [{ name: null, email: "c@far.test" }] }));
    await mail.send(draft.key, AT_ONCE);
    await mail.settled();
    assert.equal(bench.server.sent().length, 1);
    const [copy] = bench.server.inBox("Msent");
    assert.equal(copy?.subject, "Hello");
    assert.deepEqual(copy?.keywords, { $seen: true });
    assert.deepEqual(bench.server.inBox("Mdrafts"), []);
    assert.equal(bench.server.emails.get(about)?.keywords.$answered, true);
    assert.deepEqual(await mail.drafts(), []);
    assert.equal((await mail.contacts()).find(({ email }) => email === "c@far.test")?.written, 1);
  });

  it("loses and doubles nothing when the line is cut at any request, before or after it", async () => {
    for (const how of ["before", "after"] as const) {
      for (let at = 1; at <= 12; at += 1) {
        const one = new Bench();
        try {
          let mail = await one.open();
          const file = await attached(mail, PIECE_BYTES * 2 + 5);
          const draft = await mail.keepDraft(mail.newDraft(), written({ files: [file] }));
          one.skip += 5000;
          const from = one.server.count;
          one.server.cut = (path, count) =>
            path !== "/jmap/events" && count === from + at ? how : null;
          await mail.send(draft.key, AT_ONCE);
          await mail.settled();
          mail = await one.reload(mail);
          for (let n = 0; n < 3; n += 1) await rounds(mail);
          const where = `${how} request ${at}`;
          assert.deepEqual(one.server.sent(), [draft.messageId], where);
          assert.equal(one.server.inBox("Msent").length, 1, where);
          assert.equal(one.server.inBox("Mdrafts").length, 0, where);
          assert.deepEqual(await mail.drafts(), [], where);
        } finally {
          one.close();
        }
      }
    }
  });

  it("is held by the server and comes back as a draft within its seconds", async () => {
    const mail = await bench.open();
    const draft = await mail.keepDraft(mail.newDraft(), written());
    await mail.send(draft.key, { undoSeconds: 20, sendAt: null });
    await mail.settled();
    assert.equal((await mail.draft(draft.key))?.stage, "held");
    assert.equal([...bench.server.submissions.values()][0]?.undoStatus, "pending");
    assert.equal(await mail.unsend(draft.key), true);
    await mail.settled();
    assert.equal((await mail.draft(draft.key))?.stage, "writing");
    assert.deepEqual(bench.server.sent(), []);
    assert.equal(bench.server.inBox("Mdrafts").length, 1);
    await mail.send(draft.key, AT_ONCE);
    await mail.settled();
    assert.equal(bench.server.sent().length, 1);
    assert.equal(bench.server.inBox("Mdrafts").length, 0);
  });

  it("comes back when it is asked for while it is being handed over", async () => {
    const mail = await bench.open();
    const draft = await mail.keepDraft(mail.newDraft(), written());
    await mail.settled();
    let back: Promise<boolean> | undefined;
    bench.server.cut = (path) => {
      if (path === "/jmap/api" && back === undefined) back = mail.unsend(draft.key);
      return null;
    };
    await mail.send(draft.key, { undoSeconds: 20, sendAt: null });
    await mail.settled();
    assert.equal(await back, true);
    assert.equal((await mail.draft(draft.key))?.stage, "writing");
    assert.deepEqual(bench.server.sent(), []);
  });

  it("cannot be taken back once it left, and says so", async () => {
    const mail = await bench.open();
    const draft = await mail.keepDraft(mail.newDraft(), written());
    await mail.send(draft.key, { undoSeconds: 20, sendAt: null });
    await mail.settled();
    for (const row of bench.server.submissions.values()) row.undoStatus = "final";
    assert.equal(await mail.unsend(draft.key), false);
    bench.skip += 60_000;
    await rounds(mail);
    assert.deepEqual(await mail.drafts(), []);
  });

  it("is held here where the server cannot", async () => {
    bench.server.maxDelayedSend = 0;
    const mail = await bench.open();
    const draft = await mail.keepDraft(mail.newDraft(), written());
    await mail.send(draft.key, { undoSeconds: 20, sendAt: null });
    await mail.settled();
    assert.deepEqual(bench.server.sent(), []);
    assert.equal(await mail.unsend(draft.key), true);
    await mail.send(draft.key, { undoSeconds: 20, sendAt: null });
    await mail.settled();
    bench.skip += 25_000;
    await rounds(mail);
    assert.deepEqual(bench.server.sent(), [draft.messageId]);
  });

  it("waits for its time when scheduled", async () => {
    const mail = await bench.open();
    const draft = await mail.keepDraft(mail.newDraft(), written());
    const sendAt = Date.now() + 3_600_000;
    await mail.send(draft.key, { undoSeconds: 10, sendAt });
    await mail.settled();
    const [call] = bench.server.requests
      .flat()
      .filter(([name, args]) => name === "EmailSubmission/set" && args.create !== undefined);
    const made = (call?.[1] as { create: { s: { envelope: { mailFrom: { parameters: unknown } } } } })
      .create.s.envelope.mailFrom.parameters as { HOLDFOR: string };
    assert.ok(Math.abs(Number(made.HOLDFOR) - 3600) <= 1);
    assert.equal((await mail.draft(draft.key))?.stage, "held");
  });

  it("that the server refuses stays, with the reason, and can be mended", async () => {
    const mail = await bench.open();
    const bad = written({ to: [{ name: null, email: "nobody@far.test" }] });
    const draft = await mail.keepDraft(mail.newDraft(), bad);
    await mail.send(draft.key, AT_ONCE);
    await mail.settled();
    const failed = await mail.draft(draft.key);
    assert.equal(failed?.stage, "failed");
    assert.equal(failed?.trouble, "invalidRecipients");
    await mail.keepDraft(draft, written());
    await mail.send(draft.key, AT_ONCE);
    await mail.settled();
    assert.equal(bench.server.sent().length, 1);
    assert.equal(bench.server.inBox("Mdrafts").length, 0);
  });
});

describe("attachments", () => {
  it("go in pieces with progress, and after a cut only what is missing goes again", async () => {
    const mail = await bench.open();
    const file = await attached(mail, PIECE_BYTES * 3);
    const seen: number[] = [];
    mail.on((event) => void (event.kind === "upload" && seen.push(event.done)));
    let uploads = 0;
    bench.server.cut = (path) => {
      if (!path.startsWith("/jmap/upload")) return null;
      uploads += 1;
      return uploads === 3 ? "before" : null;
    };
    const draft = await mail.keepDraft(mail.newDraft(), written({ files: [file] }));
    await mail.send(draft.key, AT_ONCE);
    await rounds(mail);
    assert.equal(bench.server.sent().length, 1);
    assert.equal(uploads, 4);
    assert.equal(seen.at(-1), file.size);
    const [copy] = bench.server.inBox("Msent");
    const part = copy?.bodyStructure.subParts[1];
    assert.equal(bench.server.blobs.get(part.blobId)?.length, file.size);
  });

  it("go whole where the server cannot join pieces", async () => {
    bench.server.blobCapability = false;
    const mail = await bench.open();
    const file = await attached(mail, PIECE_BYTES * 2);
    const draft = await mail.keepDraft(mail.newDraft(), written({ files: [file] }));
    await mail.send(draft.key, AT_ONCE);
    await mail.settled();
    assert.equal(bench.server.sent().length, 1);
  });
});
