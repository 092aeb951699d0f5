// The account: profile, devices, password, keys. Who asks must often say who they are (UIA).

import { Fault, faultOfAnswer } from "./faults";
import { path, type Http } from "./http";
import { number, text, type Json } from "./matrix";
import type { Media } from "./media";
import type { Keys, Proof } from "./crypto/keys";
import type { Machine } from "./crypto/machine";
import { typed } from "./crypto/recovery_key";
import type { AccountCalls, DeviceInfo, ImportProgress, KeyState, Profile, UserId } from "./types";
import type { World } from "./world";

interface Challenge {
    session?: string;
    flows?: { stages: string[] }[];
    completed?: string[];
    errcode?: string;
}

/** Repeats a request with each stage that the server asks for. # CS #user-interactive-authentication-api */
export async function proven<T>(
    http: Http,
    method: string,
    url: string,
    body: Json,
    answerOf: (stage: string) => Json | undefined,
    bare = false,
): Promise<T> {
    let auth: Json | undefined;
    for (let round = 0; round < 6; round++) {
        const answer = await http.send(method, url, { body: auth ? { ...body, auth } : body, bare });
        const said = (await answer.json().catch(() => ({}))) as Json & Challenge;
        if (answer.ok) return said as T;
        if (answer.status !== 401 || !Array.isArray(said.flows)) throw refused(http, answer.status, said, bare);
        if (said.errcode && auth) throw new Fault(auth["type"] === "m.login.password" ? "wrong-password" : auth["type"] === "m.login.registration_token" ? "bad-invite" : "second-factor", text(said["error"]) ?? "");
        const done = new Set(said.completed ?? []);
        const stage = next(said.flows, done, answerOf);
        if (!stage) throw new Fault(missing(said.flows, done), "the server asks for another proof");
        auth = { type: stage, session: said.session, ...answerOf(stage) };
    }
    throw new Fault("server", "the server asks and asks");
}

function next(flows: { stages: string[] }[], done: Set<string>, answerOf: (stage: string) => Json | undefined): string | undefined {
    for (const { stages } of flows) {
        const left = stages.filter((stage) => !done.has(stage));
        if (left.length > 0 && left.every((stage) => answerOf(stage) !== undefined)) return left[0];
    }
    return undefined;
}

function missing(flows: { stages: string[] }[], done: Set<string>): "second-factor" | "bad-invite" | "wrong-password" {
    const left = flows.flatMap(({ stages }) => stages).filter((stage) => !done.has(stage));
    if (left.includes("org.kerwen.second_factor")) return "second-factor";
    return left.includes("m.login.registration_token") ? "bad-invite" : "wrong-password";
}

function refused(http: Http, status: number, said: Json, bare: boolean): Fault {
    if (said["errcode"] === "M_UNKNOWN_TOKEN" && !bare) http.onSignedOut(said["soft_logout"] === true);
    return faultOfAnswer(status, said);
}

export interface Crypto {
    machine: Machine;
    keys: Keys;
}

export class Account implements AccountCalls {
    constructor(
        readonly world: World,
        readonly media: Media,
        readonly crypto: () => Crypto | undefined,
        readonly restoredNow: () => Promise<void>,
    ) {}

    #proof(password: string, code?: string): Proof {
        const { http, me } = this.world;
        return (method, url, body) =>
            proven(http, method, url, body, (stage) => {
                if (stage === "m.login.password") return { identifier: { type: "m.id.user", user: me }, password };
                if (stage === "org.kerwen.second_factor" && code) return { code };
                return stage === "m.login.dummy" ? {} : undefined;
            });
    }

    get #need(): Crypto {
        const crypto = this.crypto();
        if (!crypto) throw new Fault("crypto-loading");
        return crypto;
    }

    async profile(userId: UserId = this.world.me): Promise<Profile> {
        const told = (await this.world.http.find("GET", path`/profile/${userId}`)) ?? {};
        const profile: Profile = { userId };
        const [name, avatar] = [text(told["displayname"]), text(told["avatar_url"])];
        if (name) profile.name = name;
        if (avatar) profile.avatar = avatar;
        if (userId === this.world.me) await this.world.store.put("meta", profile, "profile");
        return profile;
    }

    async setName(name: string): Promise<void> {
        await this.world.http.ask("PUT", path`/profile/${this.world.me}/displayname`, { body: { displayname: name } });
        this.world.emit("profile", await this.profile());
    }

    async setAvatar(picture: Blob | null): Promise<void> {
        const avatar_url = picture ? await this.media.upload(picture) : "";
        await this.world.http.ask("PUT", path`/profile/${this.world.me}/avatar_url`, { body: { avatar_url } });
        this.world.emit("profile", await this.profile());
    }

    async devices(): Promise<DeviceInfo[]> {
        const { devices } = await this.world.http.ask<{ devices: Json[] }>("GET", "/devices");
        const known = new Map((await this.devicesOf(this.world.me).catch(() => [])).map((device) => [device.deviceId, device]));
        const list = devices.map((told) => {
            const deviceId = text(told["device_id"]) ?? "";
            const device: DeviceInfo = { ...known.get(deviceId), deviceId, current: deviceId === this.world.deviceId };
            const [name, ip, seen] = [text(told["display_name"]), text(told["last_seen_ip"]), number(told["last_seen_ts"])];
            if (name) device.name = name;
            if (ip) device.seenIp = ip;
            if (seen) device.seenAt = seen;
            return device;
        });
        return list.sort((a, b) => Number(b.current) - Number(a.current) || (b.seenAt ?? 0) - (a.seenAt ?? 0));
    }

    /** Devices with keys, as the crypto machine knows them. */
    async devicesOf(userId: UserId): Promise<DeviceInfo[]> {
        const { machine } = this.#need;
        const { wasm, olm } = machine;
        const devices = await olm.getUserDevices(new wasm.UserId(userId), 1);
        return devices.devices().map((device) => {
            const info: DeviceInfo = {
                deviceId: device.deviceId.toString(),
                current: userId === this.world.me && device.deviceId.toString() === this.world.deviceId,
                verified: device.isCrossSignedByOwner(),
            };
            if (device.displayName) info.name = device.displayName;
            const key = device.ed25519Key?.toBase64();
            if (key) info.fingerprint = key.replace(/(.{4})(?=.)/g, "$1 ");
            return info;
        });
    }

    async renameDevice(deviceId: string, name: string): Promise<void> {
        await this.world.http.ask("PUT", path`/devices/${deviceId}`, { body: { display_name: name } });
    }

    async removeDevices(deviceIds: string[], password: string, code?: string): Promise<void> {
        await this.#proof(password, code)("POST", "/delete_devices", { devices: deviceIds });
    }

    async changePassword(want: { old: string; fresh: string; code?: string; othersOut: boolean }): Promise<void> {
        await this.#proof(want.old, want.code)("POST", "/account/password", { new_password: want.fresh, logout_devices: want.othersOut });
    }

    async close(password: string, erase: boolean, code?: string): Promise<void> {
        await this.#proof(password, code)("POST", "/account/deactivate", { erase });
    }

    async keys(): Promise<KeyState> {
        const crypto = this.crypto();
        if (!crypto) return { recovery: "unknown", verified: false, backup: { on: false, pending: 0 } };
        return crypto.keys.state.recovery === "unknown" ? crypto.keys.look() : crypto.keys.state;
    }

    async createRecoveryKey(password: string, code?: string): Promise<{ key: string }> {
        return { key: await this.#need.keys.create(this.#proof(password, code)) };
    }

    async enterRecoveryKey(key: string): Promise<ImportProgress> {
        const progress = await this.#need.keys.recover(key);
        await this.restoredNow();
        return progress;
    }

    async recoveryKeyValid(key: string): Promise<boolean> {
        try {
            typed(key);
            return true;
        } catch {
            return false;
        }
    }

    async ignored(): Promise<UserId[]> {
        return [...this.world.ignored];
    }

    async setIgnored(userId: UserId, ignored: boolean): Promise<void> {
        if (ignored) this.world.ignored.add(userId);
        else this.world.ignored.delete(userId);
        const users = Object.fromEntries([...this.world.ignored].map((id) => [id, {}]));
        await this.setAccountData("m.ignored_user_list", { ignored_users: users });
        this.world.told([...this.world.rooms.values()].filter((room) => room.inviter?.userId === userId || room.dmUser === userId).map((room) => room.id));
    }

    async accountData<T>(type: string): Promise<T | undefined> {
        return this.world.store.get<T>("accountData", ["", type]);
    }

    async setAccountData(type: string, content: object): Promise<void> {
        await this.world.http.ask("PUT", path`/user/${this.world.me}/account_data/${type}`, { body: content });
        await this.world.store.put("accountData", content, ["", type]);
        this.world.emit("accountData", { type });
    }

    async setPresence(on: boolean): Promise<void> {
        await this.world.http.ask("PUT", path`/presence/${this.world.me}/status`, { body: { presence: on ? "online" : "offline" } });
    }
}

