// One device of a person who uses matrix-js-sdk with its Rust crypto.

import assert from "node:assert/strict";
import { Attachment, EncryptedAttachment } from "@matrix-org/matrix-sdk-crypto-wasm";

// matrix-js-sdk 43 is made for Node 22; this is all that Node 20 lacks.
Promise.withResolvers ??= function () {
    let resolve, reject;
    const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
    return { promise, resolve, reject };
};

const sdk = await import("matrix-js-sdk");
const { SlidingSync } = await import("matrix-js-sdk/lib/sliding-sync.js");
const cryptoApi = await import("matrix-js-sdk/lib/crypto-api/index.js");
const { RustBackupManager } = await import("matrix-js-sdk/lib/rust-crypto/backup.js");
const { logger: libraryLog } = await import("matrix-js-sdk/lib/logger.js");
const { decodeRecoveryKey } = cryptoApi;
const { CryptoEvent, VerificationPhase, VerifierEvent } = cryptoApi;
export { VerificationPhase };

// It waits up to 10 s before it uploads keys, to spare servers of many users.
RustBackupManager.maxBackupLoopStartDelayMillis = 200;
// What it logs beside the logger given to it would come between our lines.
libraryLog.methodFactory = () => () => {};
libraryLog.rebuild();

export const MEGOLM = "m.megolm.v1.aes-sha2";
const LOG_LINES = 400;

/** Keeps the last lines of the library's log, for when a step fails. */
export class Log {
    constructor(name, lines = []) {
        this.name = name;
        this.lines = lines;
        for (const level of ["trace", "debug", "info", "warn", "error"]) {
            this[level] = (...words) => {
                lines.push(`${name} ${level} ${words.map(String).join(" ")}`.slice(0, 500));
                if (lines.length > LOG_LINES) lines.shift();
            };
        }
    }

    getChild(name) {
        return new Log(`${this.name} ${name}`, this.lines);
    }
}

/** Interactive authentication with the password, where the server asks for it. */
const withPassword = (userId, password) => async (makeRequest) => {
    try {
        return await makeRequest(null);
    } catch (error) {
        if (error.httpStatus !== 401 || !error.data?.flows) throw error;
        const identifier = { type: "m.id.user", user: userId };
        const { session } = error.data;
        return makeRequest({ type: "m.login.password", identifier, password, session });
    }
};

/** One list of all rooms, with the state that the stories look at. */
const ALL_ROOMS = {
    ranges: [[0, 99]],
    timeline_limit: 5,
    required_state: [
        ["m.room.create", ""],
        ["m.room.encryption", ""],
        ["m.room.member", "*"],
        ["m.room.power_levels", ""],
        ["m.room.history_visibility", ""],
    ],
};

export class Person {
    /** `sliding`: syncs by sliding sync (MSC4186) instead of /sync. */
    constructor(url, name, password, log, sliding = false) {
        Object.assign(this, { url, name, password, sliding });
        this.log = log.getChild(name);
        this.recoveryKey = undefined;
        this.requests = [];
    }

    async register() {
        const http = sdk.createClient({ baseUrl: this.url, logger: this.log });
        const auth = { type: "m.login.dummy" };
        const { name: username, password } = this;
        await this.#begin(await http.registerRequest({ username, password, auth }));
    }

    async logIn() {
        const http = sdk.createClient({ baseUrl: this.url, logger: this.log });
        const identifier = { type: "m.id.user", user: this.name };
        const request = { type: "m.login.password", identifier, password: this.password };
        await this.#begin(await http.loginRequest(request));
    }

    async #begin(answer) {
        this.client = sdk.createClient({
            baseUrl: this.url,
            userId: answer.user_id,
            deviceId: answer.device_id,
            accessToken: answer.access_token,
            logger: this.log,
            verificationMethods: ["m.sas.v1"],
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => this.#storageKey(keys),
                cacheSecretStorageKey: (id, _info, key) => (this.fresh = [id, key]),
            },
        });
        this.client.on(CryptoEvent.VerificationRequestReceived, (request) => this.requests.push(request));
        await this.client.initRustCrypto({ useIndexedDB: false });
        this.crypto = this.client.getCrypto();
        await this.client.startClient({ initialSyncLimit: 5, pollTimeout: 20_000, slidingSync: this.#slidingSync() });
    }

    #slidingSync() {
        if (!this.sliding) return undefined;
        return new SlidingSync(this.url, new Map([["all", ALL_ROOMS]]), {}, this.client, 20_000);
    }

    #storageKey(keys) {
        if (this.fresh && keys[this.fresh[0]]) return this.fresh;
        if (!this.recoveryKey) return null;
        return [Object.keys(keys)[0], decodeRecoveryKey(this.recoveryKey)];
    }

    get userId() {
        return this.client.getUserId();
    }

    get deviceId() {
        return this.client.getDeviceId();
    }

    /** True once the first sync is in. */
    isSynced() {
        return ["PREPARED", "SYNCING"].includes(this.client.getSyncState());
    }

    /** Forget everything that was on this device. */
    async lose() {
        await this.client.logout(true);
        await this.client.clearStores();
    }

    stop() {
        this.client?.stopClient();
    }

    // Keys

    async bootstrapCrossSigning() {
        await this.crypto.bootstrapCrossSigning({
            authUploadDeviceSigningKeys: withPassword(this.userId, this.password),
        });
    }

    /** Make secret storage with the cross-signing keys and a new key backup in it. */
    async bootstrapSecretStorage() {
        const generated = await this.crypto.createRecoveryKeyFromPassphrase();
        await this.crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => generated,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        this.recoveryKey = generated.encodedPrivateKey;
    }

    /** How many sessions the server's backup holds. */
    async backedUp() {
        return (await this.client.http.authedRequest("GET", "/room_keys/version")).count;
    }

    async hasVerified(other) {
        const status = await this.crypto.getUserVerificationStatus(other.userId);
        return status.isCrossSigningVerified();
    }

    async trustsDevice(other) {
        const status = await this.crypto.getDeviceVerificationStatus(other.userId, other.deviceId);
        return Boolean(status?.crossSigningVerified && status.isVerified());
    }

    // Rooms and messages

    async createGroup(name, others, more = {}) {
        const encryption = { type: "m.room.encryption", state_key: "", content: { algorithm: MEGOLM } };
        const room = await this.client.createRoom({
            name,
            preset: "private_chat",
            invite: others.map((other) => other.userId),
            initial_state: [encryption],
            ...more,
        });
        return room.room_id;
    }

    hasJoined(roomId) {
        return this.client.getRoom(roomId)?.getMyMembership() === "join";
    }

    isInvited(roomId) {
        return this.client.getRoom(roomId)?.getMyMembership() === "invite";
    }

    /** True when the room is known as encrypted and holds all these people. */
    async isReadyIn(roomId, people) {
        const room = this.client.getRoom(roomId);
        const members = room?.getJoinedMembers().map((member) => member.userId) ?? [];
        const encrypted = await this.crypto.isEncryptionEnabledInRoom(roomId);
        return encrypted && people.every((person) => members.includes(person.userId));
    }

    async say(roomId, content) {
        const answer = await this.client.sendMessage(roomId, content);
        return answer.event_id;
    }

    /** The message's content once it can be read; throws if it can't be decrypted. */
    async read(roomId, eventId) {
        const event = await this.#event(roomId, eventId);
        if (!event) return undefined;
        assert.ok(!event.isDecryptionFailure(), `${this.name} is unable to decrypt ${eventId}`);
        if (event.getType() !== "m.room.message") return undefined;
        assert.ok(event.isEncrypted(), `${eventId} came in clear`);
        return event.getContent();
    }

    async #event(roomId, eventId) {
        const event = this.client.getRoom(roomId)?.findEventById(eventId);
        if (event?.isBeingDecrypted()) await event.getDecryptionPromise();
        return event;
    }

    /** All of a room's messages, oldest first, fetched to the beginning. */
    async history(roomId) {
        const room = this.client.getRoom(roomId);
        while (room.getLiveTimeline().getPaginationToken("b") !== null) {
            await this.client.scrollback(room, 5);
        }
        const events = room.getLiveTimeline().getEvents();
        // by sliding sync the library leaves older events shut until they are looked at
        for (const event of events) await this.client.decryptEventIfNeeded(event);
        return events.filter((event) => event.isEncrypted());
    }

    // Files

    async sendFile(roomId, name, bytes) {
        const encrypted = Attachment.encrypt(bytes);
        const info = JSON.parse(encrypted.mediaEncryptionInfo);
        const type = "application/octet-stream";
        const upload = await this.client.uploadContent(Buffer.from(encrypted.encryptedData), { type, includeFilename: false });
        const file = { ...info, url: upload.content_uri };
        return this.say(roomId, { msgtype: "m.file", body: name, info: { size: bytes.length }, file });
    }

    async fetchFile({ file }) {
        const url = this.client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
        const headers = { Authorization: `Bearer ${this.client.getAccessToken()}` };
        const answer = await fetch(url, { headers });
        assert.equal(answer.status, 200, url);
        const body = new Uint8Array(await answer.arrayBuffer());
        return Attachment.decrypt(new EncryptedAttachment(body, JSON.stringify(file)));
    }

    // Verification

    /** Take part in a verification that has been requested; gives the emoji, then confirms. */
    async compare(request, starts, sameAs) {
        const verifier = starts ? await request.startVerification("m.sas.v1") : request.verifier;
        const shown = new Promise((resolve) => verifier.once(VerifierEvent.ShowSas, resolve));
        const finished = verifier.verify();
        const callbacks = await Promise.race([shown, finished.then(() => assert.fail("no emoji"))]);
        const emoji = callbacks.sas.emoji.map(([symbol]) => symbol).join(" ");
        assert.equal(callbacks.sas.emoji.length, 7);
        assert.ok(await sameAs(emoji), "the emoji differ");
        await callbacks.confirm();
        await finished;
        return emoji;
    }
}
