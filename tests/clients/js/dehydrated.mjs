// A device that sleeps at the server (MSC3814), on matrix-js-sdk: `node dehydrated.mjs URL`.
//
// Ayna has no key backup and logs out of her only device. What Batyr says meanwhile goes to her
// sleeping device; a new device of hers wakes it and reads.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Log, Person } from "./person.mjs";
import { Story, until } from "./steps.mjs";

const url = process.argv[2];
const PASSWORD = "correct horse battery staple";
const story = new Story("js");
const log = new Log("");
const tag = randomBytes(4).toString("hex");
const [ayna, batyr] = ["ayna", "batyr"].map((name) => new Person(url, `${name}.${tag}`, PASSWORD, log));
const people = [ayna, batyr];

async function tell() {
    let room, said;

    await story.step("Ayna keeps her keys in secret storage, without a backup", 15_000, async (limit) => {
        for (const p of people) await p.register();
        for (const p of people) await until(limit, "the first sync", () => p.isSynced());
        for (const p of people) await p.bootstrapCrossSigning();
        const generated = await ayna.crypto.createRecoveryKeyFromPassphrase();
        const createSecretStorageKey = async () => generated;
        await ayna.crypto.bootstrapSecretStorage({ createSecretStorageKey, setupNewSecretStorage: true });
        ayna.recoveryKey = generated.encodedPrivateKey;
    });

    await story.step("she puts a device to sleep", 15_000, async () => {
        assert.ok(await ayna.crypto.isDehydrationSupported());
        await ayna.crypto.startDehydration(true);
    });

    await story.step("they share an encrypted room", 10_000, async (limit) => {
        room = await batyr.createGroup("At night", [ayna]);
        await until(limit, "the invitation", () => ayna.isInvited(room));
        await ayna.client.joinRoom(room);
        for (const p of people) await until(limit, `${p.name} to know the room`, () => p.isReadyIn(room, people));
    });

    await story.step("she logs out; Batyr says something", 15_000, async (limit) => {
        const [userId, awake] = [ayna.userId, ayna.deviceId];
        await ayna.lose();
        await until(limit, "Batyr to see that only the sleeping device is left", async () => {
            const devices = (await batyr.crypto.getUserDeviceInfo([userId], true)).get(userId);
            return devices?.size === 1 && !devices.has(awake);
        });
        said = await batyr.say(room, { msgtype: "m.text", body: "Gijäň rahat bolsun" });
    });

    await story.step("her new device wakes it and reads", 20_000, async (limit) => {
        await ayna.logIn();
        await until(limit, "the first sync", () => ayna.isSynced());
        assert.ok(await ayna.crypto.userHasCrossSigningKeys(ayna.userId, true));
        await ayna.bootstrapCrossSigning();
        await ayna.crypto.startDehydration();
        let content;
        await until(limit, "the message", async () => {
            const event = ayna.client.getRoom(room)?.findEventById(said);
            if (!event) return false;
            await ayna.client.decryptEventIfNeeded(event);
            if (event.isBeingDecrypted()) await event.getDecryptionPromise();
            content = event.getContent();
            return !event.isDecryptionFailure() && event.getType() === "m.room.message";
        });
        assert.equal(content.body, "Gijäň rahat bolsun");
    });
}

try {
    await tell();
    story.end();
} catch {
    console.log(log.lines.slice(-120).join("\n"));
    process.exitCode = 1;
} finally {
    for (const p of people) p.stop();
    setTimeout(() => process.exit(), 500).unref();
}
