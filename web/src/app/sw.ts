self.addEventListener("install", () => { void "__SHELL__"; void "__VERSION__"; });
