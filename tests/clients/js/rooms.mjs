// What matrix-js-sdk asks of rooms and people beside talking: `node rooms.mjs URL`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Log, Person } from "./person.mjs";
import { Story, until } from "./steps.mjs";

const [url] = process.argv.slice(2);
const story = new Story("rooms");
const log = new Log("");
const tag = randomBytes(4).toString("hex");
const person = (name) => new Person(url, `${name}.${tag}`, "correct horse battery staple", log, true);
const people = [];
const refusedAs = (errcode) => (error) => error.errcode === errcode;

async function tell() {
    const [ayna, batyr] = [person("ayna"), person("batyr")];
    people.push(ayna, batyr);
    let room;

    await story.step("two people register and sync", 20_000, async (limit) => {
        for (const p of people) await p.register();
        for (const p of people) await until(limit, "the first sync", () => p.isSynced());
    });

    await story.step("Batyr reads what a room is before he joins", 10_000, async (limit) => {
        const made = await ayna.client.createRoom({ preset: "public_chat", name: "Bag", topic: "gül" });
        room = made.room_id;
        const summary = await batyr.client.getRoomSummary(room);
        assert.deepEqual([summary.room_id, summary.name, summary.topic], [room, "Bag", "gül"]);
        assert.deepEqual([summary.num_joined_members, summary.membership], [1, "leave"]);
        await batyr.client.joinRoom(room);
        await until(limit, "the room", () => batyr.hasJoined(room));
        assert.equal((await batyr.client.getRoomSummary(room)).membership, "join");
        const secret = await ayna.client.createRoom({ preset: "private_chat" });
        await assert.rejects(batyr.client.getRoomSummary(secret.room_id), refusedAs("M_NOT_FOUND"));
    });

    await story.step("they see which rooms they share", 10_000, async () => {
        assert.deepEqual(await ayna.client._unstable_getSharedRooms(batyr.userId), [room]);
    });

    await story.step("Batyr reports an event and the room", 10_000, async () => {
        const { event_id: id } = await ayna.client.sendEvent(room, "m.room.message", { msgtype: "m.text", body: "x" });
        await batyr.client.reportEvent(room, id, -100, "spam");
        await batyr.client.reportRoom(room, "spam");
        await assert.rejects(batyr.client.reportEvent(room, "$nothing", -100, "x"), refusedAs("M_NOT_FOUND"));
    });

    await story.step("who blocks invitations gets none", 15_000, async (limit) => {
        const set = (content) => batyr.client.http.authedRequest(
            "PUT", `/user/${encodeURIComponent(batyr.userId)}/account_data/m.invite_permission_config`, undefined, content);
        await set({ default_action: "block" });
        const made = await ayna.client.createRoom({ preset: "private_chat", name: "Öý" });
        await assert.rejects(ayna.client.invite(made.room_id, batyr.userId), refusedAs("M_INVITE_BLOCKED"));
        await set({});
        await ayna.client.invite(made.room_id, batyr.userId);
        await until(limit, "the invitation", () => batyr.isInvited(made.room_id));
    });

    await story.step("a room's image pack and policy rule come by sliding sync", 15_000, async (limit) => {
        const pack = { pack: { display_name: "Güller" }, images: { bagul: { url: "mxc://localhost/abc" } } };
        const rule = { entity: "@spam:*", recommendation: "m.ban", reason: "spam" };
        await ayna.client.sendStateEvent(room, "m.room.image_pack", pack, "gul");
        await ayna.client.sendStateEvent(room, "m.policy.rule.user", rule, "spam");
        // of state that it did not ask for, a client learns by the timeline
        const said = () => batyr.client.getRoom(room).getLiveTimeline().getEvents();
        const state = (type, key) => said().find((e) => e.getType() === type && e.getStateKey() === key)?.getContent();
        await until(limit, "the pack", () => state("m.room.image_pack", "gul"));
        await until(limit, "the rule", () => state("m.policy.rule.user", "spam"));
        assert.deepEqual(state("m.room.image_pack", "gul"), pack);
        assert.deepEqual(state("m.policy.rule.user", "spam"), rule);
    });

    await story.step("presence is set, and told to nobody unless the operator wants it", 10_000, async () => {
        await ayna.client.setPresence({ presence: "unavailable", status_msg: "çaý" });
        assert.equal((await ayna.client.getPresence(ayna.userId)).presence, "unavailable");
        assert.deepEqual(await batyr.client.getPresence(ayna.userId), { presence: "offline" });
    });
    story.end();
}

try {
    await tell();
} catch {
    console.log(log.lines.slice(-60).join("\n"));
    process.exitCode = 1;
} finally {
    for (const p of people) p.stop();
    setTimeout(() => process.exit(), 500).unref();
}
