// Signing up, in and out: what is asked of the server before there is a session.

import { proven } from "./account_calls";
import { Fault } from "./faults";
import type { Http } from "./http";
import { text, type Json } from "./matrix";
import type { ServerOffer, UserId } from "./types";

/** What a session needs to go on after a reload. */
export interface Saved {
    userId: UserId;
    deviceId: string;
    token: string;
    /** Soft-logged-out: the token has ended, the device stands. */
    soft?: true;
}

const REGISTER = "/register";

function saved(answer: Json): Saved {
    const [userId, deviceId, token] = [text(answer["user_id"]), text(answer["device_id"]), text(answer["access_token"])];
    if (!userId || !deviceId || !token) throw new Fault("server", "no session in the answer");
    return { userId, deviceId, token };
}

export async function offerOf(http: Http): Promise<ServerOffer> {
    const answer = await http.send("POST", REGISTER, { body: {}, bare: true });
    const said = (await answer.json().catch(() => ({}))) as Json;
    const flows = (Array.isArray(said["flows"]) ? said["flows"] : []) as { stages: string[] }[];
    const open = flows.some(({ stages }) => !stages.includes("m.login.registration_token"));
    const domain = await domainOf(http);
    if (answer.status === 403) return { domain, registration: "closed" };
    return { domain, registration: open ? "open" : flows.length > 0 ? "invite" : "closed" };
}

async function domainOf(http: Http): Promise<string> {
    const known = await http.ask("GET", "/_matrix/client/versions", { bare: true }).catch(() => ({}) as Json);
    const server = known["server_name"];
    return text(server) ?? globalThis.location?.hostname ?? new URL(http.base).hostname;
}

export async function nameFree(http: Http, name: string): Promise<boolean> {
    try {
        await http.ask("GET", `${REGISTER}/available?username=${encodeURIComponent(name)}`, { bare: true });
        return true;
    } catch (error) {
        if (error instanceof Fault && error.code === "name-taken") return false;
        throw error;
    }
}

export async function inviteValid(http: Http, token: string): Promise<boolean> {
    const url = "/_matrix/client/v1/register/m.login.registration_token/validity";
    const told = await http.ask("GET", `${url}?token=${encodeURIComponent(token)}`, { bare: true });
    return told["valid"] === true;
}

export async function register(http: Http, want: { name: string; password: string; invite?: string; deviceName: string }): Promise<Saved> {
    const body = { username: want.name, password: want.password, initial_device_display_name: want.deviceName };
    const answerOf = (stage: string): Json | undefined => {
        if (stage === "m.login.dummy") return {};
        return stage === "m.login.registration_token" && want.invite ? { token: want.invite } : undefined;
    };
    try {
        return saved(await proven<Json>(http, "POST", REGISTER, body, answerOf, true));
    } catch (error) {
        if (error instanceof Fault && error.code === "forbidden") throw new Fault("registration-closed", error.message);
        throw error;
    }
}

/** A code of a second factor stands behind the password (docs/second_factor.md). */
export async function login(http: Http, want: { name: string; password: string; code?: string; deviceName?: string; deviceId?: string }): Promise<Saved> {
    const password = want.code ? `${want.password} ${want.code}` : want.password;
    const body: Json = { type: "m.login.password", identifier: { type: "m.id.user", user: want.name }, password };
    if (want.deviceName) body["initial_device_display_name"] = want.deviceName;
    if (want.deviceId) body["device_id"] = want.deviceId;
    try {
        return saved(await http.ask("POST", "/login", { body, bare: true }));
    } catch (error) {
        if (error instanceof Fault && error.code === "forbidden") {
            const factor = /second factor|code/i.test(error.message) && !want.code;
            throw new Fault(factor ? "second-factor" : "wrong-password", error.message, error.fault);
        }
        throw error;
    }
}

export async function loginByToken(http: Http, token: string, deviceName: string): Promise<Saved> {
    const body = { type: "m.login.token", token, initial_device_display_name: deviceName };
    return saved(await http.ask("POST", "/login", { body, bare: true }));
}
