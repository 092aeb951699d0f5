// Passkeys on the pages of an account, and the end of the page for other clients. Everything that
// it needs stands in the page as data; it asks nobody for anything. Without it the pages work by
// codes.
"use strict";

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

const text = (buffer) =>
  btoa(Array.from(new Uint8Array(buffer), (b) => String.fromCharCode(b)).join(""))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

// WebAuthn's JSON form into what browsers take; older ones cannot do it by themselves
function options(said) {
  const read = { ...said, challenge: bytes(said.challenge) };
  if (said.user) read.user = { ...said.user, id: bytes(said.user.id) };
  for (const list of ["excludeCredentials", "allowCredentials"]) {
    if (said[list]) read[list] = said[list].map((one) => ({ ...one, id: bytes(one.id) }));
  }
  const salt = said.extensions?.prf?.eval?.first;
  if (salt) read.extensions = { ...said.extensions, prf: { eval: { first: bytes(salt) } } };
  return read;
}

function written(credential) {
  const response = { clientDataJSON: text(credential.response.clientDataJSON) };
  for (const part of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[part]) response[part] = text(credential.response[part]);
  }
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    clientExtensionResults: {},
    response,
  };
}

const prfOf = (credential) => credential.getClientExtensionResults().prf?.results?.first;

// many authenticators give their PRF's output with an answer only, not when they are made
async function askedAgain(made, publicKey) {
  const results = made.getClientExtensionResults();
  if (!results.prf?.enabled || prfOf(made)) return prfOf(made);
  const again = {
    rpId: publicKey.rp.id,
    challenge: crypto.getRandomValues(new Uint8Array(32)),
    allowCredentials: [{ type: "public-key", id: made.rawId }],
    userVerification: "required",
    extensions: publicKey.extensions.prf ? { prf: publicKey.extensions.prf } : {},
  };
  try {
    return prfOf(await navigator.credentials.get({ publicKey: again }));
  } catch {
    return undefined; // then it is a second factor only
  }
}

async function ceremony(form) {
  const publicKey = options(JSON.parse(form.dataset.options));
  let credential, prf;
  if (form.dataset.passkey === "create") {
    credential = await navigator.credentials.create({ publicKey });
    prf = await askedAgain(credential, publicKey);
  } else {
    credential = await navigator.credentials.get({ publicKey });
    prf = prfOf(credential);
  }
  form.elements.credential.value = JSON.stringify(written(credential));
  if (prf && form.elements.prf) form.elements.prf.value = text(prf);
  form.submit();
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue; // it stays hidden
  form.hidden = false;
  const failed = form.querySelector("[data-failed]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    failed.hidden = true;
    ceremony(form).catch(() => {
      failed.hidden = false;
    });
  });
}

// CS #fallback: tells the client that the stage is done
if (document.querySelector("[data-auth-done]")) {
  if (window.onAuthDone) window.onAuthDone();
  else if (window.opener?.postMessage) window.opener.postMessage("authDone", "*");
}
