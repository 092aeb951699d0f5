// What a person sets for this browser. Kept in localStorage: it must be known before anything draws.
export type Theme = "system" | "light" | "dark";

interface Settings {
  theme: Theme;
  textSize: number; // 1 is the system's
  saver: boolean; // loads pictures and files only when asked
  sounds: boolean;
  notify: boolean;
  notifyText: boolean; // what was written shows in notifications
  receipts: boolean;
  typing: boolean;
  enterSends: boolean;
}

const KEY = "kerwen.settings";
const FIRST: Settings = {
  theme: "system",
  textSize: 1,
  saver: false,
  sounds: true,
  notify: false,
  notifyText: true,
  receipts: true,
  typing: true,
  enterSends: true,
};

function load(): Settings {
  try {
    return { ...FIRST, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Settings>) };
  } catch {
    return { ...FIRST };
  }
}

export const settings = $state<Settings>(load());

export function set<K extends keyof Settings>(key: K, value: Settings[K]): void {
  settings[key] = value;
  localStorage.setItem(KEY, JSON.stringify(settings));
  show();
}

/** Puts the look on the page. */
export function show(): void {
  const root = document.documentElement;
  if (settings.theme === "system") delete root.dataset.theme;
  else root.dataset.theme = settings.theme;
  root.style.setProperty("--scale", String(settings.textSize));
}
