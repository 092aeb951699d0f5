// The service worker: keeps the app's shell, so that it opens off line; tells of a newer version.
import { scriptUrl } from "./trusted.ts";

export const update = $state<{ waiting: ServiceWorker | null; install: (() => Promise<void>) | null }>({
  waiting: null,
  install: null,
});

export function keepWorker(): void {
  if (!("serviceWorker" in navigator)) return;
  window.addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    const prompt = event as Event & { prompt(): Promise<void> };
    update.install = async () => {
      await prompt.prompt();
      update.install = null;
    };
  });
  const begin = async () => {
    const found = await navigator.serviceWorker.register(scriptUrl("/sw.js"));
    const look = (worker: ServiceWorker | null) => {
      worker?.addEventListener("statechange", () => {
        if (worker.state === "installed" && navigator.serviceWorker.controller) update.waiting = worker;
      });
    };
    if (found.waiting && navigator.serviceWorker.controller) update.waiting = found.waiting;
    found.addEventListener("updatefound", () => look(found.installing));
  };
  // after the first view: on a thin line the shell must not wait for its own copy
  const later = () => void begin().catch(() => {});
  if (document.readyState === "complete") setTimeout(later, 1500);
  else addEventListener("load", () => setTimeout(later, 1500));
}

/** Changes to the newer version. */
export function takeUpdate(): void {
  navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
  update.waiting?.postMessage("take");
}
