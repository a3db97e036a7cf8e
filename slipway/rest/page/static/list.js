/* The list of models: those that people ask, then the parts of which they are made. */

import { el } from "./dom.js";

const STATES = { READY: "ready", LOADING: "loading", UNLOADING: "unloading", UNAVAILABLE: "unavailable", "": "not loaded" };

/** Return a state as a word. */
export function stateWord(state) {
  return STATES[state] ?? state.toLowerCase();
}

function kindOf(model) {
  return [model.namespace, model.task || model.platform, model.engine.precision].filter(Boolean).join(", ");
}

function item(model, isSelected, select) {
  return el("li", {}, el("button", {
    type: "button", class: "model", "aria-current": isSelected ? "true" : null, click: () => select(model.name),
  }, el("span", { class: `state ${stateWord(model.state).replace(" ", "-")}`, "aria-hidden": "true" }),
  el("span", { class: "model-name" }, model.name),
  el("span", { class: "quiet" }, model.state === "READY" ? kindOf(model) : stateWord(model.state))));
}

/** Fill the list with models; `select` is called with a name. */
export function fillList(nav, models, selected, select) {
  const matching = (is) => models.filter((model) => model.is_part === is);
  const items = (some) => el("ul", {}, some.map((model) => item(model, model.name === selected, select)));
  const parts = matching(true);
  const wasOpen = nav.querySelector("details")?.open;
  const isOpen = wasOpen || parts.some(({ name }) => name === selected);
  const hadFocus = nav.contains(document.activeElement) ? document.activeElement.textContent : null;
  nav.replaceChildren(el("h2", {}, "Models"),
    models.length ? items(matching(false)) : el("p", { class: "empty" }, "The repository has no models."),
    ...(parts.length ? [el("details", { open: Boolean(isOpen) }, el("summary", {}, `Parts (${parts.length})`), items(parts))] : []));
  if (hadFocus !== null) [...nav.querySelectorAll("button")].find((button) => button.textContent === hadFocus)?.focus();
}
