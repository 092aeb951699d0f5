// Rules without a store: keys as written, Markdown, words, polls, splices, orders.

import assert from "node:assert/strict";
import { test } from "node:test";
import { decryptFile, encryptFile } from "../../src/engine/attachments";
import { contentOf, countPoll, inOneLine, roleOf, saidContent } from "../../src/engine/content";
import { canonicalJson, fromBase64, toBase64 } from "../../src/engine/crypto/base64";
import { slotKey, typed, written } from "../../src/engine/crypto/recovery_key";
import * as storage from "../../src/engine/crypto/secret_storage";
import { faultOfAnswer, isPassing } from "../../src/engine/faults";
import { backOffMs, path } from "../../src/engine/http";
import { formatMarkdown } from "../../src/engine/markdown";
import type { StoredEvent } from "../../src/engine/matrix";
import { safeType } from "../../src/engine/media";
import { placed } from "../../src/engine/outbox";
import { newRecord, powerOf, rightsOf, summaryOf, takeState } from "../../src/engine/room_record";
import { notifyRules, receiptsOf } from "../../src/engine/sync_apply";
import { difference } from "../../src/engine/timelines";
import type { TimelineItem } from "../../src/engine/types";
import { folded, matching, wordsOf } from "../../src/engine/words";

const event = (more: Partial<StoredEvent>): StoredEvent => ({
    roomId: "!r", order: 1, id: "$e", type: "m.room.message", sender: "@a:x", ts: 1, content: {}, ...more,
});

test("a recovery key is written and typed as the specification says", () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => i);
    const text = written(key);
    // python: kerwen.vault.recovery_key.written(bytes(range(32)))
    assert.equal(text, "EsSz ykH7 LCZx 7Cae cmKD wcmY JRXi Ybtu 8iQ3 t8Ez nRwK pUY1");
    assert.deepEqual(typed(` ${text.replace(/ /g, "")} `), key);
    for (const wrong of ["", "EsTc", text.slice(0, -1), `${text}1`, text.replace("E", "F"), text.replace("E", "0")]) {
        assert.throws(() => typed(wrong), { name: "Fault" }, wrong);
    }
});

test("the vault's slot key is what the server makes of the key", async () => {
    // python: kerwen.vault.recovery_key.slot_key(bytes(range(32)))
    const key = await slotKey(Uint8Array.from({ length: 32 }, (_, i) => i));
    assert.equal(Buffer.from(key).toString("hex"), SLOT);
});
const SLOT = "844582ffd73a9b0f7b6df13fd09194d6f5a2ef5016a9f8175b5bd362ab9fa366";

test("secret storage opens its own, and nothing else", async () => {
    const [key, other] = [new Uint8Array(32).fill(7), new Uint8Array(32).fill(8)];
    const box = await storage.seal(key, "m.cross_signing.master", "gizlin");
    assert.equal(await storage.open(key, "m.cross_signing.master", box), "gizlin");
    await assert.rejects(storage.open(other, "m.cross_signing.master", box), { name: "Fault" });
    await assert.rejects(storage.open(key, "m.megolm_backup.v1", box), { name: "Fault" });
    await assert.rejects(storage.open(key, "m.cross_signing.master", { ...box, ciphertext: toBase64(new Uint8Array(6)) }), { name: "Fault" });
    const description = await storage.describe(key);
    assert.ok(await storage.matches(key, description));
    assert.ok(!(await storage.matches(other, description)));
});

test("files are sealed, and a changed one is refused", async () => {
    const plain = crypto.getRandomValues(new Uint8Array(5000));
    const { sealed, secret } = await encryptFile(plain.buffer);
    assert.equal(secret.key.k.length, 43);
    assert.deepEqual(new Uint8Array(await decryptFile(sealed, secret)), plain);
    const changed = new Uint8Array(sealed.slice(0));
    changed[9]! ^= 1;
    await assert.rejects(decryptFile(changed.buffer, secret), { name: "Fault" });
});

test("base64 and canonical JSON", () => {
    for (let n = 0; n < 40; n++) {
        const bytes = crypto.getRandomValues(new Uint8Array(n));
        assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
    }
    assert.equal(canonicalJson({ b: [1, { d: null, c: "ý\n" }], a: true, x: undefined }), '{"a":true,"b":[1,{"c":"ý\\n","d":null}]}');
});

test("Markdown", () => {
    const table: [string, string | undefined][] = [
        ["salam", undefined],
        ["iki\nsetir", undefined],
        ["a < b & c", undefined],
        ["**goýy** we *ýapy* _hem_ ~~ýok~~", "<strong>goýy</strong> we <em>ýapy</em> <em>hem</em> <del>ýok</del>"],
        ["`a<b`", "<code>a&lt;b</code>"],
        ["snake_case_name 2*3*4", undefined],
        ["[göl](https://x.test/a_b_c)", '<a href="https://x.test/a_b_c">göl</a>'],
        ["https://x.test/a_b_c_d", undefined],
        ["[x](javascript:alert(1))", undefined],
        ['[x](https://a"onclick=b)', undefined],
        ["<img src=x onerror=alert(1)>", undefined],
        ["**<b>**", "<strong>&lt;b&gt;</strong>"],
        ["> aýtdy\n> ol\njogap", "<blockquote>aýtdy<br>ol</blockquote>jogap"],
        ["- bir\n- iki", "<ul><li>bir</li><li>iki</li></ul>"],
        ["1. bir\n2. iki", "<ol><li>bir</li><li>iki</li></ol>"],
        ["```py\nif a<b:\n```", '<pre><code class="language-py">if a&lt;b:\n</code></pre>'],
        ["****", undefined],
        ["** a **", undefined],
    ];
    for (const [text, html] of table) assert.equal(formatMarkdown(text).html, html, text);
    assert.equal(formatMarkdown("[Ayna](https://matrix.to/#/@ayna:x) gel").body, "Ayna gel");
    const begun = Date.now();
    for (const evil of ["*".repeat(20_000), "[".repeat(20_000), "_a".repeat(10_000), "`".repeat(20_001), "**a ".repeat(5000)]) formatMarkdown(evil);
    assert.ok(Date.now() - begun < 4000, "no text takes for ever");
});

test("words of four languages", () => {
    assert.deepEqual(wordsOf("Şu gün ŇAZIK, näme?"), ["su", "gun", "nazik", "name"]);
    assert.deepEqual(wordsOf("Ёлка и ещё"), ["елка", "еще"]);
    assert.deepEqual(wordsOf("L'été déjà à 10h30"), ["ete", "deja", "10h30"]);
    assert.equal(wordsOf("söz ".repeat(500)).length, 1);
    assert.ok(wordsOf(Array.from({ length: 500 }, (_, i) => `soz${i}`).join(" ")).length <= 120);
    assert.deepEqual(matching("Ňazik sözler", ["naz"]), ["Ňazik"]);
    assert.equal(folded("ÝŽ"), "yz");
});

test("contents of messages", () => {
    const file = { v: "v2", url: "mxc://x/1", key: {}, iv: "i", hashes: { sha256: "h" } };
    const image = saidContent("m.room.message", { msgtype: "m.image", body: "Ine", filename: "a.png", file, info: { w: 4, h: 3, mimetype: "image/png" } }, "@a:x");
    assert.ok(image.kind === "image" && image.caption === "Ine" && image.media.name === "a.png" && image.media.file && image.width === 4);
    const place = saidContent("m.room.message", { msgtype: "m.location", body: "öý", geo_uri: "geo:37.95,58.38;u=35" }, "@a:x");
    assert.ok(place.kind === "location" && place.lat === 37.95 && place.accuracy === 35);
    assert.equal(saidContent("m.room.message", { msgtype: "m.location", body: "?", geo_uri: "geo:999,1" }, "@a:x").kind, "text");
    const reply = saidContent("m.room.message", { msgtype: "m.text", body: "> <@b:x> köne\n\ntäze", "m.relates_to": { "m.in_reply_to": { event_id: "$1" } } }, "@a:x");
    assert.ok(reply.kind === "text" && reply.body === "täze");
    for (const strange of [{}, { msgtype: 5 }, { msgtype: "m.image", info: "x", file: 3 }, { msgtype: "m.audio", info: null }, { body: {} }]) {
        assert.ok(inOneLine(contentOf(event({ content: strange }))).kind);
    }
    assert.deepEqual(contentOf(event({ redactedBy: "@b:x" })), { kind: "redacted", by: "@b:x" });
    const member = (was: string | undefined, is: string, sender = "@a:x"): unknown =>
        contentOf(event({ type: "m.room.member", stateKey: "@a:x", sender, content: { membership: is }, ...(was ? { prev: { membership: was } } : {}) }));
    const changes = [member(undefined, "join"), member("join", "leave"), member("join", "leave", "@b:x"), member("invite", "leave"), member("invite", "leave", "@b:x"), member("ban", "leave", "@b:x")];
    assert.deepEqual(changes.map((one) => (one as { change: string }).change), ["joined", "left", "kicked", "refused", "withdrawn", "unbanned"]);
    assert.equal(roleOf(event({ type: "m.reaction", relType: "m.annotation" })), "reaction");
    assert.equal(roleOf(event({ type: "m.key.verification.start" })), "hidden");
});

test("polls count the newest vote of each, up to the end", () => {
    const start = saidContent("org.matrix.msc3381.poll.start", {
        "org.matrix.msc3381.poll.start": { question: { "org.matrix.msc1767.text": "?" }, kind: "org.matrix.msc3381.poll.disclosed", max_selections: 1, answers: [{ id: "1", "org.matrix.msc1767.text": "hawa" }, { id: "2", "org.matrix.msc1767.text": "ýok" }] },
    }, "@a:x");
    assert.ok(start.kind === "poll");
    const vote = (sender: string, ts: number, ...answers: string[]): StoredEvent =>
        event({ type: "org.matrix.msc3381.poll.response", sender, ts, content: { "org.matrix.msc3381.poll.response": { answers } } });
    const end = event({ type: "org.matrix.msc3381.poll.end", sender: "@a:x", ts: 50 });
    const cheat = event({ type: "org.matrix.msc3381.poll.end", sender: "@c:x", ts: 5 });
    const votes = [vote("@b:x", 10, "1"), vote("@b:x", 20, "2"), vote("@c:x", 11, "2", "1"), vote("@d:x", 60, "1"), vote("@e:x", 12, "9"), cheat];
    const mayEnd = (userId: string): boolean => userId === "@a:x";
    const open = countPoll(start.poll, votes, "@b:x", mayEnd);
    assert.deepEqual(open.answers.map((a) => a.votes), [1, 2]);
    const ended = countPoll(start.poll, [...votes, end], "@b:x", mayEnd);
    assert.deepEqual([ended.ended, ended.voters, ended.answers.map((a) => [a.votes, a.mine, a.winner])], [true, 2, [[0, false, false], [2, true, true]]]);
});

test("splices make one list of another", () => {
    const item = (key: string, ts = 0): TimelineItem => ({ key, ts }) as TimelineItem;
    const keys = "abcdefgh".split("");
    for (let n = 0; n < 300; n++) {
        const pick = (): TimelineItem[] => keys.filter(() => Math.random() < 0.6).map((key) => item(key, Math.random() < 0.3 ? 1 : 0));
        const [before, after] = [pick(), pick()];
        const list = [...before];
        for (const { at, remove, insert } of difference(before, after)) list.splice(at, remove, ...insert);
        assert.deepEqual(list, after);
    }
    assert.equal(difference([item("a"), item("b")], [item("a"), item("b"), item("c")]).length, 1);
});

test("rooms: power, names", () => {
    const room = newRecord("!r");
    const state = (type: string, content: Record<string, unknown>, sender = "@a:x"): boolean =>
        takeState(room, { event_id: "$", type, sender, origin_server_ts: 0, content, state_key: "" });
    state("m.room.create", { room_version: "12" });
    state("m.room.power_levels", { users: { "@b:x": 50 }, events_default: 50 });
    assert.deepEqual([powerOf(room, "@a:x"), powerOf(room, "@b:x"), powerOf(room, "@c:x")], [Infinity, 50, 0]);
    assert.ok(rightsOf(room, "@b:x").send && !rightsOf(room, "@c:x").send);
    const besides = { parents: [], typing: [], queued: 0, failed: 0, me: "@c:x" };
    assert.equal(summaryOf(room, besides).kind, "channel");
    room.heroes = [{ userId: "@b:x", name: "Batyr" }, { userId: "@d:x" }];
    assert.equal(summaryOf(room, besides).name, "Batyr, d");
});

test("small things", () => {
    assert.equal(path`/rooms/${"!a/b:x"}/send/${"m.x"}/${1}`, "/rooms/!a%2Fb%3Ax/send/m.x/1");
    assert.ok(backOffMs(0, () => 1) === 1000 && backOffMs(99, () => 1) === 60_000 && backOffMs(3, () => 0) === 4000);
    assert.equal(safeType("text/html"), "application/octet-stream");
    assert.equal(safeType("image/svg+xml"), "application/octet-stream");
    assert.equal(safeType("image/PNG; x=1"), "image/png");
    const busy = faultOfAnswer(429, { errcode: "M_LIMIT_EXCEEDED", retry_after_ms: 5 }).fault;
    assert.ok(isPassing(busy) && busy.retryAfterMs === 5);
    assert.ok(!isPassing(faultOfAnswer(403, "not an object").fault));
    const sent = placed({ url: "local:1", info: { thumbnail_url: "local:2", w: 1 } }, "local:1", "mxc://x/1", { iv: "i" });
    assert.deepEqual(placed(sent, "local:2", "mxc://x/2", { iv: "j" }), { file: { iv: "i", url: "mxc://x/1" }, info: { thumbnail_file: { iv: "j", url: "mxc://x/2" }, w: 1 } });
    const rules = notifyRules({ global: { override: [{ rule_id: "!a", enabled: true, actions: [] }], room: [{ rule_id: "!b", actions: ["dont_notify"] }, { rule_id: "!c", actions: ["notify"] }] } });
    assert.deepEqual([...rules], [["!b", "mentions"], ["!a", "none"]]);
    assert.equal(receiptsOf("!r", { $1: { "m.read": { "@a:x": { ts: 5 }, "@b:x": { ts: 6, thread_id: "$t" } } } }).length, 1);
});
