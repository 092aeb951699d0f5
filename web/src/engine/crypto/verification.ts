// Verifications under way, as views see them: by emoji, or by a QR code.

import type * as Sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { Fault } from "../faults";
import type { Json } from "../matrix";
import type { RoomId, UserId, VerificationState } from "../types";
import type { Machine } from "./machine";

type Outgoing = Sdk.ToDeviceRequest | Sdk.RoomMessageRequest;

export class Verifications {
    readonly #requests = new Map<string, Sdk.VerificationRequest>();
    readonly #qr = new Map<string, Sdk.Qr>();
    readonly #watched = new Set<string>();
    readonly #confirmed = new Set<string>();
    readonly #said = new Map<string, string>();
    /** Called when one ended well. */
    onDone: () => void = () => undefined;

    constructor(readonly machine: Machine) {}

    get #methods(): Sdk.VerificationMethod[] {
        const { VerificationMethod: Method } = this.machine.wasm;
        return [Method.SasV1, Method.QrCodeShowV1, Method.QrCodeScanV1, Method.ReciprocateV1];
    }

    list(): VerificationState[] {
        return [...this.#requests.values()].map((request) => this.#state(request));
    }

    /** Something of a flow came in. */
    async came(userId: UserId, flowId: string): Promise<void> {
        const { olm, wasm } = this.machine;
        const request = olm.getVerificationRequest(new wasm.UserId(userId), flowId) ?? olm.getVerificationRequest(new wasm.UserId(this.machine.world.me), flowId);
        if (request && !request.isPassive()) await this.#hold(request);
    }

    async #hold(request: Sdk.VerificationRequest): Promise<VerificationState> {
        const id = request.flowId;
        if (!this.#requests.has(id)) {
            this.#requests.set(id, request);
            void request.registerChangesCallback(async () => void this.#changed(id));
        }
        this.#watchVerifier(id);
        const state = this.#state(request);
        this.machine.world.emit("verification", state);
        return state;
    }

    #watchVerifier(id: string): void {
        const verifier = this.#requests.get(id)?.getVerification();
        if (!verifier) return;
        // our own QR code counts as a verifier too, until the other side chooses emoji
        const isSas = this.#isSas(verifier);
        const watched = isSas ? `${id} sas` : id;
        if (this.#watched.has(watched)) return;
        this.#watched.add(watched);
        void verifier.registerChangesCallback(async () => void this.#changed(id));
        // a SAS that the other side started is accepted at once: the choice was made in `accept`
        if (isSas && !verifier.weStarted()) void this.#send(verifier.accept()).catch(() => undefined);
    }

    #changed(id: string): void {
        const request = this.#requests.get(id);
        if (!request) return;
        this.#watchVerifier(id);
        const state = this.#state(request);
        const said = JSON.stringify(state);
        if (this.#said.get(id) === said) return;
        this.#said.set(id, said);
        this.machine.world.emit("verification", state);
        if (state.phase === "done" || state.phase === "cancelled") {
            for (const held of [this.#requests, this.#qr, this.#said]) held.delete(id);
            for (const held of [this.#watched, this.#confirmed]) held.delete(id);
            this.#watched.delete(`${id} sas`);
            if (state.phase === "done") this.onDone();
        }
        void this.machine.flush().catch(() => undefined);
    }

    #isSas(verifier: Sdk.Sas | Sdk.Qr): verifier is Sdk.Sas {
        return verifier instanceof this.machine.wasm.Sas;
    }

    #state(request: Sdk.VerificationRequest): VerificationState {
        const { VerificationRequestPhase: Phase, VerificationMethod: Method, QrState } = this.machine.wasm;
        const id = request.flowId;
        const state: VerificationState = {
            id,
            userId: request.otherUserId.toString(),
            own: request.isSelfVerification(),
            incoming: !request.weStarted(),
            phase: "requested",
        };
        const device = request.otherDeviceId?.toString();
        const room = request.roomId?.toString();
        if (device) state.deviceId = device;
        if (room) state.roomId = room;
        if (request.isCancelled()) {
            const why = request.cancelInfo;
            state.phase = "cancelled";
            if (why) Object.assign(state, { cancelCode: why.cancelCode(), cancelledByUs: why.cancelledbyUs() });
            return state;
        }
        if (request.isDone()) return { ...state, phase: "done" };
        const phase = request.phase();
        if (phase === Phase.Ready || phase === Phase.Transitioned) {
            state.phase = "ready";
            state.canScan = request.theirSupportedMethods?.includes(Method.QrCodeShowV1) ?? false;
            const qr = this.#qr.get(id);
            if (qr && phase === Phase.Ready) state.qr = new Uint8Array(qr.toBytes());
        }
        const verifier = request.getVerification();
        if (!verifier) return state;
        if (this.#isSas(verifier)) {
            if (verifier.isDone()) state.phase = "done";
            else if (this.#confirmed.has(id)) state.phase = "waiting";
            else if (verifier.canBePresented()) {
                state.phase = "comparing";
                state.emoji = (verifier.emoji() ?? []).map((e) => ({ symbol: e.symbol, name: e.description }));
                const [a, b, c] = verifier.decimals() ?? [];
                if (a !== undefined && b !== undefined && c !== undefined) state.decimals = [a, b, c];
            } else state.phase = "waiting";
        } else {
            const at = verifier.state();
            if (at === QrState.Scanned) state.phase = "qr-scanned";
            else if (at === QrState.Confirmed || at === QrState.Reciprocated) state.phase = "waiting";
            else if (at === QrState.Done) state.phase = "done";
        }
        return state;
    }

    async #send(request: Outgoing | undefined): Promise<void> {
        if (request) await this.machine.exclusive(() => this.machine.send(request));
    }

    #request(id: string): Sdk.VerificationRequest {
        const request = this.#requests.get(id);
        if (!request) throw new Fault("not-found", "this verification is over");
        return request;
    }

    async requestOwn(): Promise<VerificationState> {
        const { olm, wasm, world } = this.machine;
        const own = (await olm.getIdentity(new wasm.UserId(world.me))) as Sdk.OwnUserIdentity | undefined;
        if (!own) throw new Fault("no-recovery", "this account has no identity yet");
        const [request, outgoing] = await own.requestVerification(this.#methods);
        await this.#send(outgoing);
        return this.#hold(request);
    }

    async requestDevice(deviceId: string): Promise<VerificationState> {
        const { olm, wasm, world } = this.machine;
        const device = await olm.getDevice(new wasm.UserId(world.me), new wasm.DeviceId(deviceId));
        if (!device) throw new Fault("not-found", "no such device");
        const [request, outgoing] = device.requestVerification(this.#methods);
        await this.#send(outgoing);
        return this.#hold(request);
    }

    /** In a room with a person: the request is a message there. */
    async requestUser(userId: UserId, roomId: RoomId, say: (content: Json) => Promise<string>): Promise<VerificationState> {
        const { olm, wasm } = this.machine;
        await this.machine.exclusive(() => this.machine.send(olm.queryKeysForUsers([new wasm.UserId(userId)])));
        const identity = (await olm.getIdentity(new wasm.UserId(userId))) as Sdk.OtherUserIdentity | undefined;
        if (!identity) throw new Fault("not-found", "this person has no identity yet");
        const content = JSON.parse(identity.verificationRequestContent(this.#methods)) as Json;
        const eventId = await say(content);
        const request = identity.requestVerification(new wasm.RoomId(roomId), new wasm.EventId(eventId), this.#methods);
        return this.#hold(request);
    }

    async accept(id: string): Promise<void> {
        const request = this.#request(id);
        await this.#send(request.acceptWithMethods(this.#methods));
        await this.#makeQr(id);
        this.#changed(id);
    }

    /** Our QR code, where the other side can scan. */
    async #makeQr(id: string): Promise<void> {
        const request = this.#request(id);
        if (this.#qr.has(id) || !request.isReady()) return;
        const qr = await request.generateQrCode().catch(() => undefined);
        if (qr) this.#qr.set(id, qr);
    }

    async startEmoji(id: string): Promise<void> {
        const started = await this.#request(id).startSas();
        if (!started) throw new Fault("bad-input", "the other side can't compare emoji");
        await this.#send(started[1]);
        this.#changed(id);
    }

    #sas(id: string): Sdk.Sas {
        const verifier = this.#request(id).getVerification();
        if (!verifier || !this.#isSas(verifier)) throw new Fault("bad-input", "no emoji are shown");
        return verifier;
    }

    async same(id: string): Promise<void> {
        const sas = this.#sas(id);
        this.#confirmed.add(id);
        for (const request of await sas.confirm()) await this.#send(request as Outgoing);
        await this.machine.flush();
        this.#changed(id);
    }

    async different(id: string): Promise<void> {
        await this.#send(this.#sas(id).cancelWithCode("m.mismatched_sas"));
        this.#changed(id);
    }

    async scanned(id: string, bytes: Uint8Array): Promise<void> {
        const { wasm } = this.machine;
        const scan = wasm.QrCodeScan.fromBytes(new Uint8ClampedArray(bytes));
        const qr = await this.#request(id).scanQrCode(scan);
        await this.#send(qr.reciprocate());
        this.#changed(id);
    }

    async confirmScan(id: string): Promise<void> {
        const verifier = this.#request(id).getVerification();
        if (!verifier || this.#isSas(verifier)) throw new Fault("bad-input", "nothing was scanned");
        await this.#send(verifier.confirmScanning());
        await this.machine.flush();
        this.#changed(id);
    }

    async cancel(id: string): Promise<void> {
        const request = this.#request(id);
        await this.#send(request.cancel());
        this.#changed(id);
    }

    /** After each sync: flows that moved, and QR codes that can be shown now. */
    async refresh(): Promise<void> {
        for (const [id, request] of [...this.#requests]) {
            if (request.isReady()) await this.#makeQr(id).catch(() => undefined);
            this.#changed(id);
        }
    }
}
