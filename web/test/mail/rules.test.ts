import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fresh, rulesOf, script, usable, type Rule } from "../../src/models/mail/rules.ts";

const rule = (more: Partial<Rule>): Rule => ({
  ...fresh(), tests: [{ field: "from", how: "contains", value: "shop" }], into: "Shops", ...more,
});

describe("filters", () => {
  it("become Sieve and come back", () => {
    const rules = [
      rule({ name: "Shops", seen: true }),
      rule({ join: "any", tests: [{ field: "body", how: "contains", value: 'a "b" \\c' }, { field: "subject", how: "is", value: "x" }], into: null, flag: true, stop: false }),
      rule({ discard: true }),
      rule({ on: false, into: "Never" }),
    ];
    const text = script(rules);
    assert.deepEqual(rulesOf(text), rules);
    const rest = text.split("\n").slice(1).join("\n");
    assert.ok(rest.startsWith('require ["fileinto", "mailbox", "imap4flags", "body"];'), rest);
    assert.ok(rest.includes('fileinto :flags ["\\\\Seen"] :create "Shops";'));
    assert.ok(rest.includes('body :text :contains "a \\"b\\" \\\\c"'));
    assert.ok(rest.includes("discard;"));
    assert.ok(!rest.includes("Never"));
  });

  it("let nothing out of their strings", () => {
    const evil = 'x"; discard; #\n"; redirect "a@b';
    const text = script([rule({ name: evil, into: evil, tests: [{ field: "from", how: "is", value: evil }] })]);
    const code = text.split("\n").slice(1).join("\n").replace(/"(?:\\.|[^"\\])*"/g, '""');
    assert.ok(!/discard|redirect/.test(code), code);
    assert.equal(rulesOf(text)?.[0]?.name, evil);
  });

  it("of a person's own script are left alone, and empty rules do nothing", () => {
    assert.equal(rulesOf('require "fileinto";\nkeep;'), null);
    assert.equal(rulesOf("# kerwen-rules: {bad"), null);
    assert.equal(usable(fresh()), false);
    assert.equal(script([fresh()]).split("\n").slice(1).join("").trim(), "");
  });
});
