import "./ui/tokens.css";
import "./ui/base.css";
import { mount } from "svelte";
import App from "./app/App.svelte";
import { getLocale } from "./app/locale.svelte.ts";
import { startRouter } from "./app/router.svelte.ts";
import { show } from "./app/settings.svelte.ts";
import { keepWorker } from "./app/worker.svelte.ts";

show();
document.documentElement.lang = getLocale();
startRouter();
mount(App, { target: document.getElementById("app")! });
if (import.meta.env.PROD && import.meta.env.MODE !== "demo") keepWorker();
