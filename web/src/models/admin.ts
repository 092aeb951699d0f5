// Requests that the engine has no call for: the administrators' API, and what asks for the password.
import { faultOfAnswer } from "../engine/faults.ts";
import type { EngineFault } from "../engine/types.ts";
import { engine, localpart, session } from "./session.svelte.ts";

const text = new TextDecoder();

/** A request to the own server, JSON both ways; rejects with a fault. */
export async function ask<T>(method: string, path: string, body?: object): Promise<T> {
  const answer = await engine.session.request({
    method,
    path,
    headers: body ? { "content-type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const said = answer.body.byteLength ? (JSON.parse(text.decode(answer.body)) as T) : ({} as T);
  if (answer.status >= 400) throw faultOfAnswer(answer.status, said).fault;
  return said;
}

/** A POST that asks for the owner's password, and the second factor where there is one (CS #user-interactive-authentication-api). */
export async function provenRequest(path: string, body: object, password: string, code = ""): Promise<ArrayBuffer> {
  const post = (auth?: object) =>
    engine.session.request({ method: "POST", path, headers: { "content-type": "application/json" }, body: JSON.stringify({ ...body, ...(auth ? { auth } : {}) }) });
  const first = await post();
  if (first.status !== 401) {
    if (first.status >= 400) throw faultOfAnswer(first.status, parse(first.body)).fault;
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
  if (answer.status >= 400) throw faultOfAnswer(answer.status, parse(answer.body)).fault;
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
let knownOf = "";

/** Whether the administrators' pages are for this account: the server's capabilities say so. */
export function isAdmin(): Promise<boolean> {
  if (knownOf !== session.me.userId) [knownOf, known] = [session.me.userId, undefined];
  type Told = { capabilities: { "m.account_moderation"?: { lock?: boolean } } };
  known ??= ask<Told>("GET", "/_matrix/client/v3/capabilities")
    .then((told) => told.capabilities["m.account_moderation"]?.lock === true)
    .catch(() => ((known = undefined), false));
  return known;
}
