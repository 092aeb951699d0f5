// The line is cut at each step of sending, before and after the server has the request; every
// second time the tab is killed as well. Nothing may be lost, doubled or out of order.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { LIVE, Person, until, type View } from "./person";

const live = { skip: !LIVE && "no server: set KERWEN_TEST_URL" };
const tag = randomBytes(4).toString("hex");
const ayna = new Person(`cut.a.${tag}`, `cut-a-${tag}`);
const batyr = new Person(`cut.b.${tag}`, `cut-b-${tag}`);
const guests: Person[] = [];
const said: string[] = [];
let room = "";
let his: View;

after(() => {
    for (const person of [ayna, batyr, ...guests]) person.close();
    setTimeout(() => process.exit(), 300).unref();
});

/** Cuts the first request whose address has these words. */
function cutAt(words: string, mode: string): { happened: boolean } {
    const cut = { happened: false };
    ayna.cut = async (url, _init, go) => {
        if (cut.happened || !url.includes(words)) return go();
        cut.happened = true;
        if (mode === "after") await go();
        throw new TypeError("the line was cut");
    };
    return cut;
}

async function sayThrough(words: string, mode: string): Promise<void> {
    const text = `${words} ${mode}`;
    const cut = cutAt(words, mode);
    await ayna.core.composer.text({ roomId: room }, text);
    said.push(text);
    await until(`the cut at ${text}`, () => cut.happened);
    if (mode === "after") {
        ayna.close();
        await ayna.open();
    } else await ayna.core.session.retryNow();
    await until(`${text} to arrive`, () => his.find(text));
}

async function join(person: Person): Promise<void> {
    await ayna.core.rooms.invite(room, person.userId);
    await until("the invitation", async () => (await person.core.rooms.get(room))?.membership === "invite");
    await person.core.rooms.join(room);
    await until("her to know", async () => (await ayna.core.rooms.members(room)).some((m) => m.userId === person.userId && m.membership === "join"));
}

test("messages", live, async () => {
    await ayna.register();
    await batyr.register();
    room = await ayna.core.rooms.create({ kind: "group", name: "Kesilen" });
    await join(batyr);
    his = await batyr.view(room);
    for (const words of ["/send/m.room.encrypted/"]) {
        for (const mode of ["before", "after"]) await sayThrough(words, mode);
    }
    for (const words of ["/keys/claim", "/sendToDevice/m.room.encrypted"]) {
        for (const mode of ["before", "after"]) {
            const guest = await new Person(`cut.${guests.length}.${tag}`, `cut-${guests.length}-${tag}`).register();
            guests.push(guest);
            await join(guest);
            await sayThrough(words, mode);
            const view = await guest.view(room);
            await until(`a guest to read ${words} ${mode}`, () => view.find(`${words} ${mode}`));
        }
    }
    ayna.cut = undefined;
    const hers = await ayna.view(room);
    while (hers.items.length > 0 && (await ayna.core.timeline.loadBefore(hers.state.view)) > 0);
    await until("the outbox empty", async () => (await ayna.core.outbox.list()).length === 0);
    assert.deepEqual(his.texts, said);
    assert.deepEqual(hers.texts, said);
    assert.deepEqual(his.shut, []);
});

test("several at once stay in order over a cut and a kill", live, async () => {
    let cuts = 0;
    ayna.cut = async (url, _init, go) => {
        if (url.includes("/send/") && cuts++ < 3) {
            await go();
            throw new TypeError("the line was cut");
        }
        return go();
    };
    const five = [1, 2, 3, 4, 5].map((n) => `tiz ${n}`);
    for (const text of five) await ayna.core.composer.text({ roomId: room }, text);
    said.push(...five);
    await until("a cut", () => cuts > 0);
    ayna.close();
    await ayna.open();
    for (let i = 0; i < 3; i++) await ayna.core.session.retryNow();
    await until("all", () => his.find("tiz 5"), 20_000);
    ayna.cut = undefined;
    assert.deepEqual(his.texts, said);
});

test("a file goes on where it was cut", live, async () => {
    const bytes = randomBytes(700_000);
    let [sent, cut] = [0, false];
    ayna.cut = async (url, init, go) => {
        if (!url.includes("/upload/")) return go();
        const size = (init.body as Blob | undefined)?.size ?? 0;
        if (sent > 300_000 && !cut) {
            cut = true;
            throw new TypeError("the line was cut");
        }
        const answer = await go();
        sent += size;
        return answer;
    };
    const file = { blob: new Blob([bytes]), name: "uly.bin", mime: "application/octet-stream", kind: "file" as const };
    await ayna.core.composer.file({ roomId: room }, file);
    await until("the cut", () => cut);
    ayna.close();
    await ayna.open();
    const item = await until("the file", () => his.items.find((one) => one.content.kind === "file"), 20_000);
    assert.ok(item.content.kind === "file");
    const got = await batyr.core.media.get(item.content.media);
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(bytes));
    assert.equal(sent, bytes.length, "no byte went up twice");
});
