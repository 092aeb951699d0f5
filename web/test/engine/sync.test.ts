// The store and timelines against a scripted server: gaps, overlaps, forgotten positions, kills.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Core } from "../../src/engine/core";
import { Store } from "../../src/engine/store";
import { FakeServer, ROOM } from "./fake_server";
import { until, View } from "./person";

let count = 0;

after(() => void setTimeout(() => process.exit(), 300).unref()); // what a failed test left open

async function open(server: FakeServer, name: string): Promise<Core> {
    const core = await Core.start({ base: "http://x", name, fetch: server.fetch, removeCrypto: async () => undefined, load: () => new Promise(() => undefined) });
    if ((await core.session.state()).kind !== "in") await core.session.login({ name: "me", password: "p", deviceName: "d" });
    return core;
}

async function caughtUp(core: Core, server: FakeServer): Promise<void> {
    const last = server.events.at(-1)?.event_id;
    await until("the newest event", async () => {
        const view = await core.timeline.open({ roomId: ROOM }).catch(() => undefined);
        if (!view) return false;
        await core.timeline.close(view.view);
        return view.items.at(-1)?.eventId === last;
    });
}

const bodies = (server: FakeServer): string[] =>
    server.events.flatMap((event) => (event.type === "m.room.message" ? [String(event.content["body"])] : []));

/** Everything, scrolled up to the beginning. */
async function whole(core: Core): Promise<string[]> {
    const view = await View.open(core, ROOM);
    for (let i = 0; i < 100 && view.before; i++) await core.timeline.loadBefore(view.state.view, 30);
    await core.timeline.close(view.state.view);
    return view.texts;
}

test("whatever is missed, the whole timeline comes in order, each once", async () => {
    let seed = 7;
    const random = (n: number): number => (seed = (seed * 48271) % 2147483647) % n;
    for (let round = 0; round < 6; round++) {
        const server = new FakeServer();
        const name = `gaps-${count++}`;
        for (let i = random(60); i > 0; i--) server.say(`köne ${i}`);
        let core = await open(server, name);
        for (let step = 0; step < 12; step++) {
            const burst = [0, 1, 2, 7, 40][random(5)] ?? 0;
            for (let i = 0; i < burst; i++) server.say(`${step}.${i}`);
            const deed = random(6);
            if (deed === 0) server.forgetPos = true;
            if (deed === 1) {
                core.close();
                for (let i = random(30); i > 0; i--) server.say(`ýapyk ${step}.${i}`);
                core = await open(server, name);
            }
            if (deed === 2) await whole(core).catch(() => undefined);
            if (deed === 3) await caughtUp(core, server);
        }
        server.say("soňky");
        await caughtUp(core, server);
        assert.deepEqual(await whole(core), bodies(server), `round ${round}`);
        core.close();
    }
});

test("an open view follows by splices; a reply, an edit and a redaction change their lines", async () => {
    const server = new FakeServer();
    const first = server.say("bir");
    const core = await open(server, `view-${count++}`);
    await caughtUp(core, server);
    const view = await View.open(core, ROOM);
    await until("it", () => view.find("bir"));
    const relates = (type: string): object => ({ "m.relates_to": { rel_type: type, event_id: first.event_id } });
    server.say("* iki", { content: { msgtype: "m.text", body: "* iki", "m.new_content": { msgtype: "m.text", body: "iki" }, ...relates("m.replace") } });
    await until("the edit", () => view.find("iki")?.edited);
    server.say("*", { sender: "@thief:x", content: { msgtype: "m.text", body: "* x", "m.new_content": { msgtype: "m.text", body: "ogurlyk" }, ...relates("m.replace") } });
    const reaction = server.add({ type: "m.reaction", content: { "m.relates_to": { rel_type: "m.annotation", event_id: first.event_id, key: "👍" } } });
    await until("the reaction", () => view.find("iki")?.reactions[0]?.key === "👍");
    assert.ok(!view.find("ogurlyk"), "nobody edits what another one said");
    server.add({ type: "m.room.redaction", redacts: reaction.event_id, content: { redacts: reaction.event_id } });
    await until("it gone", () => view.find("iki")?.reactions.length === 0);
    server.add({ type: "m.room.redaction", redacts: first.event_id, content: { redacts: first.event_id } });
    await until("the line gone", () => view.items.some((item) => item.eventId === first.event_id && item.content.kind === "redacted"));
    assert.equal((await core.search.messages({ text: "iki" })).hits.length, 0);
    core.close();
});

test("a message has one line from the key press to the server's event", async () => {
    const server = new FakeServer();
    server.say("salam");
    const core = await open(server, `echo-${count++}`);
    await caughtUp(core, server);
    const view = await View.open(core, ROOM);
    const seen = new Set<string>();
    core.on("timeline", () => {
        const own = view.items.filter((item) => item.content.kind === "text" && item.content.body === "menden");
        assert.ok(own.length <= 1, "never twice");
        for (const item of own) seen.add(item.key);
    });
    await core.composer.text({ roomId: ROOM }, "menden");
    await until("sent", () => view.find("menden")?.eventId && view.find("menden")?.status === "sent");
    await until("the outbox empty", async () => (await core.outbox.list()).length === 0);
    assert.equal(seen.size, 1);
    assert.equal([...server.sent].length, 1);
    core.close();
});

test("a refused message fails, can be tried again and taken back; the next ones go on", async () => {
    const server = new FakeServer();
    server.say("salam");
    let refuse = true;
    const real = server.fetch;
    const name = `fail-${count++}`;
    const core = await Core.start({
        base: "http://x", name, removeCrypto: async () => undefined, load: () => new Promise(() => undefined),
        fetch: async (url, init) => {
            if (refuse && url.includes("/send/") && String(init.body).includes("ýaman")) return new Response('{"errcode":"M_FORBIDDEN","error":"no"}', { status: 403 });
            return real(url, init);
        },
    });
    await core.session.login({ name: "me", password: "p", deviceName: "d" });
    await caughtUp(core, server);
    const view = await View.open(core, ROOM);
    const bad = await core.composer.text({ roomId: ROOM }, "ýaman");
    await core.composer.text({ roomId: ROOM }, "gowy");
    await until("the good one", () => bodies(server).includes("gowy"));
    await until("failed", () => view.find("ýaman")?.status === "failed");
    assert.equal(view.find("ýaman")?.fault?.code, "forbidden");
    assert.equal((await core.rooms.get(ROOM))?.failed, 1);
    refuse = false;
    await core.outbox.retry(bad);
    await until("sent", () => bodies(server).includes("ýaman"));
    refuse = true;
    const other = await core.composer.text({ roomId: ROOM }, "ýaman 2");
    await until("failed", () => view.find("ýaman 2")?.status === "failed");
    await core.outbox.cancel(other);
    await until("gone", () => !view.find("ýaman 2"));
    await assert.rejects(core.outbox.cancel(other), { name: "Fault" });
    core.close();
});

test("a soft logout keeps everything; a hard one leaves nothing", async () => {
    const server = new FakeServer();
    server.say("gizlin");
    let token: "good" | "soft" | "hard" = "good";
    const real = server.fetch;
    const name = `out-${count++}`;
    const core = await Core.start({
        base: "http://x", name, removeCrypto: async () => undefined, load: () => new Promise(() => undefined),
        fetch: async (url, init) => {
            if (token !== "good" && !url.includes("/login")) return new Response(JSON.stringify({ errcode: "M_UNKNOWN_TOKEN", error: "", soft_logout: token === "soft" }), { status: 401 });
            return real(url, init);
        },
    });
    await core.session.login({ name: "me", password: "p", deviceName: "d" });
    await caughtUp(core, server);
    await core.composer.setDraft(ROOM, { text: "garalama" });
    token = "soft";
    server.say("oýar");
    await until("soft", async () => (await core.session.state()).kind === "soft-out", 30_000);
    assert.throws(() => core.rooms, { name: "Fault" });
    token = "good";
    await core.session.relogin("p");
    await caughtUp(core, server);
    assert.equal((await core.composer.draft(ROOM))?.text, "garalama");
    assert.equal((await core.rooms.get(ROOM))?.draft, "garalama");
    token = "hard";
    server.say("oýar");
    await until("out", async () => (await core.session.state()).kind === "out", 30_000);
    core.close();
    const left = await Store.open(name);
    for (const store of ["meta", "rooms", "events", "members", "words", "drafts"] as const) assert.deepEqual(await left.all(store), [], store);
    left.close();
});

test("disappearing messages go by this device's clock", async () => {
    const server = new FakeServer();
    server.state("com.beeper.disappearing_timer", { type: "after_send", timer: 60_000 });
    server.say("köne", { origin_server_ts: Date.now() - 120_000 });
    server.say("täze", { origin_server_ts: Date.now() });
    const name = `gone-${count++}`;
    let core = await open(server, name);
    await caughtUp(core, server);
    await whole(core);
    core.close();
    core = await open(server, name); // the sweep runs at the start
    const view = await View.open(core, ROOM);
    await until("it went", () => view.texts.join() === "täze");
    core.close();
});
