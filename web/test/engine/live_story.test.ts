// The story against a running server: two people, an encrypted group, a file, a lost device.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { LIVE, PASSWORD, Person, until } from "./person";

const tag = randomBytes(4).toString("hex");
const ayna = new Person(`ayna.${tag}`, `ayna-${tag}`);
const batyr = new Person(`batyr.${tag}`, `batyr-${tag}`);
let room = "";
let key = "";

after(() => {
    for (const person of [ayna, batyr]) person.close();
    setTimeout(() => process.exit(), 300).unref();
});

const live = { skip: !LIVE && "no server: set KERWEN_TEST_URL" };

test("two people register and make recovery keys", live, async () => {
    await ayna.register();
    await batyr.register();
    key = (await ayna.core.account.createRecoveryKey(PASSWORD)).key;
    assert.ok(await ayna.core.account.recoveryKeyValid(key));
    assert.equal((await ayna.core.account.keys()).recovery, "ready");
    await batyr.core.account.createRecoveryKey(PASSWORD);
});

test("they talk in an encrypted group", live, async () => {
    room = await ayna.core.rooms.create({ kind: "group", name: "Maşgala", invite: [batyr.userId] });
    await until("the invitation", async () => (await batyr.core.rooms.get(room))?.membership === "invite");
    await batyr.core.rooms.join(room);
    assert.ok((await batyr.core.rooms.get(room))?.encrypted);
    const [hers, his] = [await ayna.view(room), await batyr.view(room)];
    const said: string[] = [];
    for (let i = 0; i < 6; i++) {
        const [from, text] = [i % 2 ? batyr : ayna, `Salam ${i}`];
        await from.core.composer.text({ roomId: room }, text);
        said.push(text);
        await until(`line ${i}`, () => hers.find(text)?.status === "sent" && his.find(text)?.status === "sent");
    }
    assert.deepEqual(hers.texts, said);
    assert.deepEqual(his.texts, said);
    await until("all sent", async () => (await ayna.core.outbox.list()).length === 0);
    assert.ok(hers.items.filter((item) => item.content.kind === "text").every((item) => item.seal === "sealed"), "sealed");
});
