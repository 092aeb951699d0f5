// The one policy by which this app loads scripts: only from its own origin (Trusted Types).
interface Policy {
  createScriptURL(url: string): string;
}

function own(url: string): string {
  const full = new URL(url, location.href);
  if (full.origin !== location.origin) throw new TypeError(`not ours: ${full.origin}`);
  return full.href;
}

const maker = (globalThis as { trustedTypes?: { createPolicy(name: string, rules: object): Policy } }).trustedTypes;
const policy: Policy = maker ? maker.createPolicy("kerwen", { createScriptURL: own }) : { createScriptURL: own };

/** The address of a worker's script, as the browser asks for it. */
export function scriptUrl(url: string | URL): string {
  return policy.createScriptURL(String(url));
}
