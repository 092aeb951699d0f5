import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ContactRow } from "../../src/engine/jmap/rows.ts";
import type { EmailHead } from "../../src/engine/jmap/types.ts";
import { newDraft } from "../../src/engine/jmap/drafts.ts";
import { EventLines } from "../../src/engine/jmap/event_lines.ts";
import { parsed, shown, suggested } from "../../src/models/mail/addresses.ts";
import { filterOf, fitsHere } from "../../src/models/mail/finding.ts";
import { mayFollow, pieces, pretends } from "../../src/models/mail/links.ts";
import { blocks } from "../../src/models/mail/plain.ts";
import { answering, original, quotedText, recipients, references, subjectOf } from "../../src/models/mail/reply.ts";
import { ordered } from "../../src/models/mail/roles.ts";
import { outside, proofOf, warnings } from "../../src/models/mail/verdicts.ts";

const head = (more: Partial<EmailHead> = {}): EmailHead => ({
  id: "E1", blobId: "B1", threadId: "T1", mailboxIds: { M1: true }, keywords: {}, size: 1,
  receivedAt: "2026-03-01T10:00:00Z", sentAt: null, messageId: ["m1@far.test"], inReplyTo: null,
  references: null, from: [{ name: "Batyr", email: "batyr@far.test" }],
  to: [{ name: null, email: "ayna@house.test" }], cc: null, bcc: null, replyTo: null,
  subject: "Carpets", hasAttachment: false, preview: "", ...more,
});
const at = (email: string, name: string | null = null) => ({ name, email });

describe("addresses", () => {
  it("are read however they are typed", () => {
    assert.deepEqual(parsed('Ayna A. <a@x.tm>; "B, C" <b@x.tm>\nd@x.tm, Merd').found, [
      at("a@x.tm", "Ayna A."), at("b@x.tm", "B, C"), at("d@x.tm"),
    ]);
    assert.equal(parsed("a@x.tm, Merd").rest, "Merd");
    for (const bad of ["a", "a@", "@b", "a b@c", "a@b@c", "<a@b", "a@b>,"]) {
      assert.deepEqual(parsed(bad).found, [], bad);
    }
    const odd = at("b@x.tm", 'B, "C"');
    assert.deepEqual(parsed(shown(odd)).found, [odd]);
  });

  it("are suggested: those written to most first, chosen ones not", () => {
    const row = (email: string, name: string | null, written: number): ContactRow => ({
      email, name, written, seenAt: 0, pictures: "ask",
    });
    const all = [row("ayna@x.tm", "Ayna Amanowa", 1), row("am@x.tm", null, 9), row("z@x.tm", "Zoe", 5)];
    assert.deepEqual(suggested("am", all, []).map(({ email }) => email), ["am@x.tm", "ayna@x.tm"]);
    assert.deepEqual(suggested("am", all, [at("AM@x.tm")]).map(({ email }) => email), ["ayna@x.tm"]);
    assert.deepEqual(suggested(" ", all, []), []);
  });
});

describe("answers", () => {
  it("keep one mark before the subject, whatever other programs wrote", () => {
    for (const [was, is] of [["Carpets", "Re: Carpets"], ["Re: Carpets", "Re: Carpets"],
      ["RE: AW: Re[2]: Отв: Carpets", "Re: Carpets"], ["Report: x", "Re: Report: x"], ["", "Re: "]] as const) {
      assert.equal(subjectOf(was, "reply"), is);
    }
    assert.equal(subjectOf("Fwd: WG: Re: Carpets", "forward"), "Fwd: Carpets");
  });

  it("go to Reply-To, or to all but ourselves, or on to those we wrote to", () => {
    const mine = ["ayna@house.test"];
    const group = head({ to: [at("AYNA@house.test"), at("c@far.test")], cc: [at("d@far.test"), at("batyr@far.test")] });
    assert.deepEqual(recipients(group, "all", mine), {
      to: [at("batyr@far.test", "Batyr")], cc: [at("c@far.test"), at("d@far.test")],
    });
    const list = head({ replyTo: [at("list@far.test")] });
    assert.deepEqual(recipients(list, "reply", mine).to, [at("list@far.test")]);
    const own = head({ from: [at("ayna@house.test")], to: [at("c@far.test")] });
    assert.deepEqual(recipients(own, "reply", mine).to, [at("c@far.test")]);
  });

  it("carry the thread, and no more than it needs", () => {
    assert.deepEqual(references(head({ references: ["a@x", "b@x"] })), {
      inReplyTo: ["m1@far.test"], references: ["a@x", "b@x", "m1@far.test"],
    });
    const long = references(head({ references: Array.from({ length: 90 }, (_, n) => `r${n}@x`) }));
    assert.equal(long.references.length, 30);
    assert.equal(long.references[0], "r0@x");
    assert.equal(long.references.at(-1), "m1@far.test");
    const draft = answering(newDraft(0, "x", () => "r"), head(), "forward", []);
    assert.deepEqual([draft.references, draft.to, draft.subject], [[], [], "Fwd: Carpets"]);
  });

  it("quote line by line without the signature, and escape what becomes HTML", () => {
    assert.equal(quotedText("a\n\n> b\n-- \nBatyr"), "> a\n>\n>> b");
    const say = { wrote: "B <b@x> wrote:", forwarded: "F", from: "From", to: "To", cc: "Cc", subject: "S", date: "D" };
    const made = original(head(), "x", "<p>x</p>", "reply", "", say);
    assert.ok(made.html.startsWith("<div>B &lt;b@x&gt; wrote:</div><blockquote"));
    assert.ok(original(head({ subject: "<b>" }), "x", "", "forward", "", say).html.includes("S: &lt;b&gt;"));
  });
});

describe("searching", () => {
  const boxes = [{ id: "M9", name: "Bazar", role: null }, { id: "M1", name: "Inbox", role: "inbox" as const }];
  it("reads words, names and signs", () => {
    assert.deepEqual(filterOf("carpet", boxes), { text: "carpet" });
    assert.deepEqual(filterOf('from:ayna "white carpet" -draft is:unread in:bazar', boxes), {
      operator: "AND",
      conditions: [
        { from: "ayna" }, { text: "white carpet" },
        { operator: "NOT", conditions: [{ text: "draft" }] },
        { notKeyword: "$seen" }, { inMailbox: "M9" },
      ],
    });
    assert.deepEqual(filterOf("от:айна", boxes), { from: "айна" });
    assert.deepEqual(filterOf("http://x 12:30", boxes), {
      operator: "AND", conditions: [{ text: "http://x" }, { text: "12:30" }],
    });
    assert.deepEqual(filterOf("before:2026-02-03 larger:2m", boxes), {
      operator: "AND", conditions: [{ before: "2026-02-03T00:00:00Z" }, { minSize: 2e6 }],
    });
    assert.deepEqual(filterOf("   ", boxes), {});
  });

  it("finds off line what the heading shows", () => {
    const one = head({ subject: "Haly bazary", preview: "ertir" });
    assert.equal(fitsHere(one, filterOf("HALY ertir -ofis", boxes)), true);
    assert.equal(fitsHere(one, filterOf("from:ayna", boxes)), false);
    assert.equal(fitsHere(one, filterOf("is:read", boxes)), false);
  });
});

describe("links", () => {
  it("that pretend are found, honest ones left alone", () => {
    const table: [string, string, boolean][] = [
      ["www.bank.tm", "https://bank.tm/login", false],
      ["bank.tm", "https://evil.example/bank.tm", true],
      ["https://bank.tm/x", "https://bank.tm.evil.example/x", true],
      ["bank.tm", "https://online.bank.tm/", false],
      ["Click here", "https://evil.example", false],
      ["b\u200bank.tm", "https://evil.example", true],
      ["user@bank.tm", "https://evil.example", false],
      ["https://user@bank.tm/", "https://evil.example", true],
      ["банк.рф", "https://xn--80ab2a.xn--p1ai/", true],
      ["Report v1.2.pdf", "https://files.example/r", false],
    ];
    for (const [text, href, want] of table) assert.equal(pretends(text, href), want, text);
  });

  it("lead only where letters may lead", () => {
    for (const bad of ["javascript:alert(1)", "data:text/html,x", "file:///etc", "blob:https://x/1", "vbscript:x", "/a", ""]) {
      assert.equal(mayFollow(bad), null, bad);
    }
    assert.deepEqual(pieces("see (https://x.tm/a), www.y.tm."), [
      { text: "see (", href: null }, { text: "https://x.tm/a", href: "https://x.tm/a" },
      { text: "), ", href: null }, { text: "www.y.tm", href: "http://www.y.tm" }, { text: ".", href: null },
    ]);
  });
});

describe("reading", () => {
  it("folds quotes and signatures", () => {
    assert.deepEqual(
      blocks("Hello\n> a\n>> b\n> c\nBye\n-- \nAyna").map(({ kind, text }) => [kind, text]),
      [["words", "Hello"], ["quote", "a\n> b\nc"], ["words", "Bye"], ["signature", "-- \nAyna"]],
    );
  });

  it("believes our own server only", () => {
    const ours = "house.test; spf=pass (x; dkim=pass) smtp.mailfrom=a@b; dkim=fail; dmarc=fail";
    assert.deepEqual(proofOf(["evil.test; dmarc=pass", ours], ["house.test"]), {
      spf: "pass", dkim: "fail", dmarc: "fail",
    });
    assert.equal(proofOf(["evil.test; dmarc=pass"], ["house.test"]), null);
    assert.equal(proofOf(['evil.test (house.test); spf=pass'], ["house.test"]), null);
  });

  it("warns where names, proofs and answers do not fit together", () => {
    assert.deepEqual(warnings(head(), { spf: "pass", dkim: "pass", dmarc: "fail" }), ["forged"]);
    assert.deepEqual(warnings(head(), { spf: "none", dkim: "fail", dmarc: "none" }), ["unproved"]);
    assert.deepEqual(warnings(head(), null), []);
    const odd = head({ from: [at("x@evil.test", "boss@house.test")], replyTo: [at("y@other.test")] });
    assert.deepEqual(warnings(odd, null), ["name-is-address", "answers-elsewhere"]);
    assert.deepEqual(outside([at("a@House.test"), at("b@far.test"), at("B@far.test")], "house.test"), ["b@far.test"]);
  });
});

describe("small things", () => {
  it("mailboxes stand in their order, children below parents, loops end", () => {
    const box = (id: string, role: string | null, parentId: string | null = null) =>
      ({ id, name: id, role, parentId, sortOrder: 0 }) as never;
    const rows = ordered([box("t", "trash"), box("b", null), box("k", null, "b"), box("i", "inbox"), box("x", null, "gone")]);
    assert.deepEqual(rows.map(({ box: { id }, depth }) => `${id}${depth}`), ["i0", "b0", "k1", "x0", "t0"]);
  });

  it("events come out whole however their bytes are cut", () => {
    const text = ": hi\r\nevent: state\ndata: {\"a\":\ndata: 1}\n\ndata: x\n\n";
    for (let step = 1; step < 9; step += 1) {
      const lines = new EventLines();
      const got = [];
      for (let i = 0; i < text.length; i += step) got.push(...lines.feed(text.slice(i, i + step)));
      assert.deepEqual(got, [{ event: "state", data: '{"a":\n1}' }, { event: "message", data: "x" }], String(step));
    }
  });
});
