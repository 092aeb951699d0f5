// Rounds of log-in, restore, device loss and key rotation: "unable to decrypt" stays at 0.
// KERWEN_ROUNDS=200 for the long form.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, test } from "node:test";
import { LIVE, PASSWORD, Person, until } from "./person";

const live = { skip: !LIVE && "no server: set KERWEN_TEST_URL" };
const rounds = Number(process.env["KERWEN_ROUNDS"] ?? "5");
const tag = randomBytes(4).toString("hex");
const ayna = new Person(`utd.a.${tag}`, `utd-a-${tag}`);
let batyr = new Person(`utd.b.${tag}`, `utd-b-${tag}`);

after(() => {
    for (const person of [ayna, batyr]) person.close();
    setTimeout(() => process.exit(), 300).unref();
});

test(`${rounds} rounds`, { ...live, timeout: 60_000 + rounds * 15_000 }, async () => {
    await ayna.register();
    await batyr.register();
    await ayna.core.account.createRecoveryKey(PASSWORD);
    const { key } = await batyr.core.account.createRecoveryKey(PASSWORD);
    const room = await ayna.core.rooms.create({ kind: "group", name: "Aýlaw", invite: [batyr.userId] });
    await until("the invitation", async () => (await batyr.core.rooms.get(room))?.membership === "invite");
    await batyr.core.rooms.join(room);
    const hers = await ayna.view(room);
    const said: string[] = [];
    for (let round = 0; round < rounds; round++) {
        const his = await batyr.view(room);
        for (const [from, text] of [[ayna, `a${round}`], [batyr, `b${round}`]] as const) {
            await from.core.composer.text({ roomId: room }, text);
            said.push(text);
            await until(`${text} everywhere`, () => hers.find(text)?.status === "sent" && his.find(text)?.status === "sent");
        }
        await until("the backup", async () => (await batyr.core.account.keys()).backup.pending === 0);
        // lost: every second time without a word to the server; its keys then came to nobody but
        // the sleeping device
        if (round % 2) await batyr.core.session.logout();
        else batyr.close();
        // what is said meanwhile must be read later too
        await ayna.core.composer.text({ roomId: room }, `c${round}`);
        said.push(`c${round}`);
        await until("it sent", () => hers.find(`c${round}`)?.status === "sent");
        await until("her backup", async () => (await ayna.core.account.keys()).backup.pending === 0);
        batyr = new Person(batyr.name, `utd-b-${round}-${tag}`);
        await batyr.login();
        await batyr.core.account.enterRecoveryKey(key);
        const fresh = await batyr.view(room);
        while (fresh.state.before && (await batyr.core.timeline.loadBefore(fresh.state.view, 100)) > 0);
        await until("everything", () => said.every((text) => fresh.find(text)));
        assert.deepEqual([...fresh.shut, ...hers.shut], [], `unable to decrypt in round ${round}`);
    }
});
