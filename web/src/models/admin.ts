// Requests that the engine has no call for: the administrators' API, and what asks for the password.
import type { EngineFault } from "../engine/types.ts";
import { engine, localpart, session } from "./session.svelte.ts";

const text = new TextDecoder();

function fault(status: number, body: { errcode?: string; error?: string; confirm?: boolean }): EngineFault & { confirm?: boolean } {
  const codes: Record<number, EngineFault["code"]> = { 403: "forbidden", 404: "not-found", 413: "too-large", 429: "busy", 400: "bad-input", 409: "name-taken" };
  const code = body.errcode === "M_USER_IN_USE" ? "name-taken" : body.errcode === "M_INVALID_USERNAME" ? "bad-name" : body.errcode === "M_WEAK_PASSWORD" ? "weak-password" : (codes[status] ?? (status >= 500 ? "server" : "bug"));
  return { code, text: body.error ?? String(status), status, errcode: body.errcode, confirm: body.confirm };
}

/** A request to the own server, JSON both ways; rejects with a fault. */
export async function ask<T>(method: string, path: string, body?: object): Promise<T> {
  const answer = await engine.session.request({
    method,
    path,
    headers: body ? { "content-type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const said = answer.body.byteLength ? (JSON.parse(text.decode(answer.body)) as T) : ({} as T);
  if (answer.status >= 400) throw fault(answer.status, said as { errcode?: string });
  return said;
}

/** A POST that asks for the owner's password, and the second factor where there is one (CS #user-interactive-authentication-api). */
export async function provenRequest(path: string, body: object, password: string, code = ""): Promise<ArrayBuffer> {
  const post = (auth?: object) =>
    engine.session.request({ method: "POST", path, headers: { "content-type": "application/json" }, body: JSON.stringify({ ...body, ...(auth ? { auth } : {}) }) });
  const first = await post();
  if (first.status !== 401) {
    if (first.status >= 400) throw fault(first.status, parse(first.body));
    return first.body;
  }
  const { session: id } = parse(first.body) as { session?: string };
  const identifier = { type: "m.id.user", user: localpart(session.me.userId) };
  let answer = await post({ type: "m.login.password", session: id, identifier, password });
  if (answer.status === 401) {
    const left = parse(answer.body) as { completed?: string[]; errcode?: string; flows?: { stages: string[] }[] };
    if (!left.completed?.includes("m.login.password")) throw { code: "wrong-password", text: "password", status: 401 } satisfies EngineFault;
    const stage = left.flows?.flatMap((flow) => flow.stages).find((one) => one === "org.kerwen.second_factor");
    if (!code || !stage) throw { code: "second-factor", text: "code", status: 401 } satisfies EngineFault;
    answer = await post({ type: stage, session: id, code });
  }
  if (answer.status === 401 || (answer.status === 403 && /FORBIDDEN/.test((parse(answer.body) as { errcode?: string }).errcode ?? ""))) throw { code: code ? "second-factor" : "wrong-password", text: "refused", status: answer.status } satisfies EngineFault;
  if (answer.status >= 400) throw fault(answer.status, parse(answer.body));
  return answer.body;
}

function parse(body: ArrayBuffer): Record<string, unknown> {
  try {
    return JSON.parse(text.decode(body)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

let known: Promise<boolean> | undefined;

/** Whether the administrators' pages are for this account: the server's capabilities say so. */
export function isAdmin(): Promise<boolean> {
  type Told = { capabilities: { "m.account_moderation"?: { lock?: boolean } } };
  known ??= ask<Told>("GET", "/_matrix/client/v3/capabilities")
    .then((told) => told.capabilities["m.account_moderation"]?.lock === true)
    .catch(() => ((known = undefined), false));
  return known;
}
