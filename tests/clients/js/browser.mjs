// A browser without a screen, for the account's pages: cookies, redirections, forms; no scripts.

import assert from "node:assert/strict";

const plain = (text) =>
    text.replace(/&(amp|quot|lt|gt|#x27);/g, (_, name) => ({ "amp": "&", "quot": '"', "lt": "<", "gt": ">", "#x27": "'" })[name]);

const attribute = (tag, name) => {
    const found = new RegExp(`\\s${name}="([^"]*)"`).exec(tag);
    return found ? plain(found[1]) : undefined;
};

export class Browser {
    #cookies = new Map();

    /** Opens a page; a redirection to another place ends the walk, and is `left`. */
    async go(url, fields) {
        for (let hop = 0; hop < 8; hop++) {
            const headers = { cookie: [...this.#cookies].map((pair) => pair.join("=")).join("; ") };
            if (fields) headers.origin = new URL(url).origin;
            const body = fields && new URLSearchParams(fields);
            const answer = await fetch(url, { method: fields ? "POST" : "GET", headers, body, redirect: "manual" });
            for (const cookie of answer.headers.getSetCookie()) {
                const [name, value] = cookie.split(";")[0].split("=");
                this.#cookies.set(name, value);
            }
            const to = answer.headers.get("location");
            if (answer.status !== 303) {
                Object.assign(this, { url, status: answer.status, html: await answer.text(), left: undefined });
                return this;
            }
            if (!to.startsWith("/")) {
                this.left = new URL(to);
                return this;
            }
            [url, fields] = [new URL(to, url).href, undefined];
        }
        assert.fail(`a circle: ${url}`);
    }

    /** Sends the form of this page that has a field or a button of a name. */
    async send(has, fields) {
        for (const [form] of this.html.matchAll(/<form.*?<\/form>/gs)) {
            const tags = [...form.matchAll(/<(?:input|button)[^>]*>/g)].map((found) => found[0]);
            if (!tags.some((tag) => attribute(tag, "name") === has)) continue;
            const given = tags
                .filter((tag) => tag.startsWith("<input") && attribute(tag, "type") === "hidden")
                .map((tag) => [attribute(tag, "name"), attribute(tag, "value")]);
            const to = new URL(attribute(form, "action"), this.url).href;
            return this.go(to, { ...Object.fromEntries(given), ...fields });
        }
        assert.fail(`no form with ${has} on ${this.url}: ${this.html.replace(/<style.*<\/style>/s, "")}`);
    }
}
