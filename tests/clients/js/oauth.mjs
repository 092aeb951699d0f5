// Sign-up, refresh, log-in by QR code and log-out through OAuth 2.0 on matrix-js-sdk: `node oauth.mjs URL`.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { QrCodeData } from "@matrix-org/matrix-sdk-crypto-wasm";
import { Browser } from "./browser.mjs";
import { Log } from "./person.mjs";
import { Story } from "./steps.mjs";

const sdk = await import("matrix-js-sdk");
const { TokenRefresher } = await import("matrix-js-sdk/lib/oauth/tokenRefresher.js");
const { MSC4108SignInWithQR } = await import("matrix-js-sdk/lib/rendezvous/index.js");
const { MSC4108SecureChannel } = await import("matrix-js-sdk/lib/rendezvous/channels/index.js");
const { MSC4108RendezvousSession } = await import("matrix-js-sdk/lib/rendezvous/transports/index.js");

const url = process.argv[2];
const PASSWORD = "correct horse battery staple";
const REDIRECT = "https://app.test/callback";
const APP = {
    client_name: "The story",
    client_uri: "https://app.test/",
    redirect_uris: [REDIRECT],
    application_type: "web",
};
const story = new Story("oauth");
const log = new Log("");
const clients = [];

async function clientOf(tokens) {
    const who = await sdk
        .createClient({ baseUrl: url, accessToken: tokens.access_token, logger: log })
        .whoami();
    const client = sdk.createClient({
        baseUrl: url,
        userId: who.user_id,
        deviceId: who.device_id,
        accessToken: tokens.access_token,
        logger: log,
    });
    clients.push(client);
    await client.initRustCrypto({ useIndexedDB: false });
    return client;
}

async function tell() {
    const name = `maral.${randomBytes(4).toString("hex")}`;
    const browser = new Browser();
    let metadata, oauth, tokens, client;

    await story.step("the client discovers and registers", 5_000, async () => {
        metadata = await sdk.createClient({ baseUrl: url, logger: log }).getAuthMetadata();
        assert.ok(sdk.isValidAuthMetadata(metadata));
        const clientId = await sdk.OAuth2.registerClient(metadata, APP, log);
        assert.equal(clientId, await sdk.OAuth2.registerClient(metadata, APP, log));
        oauth = new sdk.OAuth2(metadata, { clientId }, log);
    });

    await story.step("somebody signs up in the browser and allows it", 10_000, async () => {
        const to = await oauth.generateAuthorizationCodeGrantUrl("a state", REDIRECT, "fragment", "create");
        await browser.go(to);
        await browser.send("again", { name, password: PASSWORD, again: PASSWORD });
        assert.match(browser.html, /The story/);
        await browser.send("answer", { answer: "allow" });
        assert.equal(browser.left.origin + browser.left.pathname, REDIRECT);
        const answer = new URLSearchParams(browser.left.hash.slice(1));
        assert.equal(answer.get("state"), "a state");
        tokens = await oauth.completeAuthorizationCodeGrant(answer.get("code"), REDIRECT);
        client = await clientOf(tokens);
        assert.equal(client.getDeviceId(), oauth.context.deviceId);
    });

    await story.step("the tokens are refreshed", 5_000, async () => {
        const refresher = new TokenRefresher(oauth, async () => {});
        const fresh = await refresher.refreshTokens(tokens.refresh_token);
        assert.ok(fresh.expiry > new Date());
        client.setAccessToken(fresh.accessToken);
        await client.whoami();
        tokens = { access_token: fresh.accessToken, refresh_token: fresh.refreshToken };
    });

    await story.step("cross-signing begins without a question", 10_000, async () => {
        const never = () => assert.fail("first keys need no proof");
        await client.getCrypto().bootstrapCrossSigning({
            authUploadDeviceSigningKeys: async (makeRequest) => makeRequest(null).catch(never),
        });
        await client.startClient({ initialSyncLimit: 1 });
    });

    await story.step("a new device logs in by QR code and gets the secrets", 25_000, async () => {
        const failed = (why) => assert.fail(`the rendezvous failed: ${why}`);
        const begun = new MSC4108RendezvousSession({ client, onFailure: failed });
        await begun.send("");
        const old = new MSC4108SignInWithQR(new MSC4108SecureChannel(begun), false, client);
        await old.generateCode();
        const seen = QrCodeData.fromBytes(old.code);
        const session = new MSC4108RendezvousSession({ url: seen.rendezvousUrl, onFailure: failed });
        const fresh = new MSC4108SignInWithQR(new MSC4108SecureChannel(session, seen.publicKey), true);
        await Promise.all([old.negotiateProtocols(), fresh.negotiateProtocols()]);
        assert.equal(old.checkCode, fresh.checkCode);

        const clientId = await sdk.OAuth2.registerClient(metadata, { ...APP, client_name: "The tablet" }, log);
        const deviceId = randomBytes(5).toString("hex").toUpperCase();
        const [asked, told] = await Promise.all([
            fresh.deviceAuthorizationGrant({ metadata, clientId, deviceId }),
            old.deviceAuthorizationGrant(),
        ]);
        await browser.go(told.verificationUri);
        assert.match(browser.html, /The tablet/);
        assert.ok(browser.html.includes(asked.userCode));
        await browser.send("answer", { answer: "allow" });

        const [, tablet] = await Promise.all([
            old.shareSecrets(),
            (async () => {
                const tablet = await clientOf(await fresh.completeLoginOnNewDevice({ clientId }));
                const { secrets } = await fresh.shareSecrets();
                await tablet.getCrypto().importSecretsBundle(secrets);
                return tablet;
            })(),
        ]);
        assert.equal(tablet.getDeviceId(), deviceId);
        assert.ok((await tablet.getCrypto().getCrossSigningStatus()).privateKeysCachedLocally.masterKey);
    });

    await story.step("new cross-signing keys are allowed on the account's page", 15_000, async () => {
        let questions = 0;
        const authUploadDeviceSigningKeys = async (makeRequest) => {
            try {
                return await makeRequest(null);
            } catch (error) {
                assert.equal(error.httpStatus, 401);
                questions += 1;
                const { flows, params, session } = error.data;
                assert.ok(flows.some(({ stages }) => stages.length === 1 && stages[0] === "m.oauth"));
                await browser.go(params["m.oauth"].url);
                await browser.send("password", { password: PASSWORD });
                assert.equal(browser.status, 200);
                return await makeRequest({ session });
            }
        };
        const reset = { setupNewCrossSigning: true, authUploadDeviceSigningKeys };
        await client.getCrypto().bootstrapCrossSigning(reset);
        await client.getCrypto().bootstrapCrossSigning(reset);
        assert.equal(questions, 2);
    });

    await story.step("the client logs out by revocation", 5_000, async () => {
        client.stopClient();
        await oauth.revokeToken(tokens.refresh_token, "refresh_token");
        await assert.rejects(client.whoami(), { errcode: "M_UNKNOWN_TOKEN" });
        await assert.rejects(oauth.performRefreshTokenGrant(tokens.refresh_token), { error: "invalid_grant" });
    });
}

try {
    await tell();
    story.end();
} catch {
    console.log(log.lines.join("\n"));
    process.exitCode = 1;
} finally {
    for (const client of clients) client.stopClient();
    setTimeout(() => process.exit(), 100).unref();
}
process.exit();
