// Steps of a story: each has a name, a time limit, and prints one line.

import assert from "node:assert/strict";

const POLL_MS = 25;

export class Story {
    constructor(name) {
        this.name = name;
        this.done = 0;
        this.begun = Date.now();
    }

    /** Run `deed` within `limitMs`; rejects when it fails or takes longer. */
    async step(title, limitMs, deed) {
        const number = String(this.done + 1).padStart(2, "0");
        const begun = Date.now();
        const line = (outcome, text) => {
            const spent = ((Date.now() - begun) / 1000).toFixed(2).padStart(6);
            console.log(`${this.name} ${number} ${outcome.padEnd(6)} ${spent}s  ${text}`);
        };
        const limit = { over: false, waitingFor: "" };
        let timer;
        const late = new Promise((_, reject) => {
            timer = setTimeout(() => {
                limit.over = true;
                reject(new Error(`took over ${limitMs} ms, waiting for ${limit.waitingFor || "an answer"}`));
            }, limitMs);
        });
        try {
            await Promise.race([deed(limit), late]);
        } catch (error) {
            line("FAILED", `${title}: ${error.stack ?? error}`);
            throw error;
        } finally {
            clearTimeout(timer);
        }
        this.done += 1;
        line("ok", title);
    }

    end() {
        console.log(`${this.name} told: ${this.done} steps in ${(Date.now() - this.begun) / 1000} s`);
    }
}

/** Ask until the answer is true, and give it; ends with the step that `limit` belongs to. */
export async function until(limit, what, question) {
    for (;;) {
        const answer = await question();
        if (answer) return answer;
        assert.ok(!limit.over, `too late: ${what}`);
        limit.waitingFor = what;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
}
