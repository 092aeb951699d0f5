// A person on matrix-js-sdk who answers: `node echo.mjs URL NAME PASSWORD`.
//
// Says "ready USER_ID" when registered, joins the first room it is invited to, answers each text
// with "js read: TEXT", sends each file back encrypted anew, and ends at the text "end".

import { Log, Person } from "./person.mjs";
import { Story, until } from "./steps.mjs";

const [url, name, password] = process.argv.slice(2);
const LIMIT_MS = 50_000;
const log = new Log("");
const person = new Person(url, name, password, log);

async function answer(limit, roomId) {
    const answered = new Set();
    const next = () => {
        const events = person.client.getRoom(roomId).getLiveTimeline().getEvents();
        return events.find((e) => e.isEncrypted() && e.getSender() !== person.userId && !answered.has(e.getId()));
    };
    for (;;) {
        const eventId = (await until(limit, "the next message", next)).getId();
        const content = await until(limit, `reading ${eventId}`, () => person.read(roomId, eventId));
        answered.add(eventId);
        if (content.body === "end") return;
        if (content.msgtype === "m.file") {
            await person.sendFile(roomId, content.body, await person.fetchFile(content));
        } else {
            await person.say(roomId, { msgtype: "m.text", body: `js read: ${content.body}` });
        }
    }
}

try {
    await new Story("echo").step("joined, read and answered", LIMIT_MS, async (limit) => {
        await person.register();
        await until(limit, "the first sync", () => person.isSynced());
        console.log(`ready ${person.userId}`);
        const room = await until(limit, "an invitation", () => person.client.getRooms().find((r) => person.isInvited(r.roomId)));
        await person.client.joinRoom(room.roomId);
        await until(limit, "the room", () => person.hasJoined(room.roomId));
        await answer(limit, room.roomId);
    });
} catch {
    console.log(log.lines.slice(-120).join("\n"));
    process.exitCode = 1;
} finally {
    person.stop();
    setTimeout(() => process.exit(), 500).unref();
}
