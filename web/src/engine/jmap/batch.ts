/** Several method calls in one request, where later ones may use what earlier ones answer. */
import { Refused } from "./errors.ts";
import type { Args, Invocation, ResultReference } from "./types.ts";

/** A call that was put into a batch; its answer is read with `Answers.of`. */
export interface Call<T> {
  readonly id: string;
  readonly name: string;
  /** Never set: carries the type of the answer. */
  readonly answer?: T;
}

/** RFC 8620 §3.3: the calls of one request, in order. */
export class Batch {
  readonly calls: Invocation[] = [];

  constructor(private readonly accountId: string) {}

  add<T>(name: string, args: Args): Call<T> {
    const id = `c${this.calls.length}`;
    this.calls.push([name, { accountId: this.accountId, ...args }, id]);
    return { id, name };
  }

  /** RFC 8620 §3.7: "what that call answers at this path". */
  ref(call: Call<unknown>, path: string): ResultReference {
    return { resultOf: call.id, name: call.name, path };
  }
}

/** The answers to a batch. A method may answer more than once (implicit `Email/set`). */
export class Answers {
  constructor(private readonly responses: Invocation[]) {}

  /** Throws `Refused` where the method failed or the server said nothing for it. */
  of<T>(call: Call<T>): T {
    const error = this.errorOf(call);
    if (error !== null) throw error;
    const found = this.responses.find(([name, , id]) => id === call.id && name === call.name);
    if (found === undefined) throw new Refused("serverFail", `no answer to ${call.name}`);
    return found[1] as T;
  }

  /** Null where the method failed: for calls whose failure the caller can live with. */
  maybe<T>(call: Call<T>): T | null {
    const found = this.responses.find(([name, , id]) => id === call.id && name === call.name);
    return found === undefined ? null : (found[1] as T);
  }

  errorOf(call: Call<unknown>): Refused | null {
    const found = this.responses.find(([name, , id]) => id === call.id && name === "error");
    if (found === undefined) return null;
    const { type, description } = found[1] as { type?: string; description?: string };
    return new Refused(type ?? "serverFail", description ?? "");
  }
}
