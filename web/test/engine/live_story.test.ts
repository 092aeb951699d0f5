// The story against a running server (KERWEN_TEST_URL): two people, an encrypted group, a file, a
// lost device, verification. Each step stands on the ones before it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { after, test } from "node:test";
import { LIVE, PASSWORD, Person, until } from "./person";

const live = { skip: !LIVE && "no server: set KERWEN_TEST_URL" };
const tag = randomBytes(4).toString("hex");
const ayna = new Person(`ayna.${tag}`, `ayna-${tag}`);
const batyr = new Person(`batyr.${tag}`, `batyr-${tag}`);
const phone = new Person(`ayna.${tag}`, `phone-${tag}`);
const said: string[] = [];
const bytes = randomBytes(150_001);
let room = "";
let key = "";

after(() => {
    for (const person of [ayna, batyr, phone]) person.close();
    setTimeout(() => process.exit(), 300).unref();
});

test("two people register and make recovery keys", live, async () => {
    await ayna.register();
    await batyr.register();
    key = (await ayna.core.account.createRecoveryKey(PASSWORD)).key;
    assert.ok(await ayna.core.account.recoveryKeyValid(key));
    assert.ok(!(await ayna.core.account.recoveryKeyValid(key.replace(/.$/, "1"))));
    assert.equal((await ayna.core.account.keys()).recovery, "ready");
    await batyr.core.account.createRecoveryKey(PASSWORD);
});

test("they talk in an encrypted group", live, async () => {
    room = await ayna.core.rooms.create({ kind: "group", name: "Maşgala", invite: [batyr.userId] });
    await until("the invitation", async () => (await batyr.core.rooms.get(room))?.membership === "invite");
    const asked = await batyr.core.rooms.get(room);
    assert.equal(asked?.inviter?.userId, ayna.userId);
    assert.ok(asked?.stranger, "they share nothing yet: a message request");
    await batyr.core.rooms.join(room);
    assert.ok((await batyr.core.rooms.get(room))?.encrypted);
    const [hers, his] = [await ayna.view(room), await batyr.view(room)];
    for (let i = 0; i < 6; i++) {
        const [from, text] = [i % 2 ? batyr : ayna, `Salam ${i}`];
        await from.core.composer.text({ roomId: room }, text);
        said.push(text);
        await until(`line ${i}`, () => hers.find(text)?.status === "sent" && his.find(text)?.status === "sent");
    }
    assert.deepEqual(hers.texts, said);
    assert.deepEqual(his.texts, said);
    await until("all sent", async () => (await ayna.core.outbox.list()).length === 0);
    assert.ok(hers.items.every((item) => item.content.kind !== "text" || item.seal !== "clear"));
    assert.equal((await batyr.core.rooms.get(room))?.last?.text, "Salam 5");
});

test("a reply, a thread, a reaction, an edit, a redaction, a poll", live, async () => {
    const [hers, his] = [await ayna.view(room), await batyr.view(room)];
    const first = hers.find("Salam 0");
    assert.ok(first?.eventId);
    await batyr.core.composer.text({ roomId: room, replyTo: first.eventId }, "**Jogap**");
    await batyr.core.composer.text({ roomId: room, thread: first.eventId }, "sapak");
    await batyr.core.composer.react(room, first.eventId, "👍");
    const answer = await until("the reply", () => hers.find("**Jogap**"));
    assert.equal(answer.replyTo?.preview?.text, "Salam 0");
    assert.ok(answer.content.kind === "text" && answer.content.html === "<strong>Jogap</strong>");
    assert.ok(answer.mentionsMe);
    await until("the thread", () => hers.find("Salam 0")?.thread?.count === 1);
    await until("the reaction", () => hers.find("Salam 0")?.reactions[0]?.count === 1);
    await batyr.core.composer.react(room, first.eventId, "👍");
    await until("it gone", () => hers.find("Salam 0")?.reactions.length === 0);
    await ayna.core.composer.edit(room, first.eventId, "Salam nol");
    await until("the edit", () => his.find("Salam nol")?.edited === true);
    said[0] = "Salam nol";
    const gone = await until("his own", () => his.find("**Jogap**"));
    await batyr.core.composer.redact(room, gone.eventId ?? "");
    await until("the redaction", () => hers.items.some((item) => item.eventId === gone.eventId && item.content.kind === "redacted"));
    const poll = { question: "Haçan?", answers: ["Şu gün", "Ertir"], open: true, maxChoices: 1 };
    await ayna.core.composer.poll({ roomId: room }, poll);
    const shown = await until("the poll", () => his.items.find((item) => item.content.kind === "poll" && item.status === "sent"));
    await batyr.core.composer.vote(room, shown.eventId ?? "", ["a2"]);
    await until("the vote", () => hers.items.some((item) => item.content.kind === "poll" && item.content.poll.answers[1]?.votes === 1));
    await batyr.core.composer.text({ roomId: room }, "soňky");
    said.push("soňky");
    await until("the last", () => hers.find("soňky"));
});

test("a file goes through, sealed, and comes back the same", live, async () => {
    const his = await batyr.view(room);
    const blob = new Blob([bytes], { type: "application/pdf" });
    await ayna.core.composer.file({ roomId: room }, { blob, name: "şertnama.pdf", mime: "application/pdf", kind: "file", caption: "Ine" });
    const item = await until("the file", () => his.items.find((one) => one.content.kind === "file"));
    assert.ok(item.content.kind === "file" && item.content.media.file && item.content.caption === "Ine");
    const got = await batyr.core.media.get(item.content.media);
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(bytes));
    const clear = await fetch(`${process.env["KERWEN_TEST_URL"]}/_matrix/client/v1/media/download/${item.content.media.file.url.slice(6)}`, {
        headers: { authorization: `Bearer ${await batyr.core.session.token()}` },
    });
    assert.ok(!Buffer.from(await clear.arrayBuffer()).includes(bytes.subarray(0, 64)), "the server has only ciphertext");
});

test("receipts, typing and search", live, async () => {
    const hers = await ayna.view(room);
    await batyr.core.rooms.typing(room, true);
    await until("typing", async () => ((await ayna.core.rooms.get(room))?.typing.length ?? 0) > 0);
    await batyr.core.rooms.markRead(room);
    await until("read", () => hers.find("Salam nol")?.read);
    const found = await batyr.core.search.messages({ text: "SOŇ" });
    assert.deepEqual(found.hits.map((hit) => hit.words), [["soňky"]]);
    assert.equal((await batyr.core.search.messages({ text: "nol" })).hits.length, 1, "the edit is found");
    assert.equal((await batyr.core.search.messages({ text: "jogap" })).hits.length, 0, "what is gone is not");
});

test("the app opens off line with its history, and nothing is lost by a killed tab", live, async () => {
    batyr.close();
    batyr.cut = () => Promise.reject(new TypeError("no line"));
    await batyr.open();
    const his = await batyr.view(room);
    await batyr.core.session.loadCrypto();
    assert.deepEqual(his.texts, said);
    await batyr.core.composer.text({ roomId: room }, "off line ýazdym");
    assert.equal(his.find("off line ýazdym")?.status === "sent", false);
    batyr.close();
    batyr.cut = undefined;
    await batyr.open();
    const hers = await ayna.view(room);
    await until("it arrives", () => hers.find("off line ýazdym"));
    said.push("off line ýazdym");
    await until("the outbox empty", async () => (await batyr.core.outbox.list()).length === 0);
    assert.deepEqual(hers.texts, said);
});

test("a lost device: the recovery key gives everything back", live, async () => {
    await until("the backup", async () => {
        const { backup } = await ayna.core.account.keys();
        return backup.on && backup.pending === 0;
    });
    await ayna.core.session.logout();
    assert.deepEqual(await ayna.core.session.state(), { kind: "out", reason: "logged-out" });
    await phone.login();
    const view = await phone.view(room);
    while (view.state.before && (await phone.core.timeline.loadBefore(view.state.view)) > 0);
    await until("locked", async () => (await phone.core.account.keys()).recovery === "locked");
    assert.equal(view.texts.length, 0);
    assert.ok(view.shut.length > 0 && view.shut.every((item) => item.content.kind === "undecryptable" && item.content.why === "before-device"));
    await assert.rejects(phone.core.account.enterRecoveryKey("EsTc 1111"), { message: /key/ });
    const { imported, total } = await phone.core.account.enterRecoveryKey(key);
    assert.equal(imported, total);
    await until("everything to be read", () => view.shut.length === 0);
    assert.deepEqual(view.texts, said);
    assert.equal((await phone.core.account.keys()).recovery, "ready");
    await batyr.core.composer.text({ roomId: room }, "täze enjam");
    said.push("täze enjam");
    await until("it reads on", () => view.find("täze enjam"));
});

test("matrix-js-sdk reads in the same room, and is read", live, async (t) => {
    const folder = new URL("../../../tests/clients/js/", import.meta.url);
    if (!existsSync(new URL("node_modules/matrix-js-sdk", folder))) return t.skip("npm ci in tests/clients/js");
    const sdk = await import(new URL("person.mjs", folder).href);
    const third = new sdk.Person(process.env["KERWEN_TEST_URL"], `maral.${tag}`, PASSWORD, new sdk.Log("maral"), true);
    await third.register();
    await until("its first sync", () => third.isSynced());
    await phone.core.rooms.invite(room, third.userId);
    await until("its invitation", () => third.isInvited(room));
    await third.client.joinRoom(room);
    await until("its room", () => third.isReadyIn(room, [third, { userId: phone.userId }, { userId: batyr.userId }]));
    const hers = await phone.view(room);
    await until("her to know", async () => (await phone.core.rooms.get(room))?.joined === 3);
    await phone.core.composer.text({ roomId: room }, "Salam, **üçünji**");
    said.push("Salam, **üçünji**");
    const line = await until("it sent", () => hers.find("Salam, **üçünji**")?.eventId);
    const read = await until("it to read", () => third.read(room, line));
    assert.equal(read.formatted_body, "Salam, <strong>üçünji</strong>");
    await third.say(room, { msgtype: "m.text", body: "okadym" });
    await until("her to read", () => hers.find("okadym"));
    said.push("okadym");
    const bytes = new Uint8Array(randomBytes(1000));
    await third.sendFile(room, "s.bin", bytes);
    const item = await until("its file", () => hers.items.find((one) => one.content.kind === "file" && one.content.media.name === "s.bin"));
    assert.ok(item.content.kind === "file");
    assert.deepEqual(new Uint8Array(await (await phone.core.media.get(item.content.media)).arrayBuffer()), bytes);
    third.stop();
});

test("they verify each other by emoji in their direct chat", live, async () => {
    const { id } = await phone.core.verification.requestUser(batyr.userId);
    const dm = await until("the chat", async () => (await batyr.core.rooms.list()).find((one) => one.membership === "invite"));
    await batyr.core.rooms.join(dm.id);
    const his = await until("the request", () => [...batyr.verifications.values()].find((one) => one.phase === "requested"));
    await batyr.core.verification.accept(his.id);
    await until("ready", () => phone.verifications.get(id)?.phase === "ready");
    await phone.core.verification.startEmoji(id);
    const [a, b] = await Promise.all([
        until("her emoji", () => phone.verifications.get(id)?.emoji),
        until("his emoji", () => batyr.verifications.get(his.id)?.emoji),
    ]);
    assert.deepEqual(a, b);
    await Promise.all([phone.core.verification.same(id), batyr.core.verification.same(his.id)]);
    await until("done", () => phone.verifications.get(id)?.phase === "done");
    await until("trust", async () => (await phone.core.verification.trust(batyr.userId)) === "verified");
    await until("his trust", async () => (await batyr.core.verification.trust(phone.userId)) === "verified");
});
