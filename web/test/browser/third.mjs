// A third person, on matrix-js-sdk in Node: `third.mjs URL NAME PASSWORD`. Says its id, takes the
// first invitation, waits for the text on its command line, answers, ends.
import { Log, Person } from "../../../tests/clients/js/person.mjs";

const [url, name, password, awaited, answer] = process.argv.slice(2);
const log = new Log("");
const person = new Person(url, name, password, log);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(what, found) {
  for (let i = 0; i < 600; i++) {
    const value = await found();
    if (value) return value;
    await pause(100);
  }
  throw new Error(`third: waited in vain for ${what}`);
}

try {
  await person.register();
  await until("the first sync", () => person.isSynced());
  console.log(`id ${person.userId}`);
  const room = await until("an invitation", () => person.client.getRooms().find((one) => one.getMyMembership() === "invite"));
  await person.client.joinRoom(room.roomId);
  await until("the room", () => person.hasJoined(room.roomId));
  console.log("joined");
  await until("the message", () =>
    person.client.getRoom(room.roomId).getLiveTimeline().getEvents().some((e) => !e.isDecryptionFailure() && String(e.getContent().body).includes(awaited)),
  );
  await person.say(room.roomId, { msgtype: "m.text", body: answer });
  console.log("answered");
} catch (error) {
  console.log(String(error.stack ?? error));
  console.log(log.lines.slice(-20).join("\n"));
  process.exit(1);
}
process.exit(0);
