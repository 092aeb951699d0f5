/** Why a request to the mail server brought nothing. */

/** The line is down, slow beyond patience, or the server is not there. Worth trying again. */
export class NoLine extends Error {
  constructor(cause?: unknown) {
    super("no line", { cause });
    this.name = "NoLine";
  }
}

/** The server is there but has no time. `retryMs`: how long it asks us to wait. */
export class Busy extends Error {
  constructor(readonly retryMs: number) {
    super("busy");
    this.name = "Busy";
  }
}

/** The access token does not count any more. */
export class SignedOut extends Error {
  constructor() {
    super("signed out");
    this.name = "SignedOut";
  }
}

/** The server will not: a problem of RFC 7807 for the whole request, or one method's error. */
export class Refused extends Error {
  constructor(
    readonly type: string,
    readonly description: string = "",
    readonly status = 0,
  ) {
    super(description === "" ? type : `${type}: ${description}`);
    this.name = "Refused";
  }
}

/** Whether trying the same again later can help. */
export function mayPass(error: unknown): boolean {
  if (error instanceof NoLine || error instanceof Busy) return true;
  return error instanceof Refused && /^server(Unavailable|Fail|PartialFail)$/.test(error.type);
}
