/* Asks for what the server wants to see: an API key, or the header of a restricted API. */

import { el } from "./dom.js";
import { keepSecrets, keptSecrets } from "./server.js";

const KEY = "Authorization";
const BEARER = "Bearer ";

/** Ask for the key, or for a header if one is named; resolve to whether something was entered. */
export function askForSecret(header = "", reason = "") {
  const name = header || KEY;
  const kept = keptSecrets()[name] ?? "";
  const box = el("input", { id: "secret", type: "password", autocomplete: "off", value: header ? kept : kept.replace(BEARER, "") });
  const label = header ? `Header ${header}` : "API key";
  const dialog = el("dialog", { "aria-labelledby": "secret-title" }, el("form", { method: "dialog" },
    el("h2", { id: "secret-title" }, label),
    reason && el("p", { class: "error" }, reason),
    el("label", { for: "secret", class: "unseen" }, label), box,
    el("p", { class: "quiet" }, "It is kept in this tab until you close it, and sent only to this server."),
    el("div", { class: "actions" },
      el("button", { class: "primary", value: "use" }, "Use"),
      kept && el("button", { value: "forget" }, "Forget"),
      el("button", { value: "cancel", formnovalidate: true }, "Cancel"))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const value = box.value.trim();
      dialog.remove();
      if (dialog.returnValue === "forget") keepSecrets({ [name]: "" });
      if (dialog.returnValue === "use" && value) keepSecrets({ [name]: header ? value : `${BEARER}${value}` });
      resolve(dialog.returnValue === "use" && Boolean(value));
    });
  });
}
