import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { listKey } from "../../src/engine/jmap/lists.ts";
import { Bench, DRAFTS, INBOX, rounds, written } from "./desk.ts";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(() => bench.close());

const ids = (list: { heads: { id: string }[] } | undefined) => list?.heads.map(({ id }) => id);

describe("lists", () => {
  it("come page by page, conversations once, and stay for reading off line", async () => {
    const first = bench.server.arrive({ subject: "one" });
    const root = bench.server.emails.get(first)?.messageId[0];
    for (let n = 0; n < 60; n += 1) bench.server.arrive({ subject: `n${n}` });
    const reply = bench.server.arrive({ subject: "Re: one", references: [root] });
    let mail = await bench.open();
    await mail.show(INBOX);
    const page = await mail.list(INBOX);
    assert.equal(page?.heads.length, 50);
    assert.equal(page?.row.total, 61);
    assert.equal(page?.heads[0]?.id, reply);
    await mail.more(INBOX);
    assert.equal((await mail.list(INBOX))?.heads.length, 61);
    assert.deepEqual((await mail.thread(`T${first}`)).map(({ id }) => id), [first, reply]);
    bench.server.cut = () => "before";
    mail = await bench.reload(mail);
    assert.equal((await mail.list(INBOX))?.heads.length, 61);
    assert.equal(mail.line, "down");
  });

  it("follow what comes, goes and changes, by changes alone", async () => {
    const old = bench.server.arrive();
    const mail = await bench.open();
    await mail.show(INBOX);
    const fresh = bench.server.arrive({ subject: "new" });
    bench.server.patch(old, { "keywords/$seen": true });
    bench.server.requests = [];
    await rounds(mail);
    assert.deepEqual(ids(await mail.list(INBOX)), [fresh, old]);
    assert.equal((await mail.emails([old]))[0]?.keywords.$seen, true);
    const names = bench.server.requests.flat().map(([name]) => name);
    assert.ok(!names.includes("Email/query"), names.join());
    assert.equal((await mail.mailboxes()).find(({ id }) => id === "Minbox")?.unreadEmails, 1);
  });

  it("begin anew where the server cannot say what changed", async () => {
    const old = bench.server.arrive();
    const mail = await bench.open();
    await mail.show(INBOX);
    const fresh = bench.server.arrive();
    bench.server.forgets = true;
    await rounds(mail);
    assert.deepEqual(ids(await mail.list(INBOX)), [fresh, old]);
  });

  it("are told of new mail by the event stream", async () => {
    const mail = await bench.open();
    await mail.show(INBOX);
    for (let n = 0; n < 20; n += 1) await new Promise((done) => setImmediate(done));
    const got = new Promise<void>((done) => {
      mail.on((event) => void (event.kind === "emails" && done()));
    });
    const id = bench.server.arrive();
    bench.server.push();
    await got;
    await mail.settled();
    assert.deepEqual(ids(await mail.list(INBOX)), [id]);
  });
});

describe("deeds", () => {
  it("show at once, survive a reload off line, and reach the server once there is a line", async () => {
    const id = bench.server.arrive();
    const other = bench.server.arrive();
    let mail = await bench.open();
    await mail.show(INBOX);
    bench.server.cut = () => "before";
    await mail.patch({ [id]: { "mailboxIds/Minbox": null, "mailboxIds/Marchive": true } });
    await mail.patch({ [other]: { "keywords/$flagged": true, "keywords/$seen": true } });
    assert.deepEqual(ids(await mail.list(INBOX)), [other]);
    mail = await bench.reload(mail);
    assert.deepEqual(ids(await mail.list(INBOX)), [other]);
    assert.equal(await mail.waiting(), 2);
    bench.server.cut = () => null;
    await rounds(mail);
    assert.deepEqual(bench.server.emails.get(id)?.mailboxIds, { Marchive: true });
    assert.deepEqual(bench.server.emails.get(other)?.keywords, { $flagged: true, $seen: true });
    assert.equal(await mail.waiting(), 0);
  });

  it("can be taken back, with counts and places as before", async () => {
    const all = [bench.server.arrive(), bench.server.arrive(), bench.server.arrive()];
    const mail = await bench.open();
    await mail.show(INBOX);
    const before = ids(await mail.list(INBOX));
    const boxes = await mail.mailboxes();
    const trash = { "mailboxIds/Minbox": null, "mailboxIds/Mtrash": true } as const;
    const undo = await mail.patch(Object.fromEntries(all.slice(0, 2).map((id) => [id, trash])));
    assert.equal((await mail.mailboxes()).find(({ id }) => id === "Minbox")?.unreadEmails, 1);
    await mail.patch(undo);
    assert.deepEqual(ids(await mail.list(INBOX)), before);
    assert.deepEqual(await mail.mailboxes(), boxes);
    await rounds(mail);
    assert.equal(bench.server.inBox("Minbox").length, 3);
  });

  it("that the server refuses are shown as the server has it", async () => {
    const id = bench.server.arrive();
    const mail = await bench.open();
    await mail.show(INBOX);
    bench.server.emails.delete(id);
    await mail.patch({ [id]: { "keywords/$seen": true } });
    await mail.settled();
    assert.deepEqual(await mail.emails([id]), []);
    assert.equal(await mail.waiting(), 0);
  });

  it("that destroy, and are refused, bring the message back into its list", async () => {
    const [id, other] = [bench.server.arrive(), bench.server.arrive()];
    bench.server.keeps.add(id);
    const mail = await bench.open();
    await mail.show(INBOX);
    await mail.destroy([id, other]);
    assert.deepEqual(ids(await mail.list(INBOX)), []);
    await rounds(mail);
    assert.deepEqual(ids(await mail.list(INBOX)), [id]);
    assert.equal(await mail.waiting(), 0);
  });

  it("are not shown undone by an answer that knows nothing of them yet", async () => {
    const id = bench.server.arrive();
    const mail = await bench.open();
    await mail.show(INBOX);
    bench.server.cut = (path) => (path === "/jmap/api" ? "before" : null);
    await mail.patch({ [id]: { "mailboxIds/Minbox": null, "mailboxIds/Marchive": true } });
    await mail.settled();
    bench.server.cut = () => null;
    await mail.more(INBOX);
    const spec = { filter: { inMailbox: "Minbox" }, threads: false };
    await mail.show(spec);
    assert.deepEqual(ids(await mail.list(spec)), []);
  });
});

describe("drafts", () => {
  it("are kept at once here, and once on the server, however often they change", async () => {
    let mail = await bench.open();
    let draft = mail.newDraft();
    for (const text of ["a", "ab", "abc"]) {
      draft = await mail.keepDraft(draft, written({ text }));
      bench.skip += 5000;
      await rounds(mail);
    }
    assert.deepEqual(
      bench.server.inBox("Mdrafts").map((email) => email.text),
      ["abc"],
    );
    mail = await bench.reload(mail);
    assert.equal((await mail.drafts())[0]?.text, "abc");
  });

  it("are one on the server after a lost answer", async () => {
    const mail = await bench.open();
    let cut = true;
    bench.server.cut = (path) => {
      if (path !== "/jmap/api" || !cut || bench.server.inBox("Mdrafts").length > 0) return null;
      return "after";
    };
    const draft = await mail.keepDraft(mail.newDraft(), written());
    bench.skip += 5000;
    await rounds(mail);
    cut = false;
    await mail.keepDraft(draft, written({ text: "more" }));
    bench.skip += 5000;
    await rounds(mail);
    assert.deepEqual(
      bench.server.inBox("Mdrafts").map((email) => email.text),
      ["more"],
    );
  });

  it("that another device wrote on go here", async () => {
    const mail = await bench.open();
    await mail.keepDraft(mail.newDraft(), written());
    bench.skip += 5000;
    await rounds(mail);
    const [copy] = bench.server.inBox("Mdrafts");
    bench.server["setEmails"]({ destroy: [copy?.id] }, new Map());
    await rounds(mail);
    assert.deepEqual(await mail.drafts(), []);
    await mail.show(DRAFTS);
    assert.deepEqual(ids(await mail.list(DRAFTS)), []);
  });
});

describe("two tabs", () => {
  it("share what is kept, and each follows the other", async () => {
    const id = bench.server.arrive();
    const sides: { onmessage: unknown; postMessage(data: unknown): void; close(): void }[] = [];
    const side = () => {
      const mine = {
        onmessage: null as unknown,
        postMessage(data: unknown) {
          for (const other of sides) {
            if (other !== mine) (other.onmessage as (message: { data: unknown }) => void)({ data });
          }
        },
        close() {},
      };
      sides.push(mine);
      return mine as never;
    };
    const one = await bench.open(side());
    const two = await bench.open(side());
    await one.show(INBOX);
    await two.show(INBOX);
    await one.patch({ [id]: { "keywords/$seen": true } });
    assert.equal((await two.emails([id]))[0]?.keywords.$seen, true);
    const fresh = bench.server.arrive();
    await rounds(one);
    await two.settled();
    assert.deepEqual(ids(await two.list(INBOX)), [fresh, id]);
    assert.equal(listKey(INBOX), listKey({ ...INBOX }));
  });
});
