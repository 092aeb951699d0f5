// Addresses. Links are plain `<a href>`; this catches the clicks and tells what to show.
function read(): { parts: string[]; query: URLSearchParams } {
  const parts = location.pathname.split("/").filter(Boolean).map(decode);
  return { parts, query: new URLSearchParams(location.search) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = $state<{ parts: string[]; query: URLSearchParams }>(read());
let depth = 0; // how many steps of our own lie behind

function take(): void {
  const next = read();
  route.parts = next.parts;
  route.query = next.query;
}

/** Goes to an address of the app. */
export function go(path: string, how: { replace?: boolean } = {}): void {
  if (how.replace) history.replaceState({ depth }, "", path);
  else if (path !== location.pathname + location.search) history.pushState({ depth: ++depth }, "", path);
  take();
}

/** One step back, or to `otherwise` where the app was opened at this address. */
export function back(otherwise: string): void {
  if (depth > 0) history.back();
  else go(otherwise, { replace: true });
}

/** An address of parts, each escaped. */
export function path(...parts: string[]): string {
  return "/" + parts.map(encodeURIComponent).join("/");
}

export function startRouter(): void {
  window.addEventListener("popstate", (event) => {
    depth = (event.state as { depth?: number } | null)?.depth ?? 0;
    take();
  });
  window.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = (event.target as Element | null)?.closest?.("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/_")) return; // the account's pages are the server's
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
