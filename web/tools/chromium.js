// Where Chromium is: CHROMIUM, or what the system has.
import { existsSync } from "node:fs";

export function chromiumPath() {
  const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("no Chromium here: apt install chromium, or set CHROMIUM");
  return found;
}
