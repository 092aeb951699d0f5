// An account with a second factor, on matrix-js-sdk: `node second_factor.mjs URL`.
//
// The library's interactive authentication does not know the second stage: it opens the stage's
// own page, as clients do, and polls.

import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { Browser } from "./browser.mjs";
import { Log, Person } from "./person.mjs";
import { Story, until } from "./steps.mjs";

const { InteractiveAuth } = await import("matrix-js-sdk/lib/interactive-auth.js");

const url = process.argv[2];
const PASSWORD = "correct horse battery staple";
const STAGE = "org.kerwen.second_factor";
const OWN = { prefix: "/_kerwen/account" };
const story = new Story("js");
const log = new Log("");
const ayna = new Person(url, `ayna.${randomBytes(4).toString("hex")}`, PASSWORD, log);
const people = [ayna];

/** RFC 6238, written once more. */
class App {
    #step = 0;

    constructor(secret) {
        const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        const bits = [...secret].map((c) => letters.indexOf(c).toString(2).padStart(5, "0")).join("");
        this.secret = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
    }

    /** A code that was not used yet. */
    code() {
        this.#step = Math.max(this.#step + 1, Math.floor(Date.now() / 30_000) - 1);
        const counter = Buffer.alloc(8);
        counter.writeBigUInt64BE(BigInt(this.#step));
        const mac = createHmac("sha1", this.secret).update(counter).digest();
        const at = mac[19] & 15;
        return String((mac.readUInt32BE(at) & 0x7fffffff) % 1e6).padStart(6, "0");
    }
}

const password = () => ({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: ayna.userId },
    password: PASSWORD,
});

async function tell() {
    let app, codes;

    await story.step("Ayna enrols an authenticator app", 15_000, async (limit) => {
        await ayna.register();
        await until(limit, "the first sync", () => ayna.isSynced());
        const post = (path, body) => ayna.client.http.authedRequest("POST", path, undefined, body, OWN);
        const begun = await post("/second_factor/totp", { name: "phone", auth: password() });
        app = new App(begun.secret);
        const confirm = { enrolment: begun.enrolment, code: app.code() };
        codes = (await post("/second_factor/confirm", confirm)).recovery_codes;
        assert.equal(codes.length, 10);
    });

    await story.step("the password alone is refused, with the code behind it it is not", 10_000, async () => {
        const other = new Person(url, ayna.name, PASSWORD, log);
        await assert.rejects(other.logIn(), { errcode: "M_FORBIDDEN", message: /app password/ });
        other.password = `${PASSWORD} ${app.code()}`;
        people.push(other);
        await other.logIn();
    });

    await story.step("she deletes a device: the stage's own page asks for the code", 20_000, async (limit) => {
        const browser = new Browser();
        const stages = [];
        const auth = new InteractiveAuth({
            matrixClient: ayna.client,
            doRequest: (dict) => ayna.client.deleteMultipleDevices(["GONE"], dict ?? undefined),
            requestEmailToken: () => assert.fail("no mail is asked for"),
            stateUpdated: (stage) => {
                if (stages.at(-1) === stage) return;
                stages.push(stage);
                if (stage === "m.login.password") auth.submitAuthDict(password());
            },
        });
        const done = auth.attemptAuth();
        await until(limit, "the second stage", () => stages.at(-1) === STAGE);
        const place = ayna.client.getFallbackAuthUrl(STAGE, auth.getSessionId());
        await browser.go(place);
        await browser.send("code", { code: codes[0] });
        assert.match(browser.html, /data-auth-done/);
        await auth.poll(); // as a client does when the page says authDone
        assert.deepEqual(await done, {});
        assert.deepEqual(stages, ["m.login.password", STAGE]);
    });
}

try {
    await tell();
    story.end();
} catch {
    console.log(log.lines.slice(-60).join("\n"));
    process.exitCode = 1;
} finally {
    for (const p of people) p.stop();
    setTimeout(() => process.exit(), 500).unref();
}
