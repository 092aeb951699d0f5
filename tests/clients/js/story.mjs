// The story on matrix-js-sdk: `node story.mjs URL [--sliding] [ROOM_VERSION]`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Log, Person, VerificationPhase } from "./person.mjs";
import { Story, until } from "./steps.mjs";

const sliding = process.argv.includes("--sliding");
const [url, roomVersion] = process.argv.slice(2).filter((word) => word !== "--sliding");
const PASSWORD = "correct horse battery staple";
const LINES = ["Salam! Nähili sen?", "Gowy, sag bol. 🐎", "Ertir üçde duşuşaly.", "Bolýar 👍"];

const story = new Story("js");
const log = new Log("");
const tag = randomBytes(4).toString("hex");
const person = (name) => new Person(url, `${name}.${tag}`, PASSWORD, log, sliding);
const people = [];

/** Two clients verify by emoji: `asker` has sent a request, `answerer` receives it. */
async function verify(limit, asker, request, answerer) {
    const received = await until(limit, "the request to arrive", () => answerer.requests.shift());
    await received.accept();
    await until(limit, "the request to be ready", () => request.phase === VerificationPhase.Ready);
    const emoji = [Promise.withResolvers(), Promise.withResolvers()];
    const same = (mine, other) => async (seen) => {
        emoji[mine].resolve(seen);
        return (await emoji[other].promise) === seen;
    };
    const asking = asker.compare(request, true, same(0, 1));
    await until(limit, "the verification to start", () => received.verifier);
    const answering = answerer.compare(received, false, same(1, 0));
    await Promise.all([asking, answering]);
    const done = [request, received].map((r) => r.phase === VerificationPhase.Done);
    assert.deepEqual(done, [true, true]);
}

async function joinAll(limit, roomId, members, invited) {
    for (const guest of invited) {
        await until(limit, "the invitation", () => guest.isInvited(roomId));
        await guest.client.joinRoom(roomId);
    }
    for (const member of members) {
        await until(limit, `${member.name} to know the room`, () => member.isReadyIn(roomId, members));
    }
}

async function tell() {
    const [ayna, batyr] = [person("ayna"), person("batyr")];
    people.push(ayna, batyr);

    await story.step("two people register and sync", 15_000, async (limit) => {
        for (const p of people) await p.register();
        for (const p of people) await until(limit, "the first sync", () => p.isSynced());
    });

    await story.step("both bootstrap cross-signing, secret storage and key backup", 15_000, async (limit) => {
        for (const p of people) {
            await p.bootstrapCrossSigning();
            await p.bootstrapSecretStorage();
            assert.ok(await p.crypto.isCrossSigningReady());
            assert.ok(await p.crypto.isSecretStorageReady());
            await until(limit, "the backup to be on", () => p.crypto.getActiveSessionBackupVersion());
            assert.ok(await p.trustsDevice(p));
        }
    });

    let dm, room;
    const more = roomVersion ? { room_version: roomVersion } : {};

    await story.step("Ayna opens an encrypted direct chat and an encrypted group; Batyr joins", 10_000, async (limit) => {
        dm = await ayna.createGroup(undefined, [batyr], { is_direct: true, ...more });
        room = await ayna.createGroup("Maşgala", [batyr], more);
        await joinAll(limit, dm, people, [batyr]);
        await joinAll(limit, room, people, [batyr]);
    });

    await story.step("they compare emoji in the direct chat and verify each other", 15_000, async (limit) => {
        assert.ok(!(await ayna.hasVerified(batyr)) && !(await batyr.hasVerified(ayna)));
        const request = await ayna.crypto.requestVerificationDM(batyr.userId, dm);
        await verify(limit, ayna, request, batyr);
        await until(limit, "Ayna to trust Batyr", () => ayna.hasVerified(batyr));
        await until(limit, "Batyr to trust Ayna", () => batyr.hasVerified(ayna));
        assert.ok((await ayna.trustsDevice(batyr)) && (await batyr.trustsDevice(ayna)));
    });

    const said = new Map();

    await story.step("they talk in the group, and each reads every line", 15_000, async (limit) => {
        for (const [index, line] of [...LINES, ...LINES].entries()) {
            const content = { msgtype: "m.text", body: `${line} (${index})` };
            const eventId = await people[index % 2].say(room, content);
            said.set(eventId, content);
            for (const p of people) {
                const read = await until(limit, `${p.name} to read line ${index}`, () => p.read(room, eventId));
                assert.deepEqual({ ...read }, content);
            }
        }
    });

    const bytes = new Uint8Array(randomBytes(300_001));
    let fileEvent;

    await story.step("Batyr sends an encrypted file, Ayna opens it", 10_000, async (limit) => {
        fileEvent = await batyr.sendFile(room, "suratlar.zip", bytes);
        const content = await until(limit, "the file", () => ayna.read(room, fileEvent));
        assert.ok(Buffer.from(await ayna.fetchFile(content)).equals(bytes));
        said.set(fileEvent, content);
    });

    await story.step("Ayna's client has backed up every session", 15_000, async (limit) => {
        const sessions = (await ayna.crypto.exportRoomKeys()).length;
        assert.ok(sessions >= 2, `${sessions} sessions`);
        await until(limit, "the backup", async () => (await ayna.backedUp()) === sessions);
    });

    const lost = { deviceId: ayna.deviceId, userId: ayna.userId };

    await story.step("Ayna's device is lost: logged out, store deleted", 10_000, async (limit) => {
        await ayna.lose();
        people.shift();
        await until(limit, "Batyr to see it go", async () => {
            const devices = await batyr.crypto.getUserDeviceInfo([lost.userId]);
            return !devices.get(lost.userId)?.has(lost.deviceId);
        });
    });

    const phone = person("ayna");
    people.push(phone);

    await story.step("a new device logs in, and can read nothing old", 15_000, async (limit) => {
        await phone.logIn();
        await until(limit, "the first sync", () => phone.isSynced());
        assert.notEqual(phone.deviceId, lost.deviceId);
        const history = await phone.history(room);
        assert.deepEqual(history.map((event) => event.getId()), [...said.keys()]);
        for (const event of history) assert.ok(event.isDecryptionFailure(), event.getId());
        assert.ok(!(await batyr.trustsDevice(phone)));
    });

    await story.step("the recovery key gives it Ayna's identity", 15_000, async (limit) => {
        phone.recoveryKey = ayna.recoveryKey;
        await phone.bootstrapCrossSigning();
        assert.ok(await phone.crypto.isCrossSigningReady());
        await until(limit, "its own trust", () => phone.trustsDevice(phone));
        await until(limit, "Batyr to trust it", () => batyr.trustsDevice(phone));
        assert.ok(await phone.hasVerified(batyr));
        assert.ok(await batyr.hasVerified(phone));
    });

    await story.step("key backup gives back every message and the file", 15_000, async (limit) => {
        await phone.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        await phone.crypto.checkKeyBackupAndEnable();
        const { imported, total } = await phone.crypto.restoreKeyBackup();
        assert.equal(imported, total);
        assert.equal(total, await phone.backedUp());
        await checkHistory(limit, phone, room, said);
        assert.ok(Buffer.from(await phone.fetchFile(said.get(fileEvent))).equals(bytes));
    });

    const laptop = person("batyr");

    await story.step("Batyr's second device logs in and is verified by his first, by emoji", 20_000, async (limit) => {
        people.push(laptop);
        await laptop.logIn();
        await until(limit, "the first sync", () => laptop.isSynced());
        await until(limit, "both to know each other", () => knows(batyr, laptop));
        batyr.requests.length = 0;
        const request = await laptop.crypto.requestOwnUserVerification();
        await verify(limit, laptop, request, batyr);
        await until(limit, "the first to trust it", () => batyr.trustsDevice(laptop));
        await until(limit, "its own trust", () => laptop.trustsDevice(laptop));
        await until(limit, "Ayna to trust it", () => phone.trustsDevice(laptop));
    });

    await story.step("it gets the secrets from the first, and reads everything", 20_000, async (limit) => {
        await until(limit, "the cross-signing keys", async () => (await laptop.crypto.getCrossSigningStatus()).privateKeysCachedLocally.userSigningKey);
        await until(limit, "the backup key", () => laptop.crypto.getSessionBackupPrivateKey());
        await until(limit, "the backup to be on", () => laptop.crypto.getActiveSessionBackupVersion());
        await laptop.crypto.restoreKeyBackup();
        await checkHistory(limit, laptop, room, said);
    });

    await story.step("all three devices talk on", 10_000, async (limit) => {
        for (const [index, sender] of [phone, batyr, laptop].entries()) {
            const content = { msgtype: "m.text", body: `Ýene bile! (${index})` };
            const eventId = await sender.say(room, content);
            for (const p of people) {
                const read = await until(limit, `${p.name} to read ${index}`, () => p.read(room, eventId));
                assert.deepEqual({ ...read }, content);
            }
        }
    });
    story.end();
}

async function knows(one, other) {
    const devices = await one.crypto.getUserDeviceInfo([other.userId]);
    return devices.get(other.userId)?.has(other.deviceId);
}

/** All of `said` is in the room's history, in order, and every line can be read. */
async function checkHistory(limit, reader, room, said) {
    const history = await reader.history(room);
    assert.deepEqual(history.map((event) => event.getId()), [...said.keys()]);
    await until(limit, "everything to be decrypted", () => history.every((event) => !event.isDecryptionFailure()));
    for (const event of history) assert.deepEqual({ ...event.getContent() }, { ...said.get(event.getId()) });
}

try {
    await tell();
} catch {
    console.log(log.lines.slice(-120).join("\n"));
    process.exitCode = 1;
} finally {
    for (const p of people) p.stop();
    setTimeout(() => process.exit(), 500).unref();
}
