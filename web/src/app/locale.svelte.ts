// The language of the app. Paraglide's words ask `getLocale`, so whatever shows a word changes
// with the setting, without a reload.
export const locales = ["en", "tk", "ru", "fr"] as const;
export type Locale = (typeof locales)[number];
export const baseLocale: Locale = "en";
export const experimentalStaticLocale: Locale | undefined = undefined;

const KEY = "kerwen.locale";

function isLocale(text: unknown): text is Locale {
  return locales.includes(text as Locale);
}

function first(): Locale {
  const kept = typeof localStorage === "undefined" ? null : localStorage.getItem(KEY);
  if (isLocale(kept)) return kept;
  for (const wanted of typeof navigator === "undefined" ? [] : navigator.languages) {
    const short = wanted.slice(0, 2).toLowerCase();
    if (isLocale(short)) return short;
  }
  return baseLocale;
}

let locale = $state<Locale>(first());

export function getLocale(): Locale {
  return locale;
}

/** Changes the language of everything that is shown, and keeps it. */
export function setLocale(to: Locale): void {
  locale = to;
  localStorage.setItem(KEY, to);
  document.documentElement.lang = to;
}
