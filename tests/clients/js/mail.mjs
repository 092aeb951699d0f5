// Mail by jmap-jam: `node mail.mjs URL TOKEN ADDRESS`. It lists, reads, moves, searches, drafts,
// sends to itself, and hears of it.

import assert from "node:assert/strict";
import JamClient from "jmap-jam";

const [url, bearerToken, address] = process.argv.slice(2);
const jam = new JamClient({ sessionUrl: `${url}/.well-known/jmap`, bearerToken });
const accountId = await jam.getPrimaryAccount();
const [boxes] = await jam.api.Mailbox.get({ accountId, ids: null });
const box = Object.fromEntries(boxes.list.map((one) => [one.role, one.id]));
assert.ok(box.inbox && box.drafts && box.sent && box.trash);

// a push stream, over fetch: EventSource of browsers sends no Authorization field
const session = await jam.session;
const events = session.eventSourceUrl.replace("{types}", "Email").replace("{closeafter}", "no").replace("{ping}", "0");
const stream = await fetch(events, { headers: { authorization: `Bearer ${bearerToken}` } });
const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
const heard = (async () => {
    let count = 0;
    for (;;) {
        const { value } = await reader.read();
        count += (value.match(/event: state/g) ?? []).length;
        if (count > 1) return count; // the first tells the state as it was
    }
})();

// a draft with a file
const file = await jam.uploadBlob(accountId, new Blob(["hello file"], { type: "text/plain" }));
const [identities] = await jam.api.Identity.get({ accountId, ids: null });
const [made] = await jam.api.Email.set({
    accountId,
    create: {
        draft: {
            mailboxIds: { [box.drafts]: true },
            keywords: { $draft: true },
            from: [{ name: "Jam", email: address }],
            to: [{ email: address }],
            subject: "Marmalade",
            bodyValues: { text: { value: "apricots and quinces" } },
            textBody: [{ partId: "text", type: "text/plain" }],
            attachments: [{ blobId: file.blobId, type: "text/plain", name: "a.txt", disposition: "attachment" }],
        },
    },
});
const emailId = made.created.draft.id;

// sent
const [sent] = await jam.api.EmailSubmission.set({
    accountId,
    create: { send: { identityId: identities.list[0].id, emailId } },
    onSuccessUpdateEmail: { "#send": { mailboxIds: { [box.sent]: true }, "keywords/$draft": null } },
});
assert.ok((Array.isArray(sent) ? sent[0] : sent).created.send.id);
assert.ok((await heard) > 1);
await reader.cancel();

// listed and read, with references
const [{ emails }] = await jam.requestMany((t) => {
    const ids = t.Email.query({ accountId, filter: { inMailbox: box.inbox, text: "quinces" } });
    const emails = t.Email.get({
        accountId,
        ids: ids.$ref("/ids"),
        properties: ["subject", "bodyValues", "textBody", "attachments", "mailboxIds"],
        fetchTextBodyValues: true,
    });
    return { ids, emails };
});
assert.equal(emails.list.length, 1);
const [got] = emails.list;
assert.equal(got.subject, "Marmalade");
assert.match(got.bodyValues[got.textBody[0].partId].value, /apricots/);
const blob = await jam.downloadBlob({ accountId, blobId: got.attachments[0].blobId, mimeType: "text/plain", fileName: "a.txt" });
assert.equal(await blob.text(), "hello file");

// moved
await jam.api.Email.set({ accountId, update: { [got.id]: { mailboxIds: { [box.trash]: true }, "keywords/$seen": true } } });
const [after] = await jam.api.Email.get({ accountId, ids: [got.id], properties: ["mailboxIds", "keywords"] });
assert.deepEqual(after.list[0].mailboxIds, { [box.trash]: true });
assert.deepEqual(after.list[0].keywords, { $seen: true });
console.log("mail told");
process.exit(0);
