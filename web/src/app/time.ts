// Times as people say them, in the language of the app. Browsers rarely know Turkmen, so its names
// are here; all else is Intl's.
import * as m from "../words/messages.js";
import { getLocale } from "./locale.svelte.ts";

const TK_MONTHS = [
  "ýanwar", "fewral", "mart", "aprel", "maý", "iýun",
  "iýul", "awgust", "sentýabr", "oktýabr", "noýabr", "dekabr",
];
const TK_DAYS = ["ýekşenbe", "duşenbe", "sişenbe", "çarşenbe", "penşenbe", "anna", "şenbe"];
const TK_SOFT = "njy";
const DAY = 86_400_000;

/** The ending of a day's number in Turkmen: 6, 9, 10, 19, 26, 29 and 30 take the back vowel. */
function ordinal(day: number): string {
  const back = day % 10 === 6 || day % 10 === 9 || day === 10 || day === 30;
  return `${day}-${back ? TK_SOFT : "nji"}`;
}

const known = new Map<string, Intl.DateTimeFormat>();
function format(options: Intl.DateTimeFormatOptions, date: Date): string {
  const locale = getLocale();
  const key = locale + JSON.stringify(options);
  let found = known.get(key);
  if (!found) known.set(key, (found = new Intl.DateTimeFormat(locale === "en" ? "en-GB" : locale, options)));
  return found.format(date);
}

/** 14:05 */
export function clock(ts: number): string {
  const date = new Date(ts);
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}

function startOf(ts: number): number {
  return new Date(ts).setHours(0, 0, 0, 0);
}

/** How many days ago, by the calendar. */
function daysAgo(ts: number, now = Date.now()): number {
  return Math.round((startOf(now) - startOf(ts)) / DAY);
}

export function sameDay(a: number, b: number): boolean {
  return startOf(a) === startOf(b);
}

/** For lists: the time today, "yesterday", the weekday, or the date. */
export function short(ts: number): string {
  const date = new Date(ts);
  const ago = daysAgo(ts);
  if (ago <= 0) return clock(ts);
  if (ago === 1) return m.yesterday();
  const tk = getLocale() === "tk";
  if (ago < 7) return tk ? TK_DAYS[date.getDay()]! : format({ weekday: "short" }, date);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : ("2-digit" as const);
  if (tk || year) return `${pad(date.getDate())}.${pad(date.getMonth() + 1)}${year ? `.${pad(date.getFullYear() % 100)}` : ""}`;
  return format({ day: "numeric", month: "short" }, date);
}

function pad(number: number): string {
  return String(number).padStart(2, "0");
}

/** For the lines between days: "Today", "Monday, 2 November". */
export function day(ts: number): string {
  const ago = daysAgo(ts);
  if (ago === 0) return m.today();
  if (ago === 1) return m.yesterday();
  const date = new Date(ts);
  const other = date.getFullYear() !== new Date().getFullYear();
  if (getLocale() === "tk") {
    const shown = `${ordinal(date.getDate())} ${TK_MONTHS[date.getMonth()]}`;
    return other ? `${shown} ${date.getFullYear()}` : `${shown}, ${TK_DAYS[date.getDay()]}`;
  }
  return format(
    other ? { day: "numeric", month: "long", year: "numeric" } : { weekday: "long", day: "numeric", month: "long" },
    date,
  );
}

/** Day and time, for details. */
export function full(ts: number): string {
  return `${day(ts)}, ${clock(ts)}`;
}

/** 0:07, 12:30, 1:02:03 */
export function length(ms: number): string {
  const all = Math.round(ms / 1000);
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor(all / 60) % 60;
  const seconds = pad(all % 60);
  return hours ? `${hours}:${pad(minutes)}:${seconds}` : `${minutes}:${seconds}`;
}

/** A size for people. */
export function bytes(size: number): string {
  const units = getLocale() === "fr" ? ["o", "Ko", "Mo", "Go", "To"] : getLocale() === "ru" ? ["Б", "КБ", "МБ", "ГБ", "ТБ"] : ["B", "KB", "MB", "GB", "TB"];
  let value = size;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${number(value, digits)}\u00a0${units[unit]}`;
}

export function number(value: number, digits = 0): string {
  const locale = getLocale() === "tk" ? "ru" : getLocale();
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value);
}
