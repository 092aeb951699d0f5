// What goes wrong, as values that a message port can carry.

import type { EngineFault, FaultCode } from "./types";

/** An error of the engine; over a port it becomes its `fault`. */
export class Fault extends Error {
    readonly fault: EngineFault;

    constructor(code: FaultCode, text = "", more: Partial<EngineFault> = {}) {
        super(text || code);
        this.name = "Fault";
        this.fault = { code, text: text || code, ...more };
    }

    get code(): FaultCode {
        return this.fault.code;
    }
}

/** Any thrown thing as a fault: what we did not expect is a `bug`, with its text for the log. */
export function faultOf(error: unknown): EngineFault {
    if (error instanceof Fault) return error.fault;
    if (error instanceof DOMException && error.name === "QuotaExceededError") {
        return { code: "storage-full", text: error.message };
    }
    if (error instanceof DOMException && error.name === "AbortError") {
        return { code: "cancelled", text: error.message };
    }
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { code: "bug", text };
}

const BY_ERRCODE: Record<string, FaultCode> = {
    M_UNKNOWN_TOKEN: "signed-out",
    M_MISSING_TOKEN: "signed-out",
    M_USER_LOCKED: "locked",
    M_USER_SUSPENDED: "suspended",
    M_USER_DEACTIVATED: "wrong-password",
    M_USER_IN_USE: "name-taken",
    M_EXCLUSIVE: "name-taken",
    M_INVALID_USERNAME: "bad-name",
    M_WEAK_PASSWORD: "weak-password",
    M_LIMIT_EXCEEDED: "busy",
    M_TOO_LARGE: "too-large",
    M_NOT_FOUND: "not-found",
    M_RESOURCE_LIMIT_EXCEEDED: "over-quota",
};

/** A fault out of an HTTP status and a Matrix error body. */
export function faultOfAnswer(status: number, body: unknown): Fault {
    const said = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
    const errcode = typeof said["errcode"] === "string" ? said["errcode"] : undefined;
    const text = typeof said["error"] === "string" ? said["error"] : `HTTP ${status}`;
    const wait = said["retry_after_ms"];
    const more: Partial<EngineFault> = { status };
    if (errcode) more.errcode = errcode;
    if (typeof wait === "number") more.retryAfterMs = wait;
    return new Fault(codeOf(status, errcode), text, more);
}

function codeOf(status: number, errcode: string | undefined): FaultCode {
    const known = errcode && BY_ERRCODE[errcode];
    if (known) return known;
    if (status === 413) return "too-large";
    if (status === 429) return "busy";
    if (status === 404) return "not-found";
    if (status === 403) return "forbidden";
    if (status >= 500) return "server";
    return "bad-input";
}

/** Into the log where it is ours; all else is said where it is asked for, or tried again. */
export function report(error: unknown): void {
    const fault = faultOf(error);
    if (fault.code === "bug") console.error(fault.text);
}

/** Does a deed that may fail without a word when only the line is down: it will be tried again. */
export async function quietly(deed: () => Promise<unknown>): Promise<void> {
    await deed().catch(report);
}

/** Worth another try later, with the same words. */
export function isPassing(fault: EngineFault): boolean {
    return fault.code === "offline" || fault.code === "busy" || fault.code === "server";
}
