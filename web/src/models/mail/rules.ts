// Filters as a form shows them, and the Sieve script (RFC 5228) that they become. The rules stand in
// the script as one comment, so that the form finds them again; a script without it is the owner's own.
export interface Test {
  field: "from" | "to" | "subject" | "list" | "body";
  how: "contains" | "is";
  value: string;
}

export interface Rule {
  name: string;
  on: boolean;
  /** All tests must hold, or any. */
  join: "all" | "any";
  tests: Test[];
  /** Mailbox by name, with `/` between parent and child. */
  into: string | null;
  flag: boolean;
  seen: boolean;
  /** Throw away; nothing else counts then. */
  discard: boolean;
  /** No later rule looks at what this one took. */
  stop: boolean;
}

export const SCRIPT = "Kerwen";
const MARK = "# kerwen-rules: ";

export const fresh = (): Rule => ({
  name: "", on: true, join: "all", tests: [{ field: "from", how: "contains", value: "" }],
  into: null, flag: false, seen: false, discard: false, stop: true,
});

/** RFC 5228 §2.4.2: a quoted string. */
const text = (value: string): string =>
  `"${value.replace(/[\r\n\u0000]+/g, " ").replace(/["\\]/g, "\\$&")}"`;

function test({ field, how, value }: Test): string {
  switch (field) {
    case "from":
      return `address :${how} "from" ${text(value)}`;
    case "to":
      return `address :${how} ["to", "cc"] ${text(value)}`;
    case "subject":
      return `header :${how} "subject" ${text(value)}`;
    case "list":
      return `header :contains "list-id" ${text(value)}`;
    case "body":
      return `body :text :contains ${text(value)}`;
  }
}

function deeds(rule: Rule): string[] {
  if (rule.discard) return ["discard;", "stop;"];
  const flags = [...(rule.seen ? ["\\\\Seen"] : []), ...(rule.flag ? ["\\\\Flagged"] : [])];
  const list = flags.length === 0 ? "" : ` :flags [${flags.map((flag) => `"${flag}"`).join(", ")}]`;
  const out = [rule.into === null ? `keep${list};` : `fileinto${list} :create ${text(rule.into)};`];
  return rule.stop ? [...out, "stop;"] : out;
}

export function usable(rule: Rule): boolean {
  const does = rule.discard || rule.into !== null || rule.flag || rule.seen;
  return does && rule.tests.some(({ value }) => value.trim() !== "");
}

export function script(rules: Rule[]): string {
  const active = rules.filter((rule) => rule.on && usable(rule));
  const needs = new Set<string>();
  const blocks = active.map((rule) => {
    const tests = rule.tests.filter(({ value }) => value.trim() !== "");
    if (tests.some(({ field }) => field === "body")) needs.add("body");
    if (rule.into !== null && !rule.discard) ["fileinto", "mailbox"].forEach((one) => needs.add(one));
    if ((rule.flag || rule.seen) && !rule.discard) needs.add("imap4flags");
    const joined = tests.map(test).join(",\n    ");
    return `if ${rule.join === "all" ? "allof" : "anyof"} (${joined}) {\n    ${deeds(rule).join("\n    ")}\n}\n`;
  });
  const require = needs.size === 0 ? "" : `require [${[...needs].map((one) => `"${one}"`).join(", ")}];\n`;
  // JSON has no line break of its own, and a comment ends at one: nothing can break out of it.
  return `${MARK}${JSON.stringify(rules)}\n${require}\n${blocks.join("\n")}`;
}

/** The rules of a script; null where a person wrote it. */
export function rulesOf(source: string): Rule[] | null {
  const line = source.split(/\r?\n/, 1)[0] ?? "";
  if (!line.startsWith(MARK)) return null;
  try {
    const found = JSON.parse(line.slice(MARK.length)) as Partial<Rule>[];
    return Array.isArray(found) ? found.map((rule) => ({ ...fresh(), ...rule })) : null;
  } catch {
    return null;
  }
}
