// Calls as far as they are events: seats, rings, keys. The media has its test in a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Calls } from "../../src/engine/calls/calls.ts";
import { OwnKey } from "../../src/engine/calls/own_key.ts";
import { DECLINE, identityOf, KEYS, keyContent, keyTold, MEMBER, memberContent, memberKey, RING, ringContent, ringUntil, seatOf } from "../../src/engine/calls/shapes.ts";
import type { Json, StoredEvent } from "../../src/engine/matrix.ts";
import { newRecord, takeState } from "../../src/engine/room_record.ts";
import type { World } from "../../src/engine/world.ts";

const [AYNA, BATYR, ROOM] = ["@ayna:x.test", "@batyr:x.test", "!room:x.test"];
const now = Date.now();

test("seats are taken, left and expire", () => {
    const content = memberContent({ deviceId: "D", transport: { type: "livekit" }, video: true });
    const raw = { event_id: "$1", sender: AYNA, origin_server_ts: now, content };
    const seat = seatOf(raw);
    assert.equal(seat && identityOf(seat), `${AYNA}:D`);
    assert.equal(seat?.video, true);
    for (const bad of [{}, { ...content, application: "m.other" }, { ...content, device_id: 7 }]) assert.equal(seatOf({ ...raw, content: bad }), undefined);
    const room = newRecord(ROOM);
    const event = { ...raw, type: MEMBER, state_key: memberKey(AYNA, "D") };
    assert.ok(takeState(room, event));
    assert.equal(Object.keys(room.calls ?? {}).length, 1);
    takeState(room, { ...event, content: {} });
    assert.equal(Object.keys(room.calls ?? {}).length, 0);
});

test("a ring has an end, whatever its sender's clock says", () => {
    assert.equal(ringUntil({ ...ringContent("$m", true, now), lifetime: 5_000 }, now), now + 5_000);
    assert.equal(ringUntil(ringContent("$m", true, now + 9e9), now), now + 30_000);
    assert.equal(ringUntil({ ...ringContent("$m", true, now), lifetime: 1e12 }, now), now + 120_000);
    assert.equal(ringUntil({ notification_type: "notification" }, now), undefined);
});

test("keys: who comes gets it, who leaves cannot use the next", () => {
    const own = new OwnKey(0);
    const first = own.key;
    assert.equal(own.others(new Set(), 0), undefined);
    assert.deepEqual(own.others(new Set(["b"]), 60_000), { index: 0, key: first, to: ["b"] }); // nobody else knew it
    assert.equal(own.others(new Set(["b"]), 60_001), undefined);
    const later = own.others(new Set(["b", "c"]), 120_000);
    assert.equal(later?.index, 1);
    assert.notEqual(later?.key, first);
    assert.deepEqual(later?.to, ["b", "c"]);
    assert.ok((later?.useAfter ?? 0) > 0);
    const bunch = own.others(new Set(["b", "c", "d"]), 121_000);
    assert.deepEqual(bunch, { index: 1, key: later?.key, to: ["d"] }); // young still
    const left = own.others(new Set(["c", "d"]), 122_000);
    assert.equal(left?.index, 2);
    assert.deepEqual(left?.to, ["c", "d"]);
    own.missed(["d"]);
    assert.deepEqual(own.others(new Set(["c", "d"]), 122_500)?.to, ["d"]);
});

test("a key message is read only when it is whole", () => {
    const good = keyContent(ROOM, "D", 3, "AAAAAAAAAAAAAAAAAAAAAA");
    assert.deepEqual(keyTold(good), { roomId: ROOM, deviceId: "D", index: 3, key: "AAAAAAAAAAAAAAAAAAAAAA" });
    for (const keys of [{ index: 256, key: "A" }, { index: -1, key: "A" }, { index: 0.5, key: "A" }, { index: 0, key: "A".repeat(999) }, [], { index: 0 }]) {
        assert.equal(keyTold({ ...good, keys }), undefined);
    }
});

/** A session of Ayna's with one direct chat, in which everything is noted. */
function scene() {
    const told: [string, Record<string, any>][] = [];
    const said: [string, Json][] = [];
    const whispered: [string[], Json][] = [];
    const asked: [string, string, unknown][] = [];
    const room = newRecord(ROOM);
    Object.assign(room, { membership: "join", dmUser: BATYR });
    const rooms = new Map([[ROOM, room]]);
    const http = {
        base: "http://x.test",
        ask: async (method: string, path: string, more: { body?: unknown } = {}) => {
            asked.push([method, path, more.body]);
            if (path.endsWith("transports")) return { rtc_transports: [{ type: "livekit", livekit_service_url: "http://x.test/_kerwen/calls" }] };
            if (path.includes("delay=")) return { delay_id: "later" };
            if (path.endsWith("sfu/get")) return { url: "ws://x.test", jwt: "j" };
            return { event_id: "$own" };
        },
    };
    const world = {
        me: AYNA, deviceId: "A1", rooms, ignored: new Set(), http,
        emit: (name: string, data: Record<string, any>) => told.push([name, data]),
        summary: () => ({ kind: "dm" }),
        change: async (_: string, deed: (one: typeof room) => void) => deed(room),
    } as unknown as World;
    const calls = new Calls(world, {
        whisper: async (to, type, content) => {
            assert.equal(type, KEYS);
            whispered.push([to.map(identityOf), content]);
            return to.map(identityOf);
        },
        say: async (_, type, content) => (said.push([type, content]), "txn"),
        name: async () => "Batyr",
        devicesOf: async () => [{ deviceId: "B1", current: false, verified: true }],
    });
    const seat = (userId: string, deviceId: string, on: boolean) => {
        const content = on ? memberContent({ deviceId, transport: {}, video: true }) : {};
        takeState(room, { event_id: `$${userId}${deviceId}`, type: MEMBER, sender: userId, origin_server_ts: Date.now(), content, state_key: memberKey(userId, deviceId) });
        return calls.applied([ROOM]);
    };
    let order = 0;
    const event = (type: string, sender: string, content: Json, more: Partial<StoredEvent> = {}): StoredEvent =>
        ({ roomId: ROOM, order: ++order, id: `$e${order}`, type, sender, ts: Date.now(), content, ...more });
    const names = () => told.map(([name, data]) => (name === "ring" ? `ring ${data["over"] ?? "on"}` : name));
    return { told, said, whispered, asked, calls, seat, event, names, room };
}

test("it rings until one answers elsewhere, declines, or it is taken back", async () => {
    for (const [how, outcome] of [["answer", "answered"], ["decline", "declined"], ["back", "missed"]] as const) {
        const { calls, seat, event, names, room } = scene();
        await seat(BATYR, "B1", true);
        const ring = event(RING, BATYR, ringContent("$m", true, Date.now()));
        await calls.saw([ring]);
        await calls.saw([ring]);
        assert.deepEqual(names().filter((name) => name.startsWith("ring")), ["ring on"]);
        assert.equal((await calls.rings())[0]?.senderName, "Batyr");
        if (how === "answer") await seat(AYNA, "A2", true);
        if (how === "decline") await calls.saw([event(DECLINE, AYNA, { "m.relates_to": { rel_type: "m.reference", event_id: ring.id } })]);
        if (how === "back") await seat(BATYR, "B1", false);
        assert.equal(names().findLast((name) => name.startsWith("ring")), `ring ${outcome}`);
        assert.deepEqual(await calls.rings(), []);
        assert.equal(room.callLog?.at(-1)?.outcome, outcome);
        calls.stop();
    }
});

test("what rang while one was away is a missed call, once", async () => {
    const { calls, event, names, room } = scene();
    const old = event(RING, BATYR, ringContent("$m", false, now - 600_000), { ts: now - 600_000 });
    await calls.saw([old]);
    await calls.saw([old]);
    assert.deepEqual(names(), ["callLogged"]);
    assert.deepEqual(room.callLog?.map((one) => [one.outcome, one.video]), [["missed", false]]);
});

test("joining lays the leave by first, rings, and gives the key to who is there", async () => {
    const { calls, seat, said, whispered, asked, told } = scene();
    const pass = await calls.join(ROOM, { video: true, ring: true });
    const puts = asked.filter(([method]) => method === "PUT").map(([, path]) => path.includes("delay="));
    assert.deepEqual(puts, [true, false]);
    assert.equal((asked.find(([, path]) => path.endsWith("sfu/get"))?.[2] as Json)["delay_id"], "later");
    assert.deepEqual(said.map(([type]) => type), [RING]);
    assert.equal(pass.own.index, 0);
    await seat(AYNA, "A1", true);
    await seat(BATYR, "B1", true);
    await settle();
    assert.deepEqual(whispered.map(([to]) => to), [[`${BATYR}:B1`]]);
    // a key counts only for the device that sealed it
    calls.keyCame(BATYR, "B2", keyContent(ROOM, "B1", 0, "AAAA"));
    calls.keyCame(BATYR, undefined, keyContent(ROOM, "B1", 0, "AAAA"));
    assert.equal(told.filter(([name]) => name === "callKey").length, 0);
    calls.keyCame(BATYR, "B1", keyContent(ROOM, "B1", 0, "AAAA"));
    assert.equal(told.filter(([name]) => name === "callKey").length, 1);
    await seat("@jeren:x.test", "J1", true);
    await seat(BATYR, "B1", false);
    await settle();
    const last = whispered.at(-1)!;
    assert.deepEqual(last[0], ["@jeren:x.test:J1"]);
    assert.notDeepEqual((last[1]["keys"] as Json)["key"], pass.own.key); // who left has not got it
    await calls.leave();
    assert.deepEqual(asked.at(-1)?.[2], {});
});

const settle = () => new Promise((done) => setImmediate(done));
