/* What the server knows about a model: tensors, versions, configuration. */

import { el } from "./dom.js";
import { inputsOf } from "./form.js";
import { stateWord } from "./list.js";

function tensorRows(direction, tensors, optional) {
  return tensors.map(({ name, datatype, shape }) => el("tr", {},
    el("th", { scope: "row", class: "code" }, name), el("td", {}, optional.has(name) ? `${direction}, optional` : direction),
    el("td", { class: "code" }, datatype), el("td", { class: "code" }, `[${shape.join(", ")}]`)));
}

function versions(model) {
  if (!model.versions.length) return null;
  return el("div", { class: "card" }, el("h3", {}, "Versions"), el("ul", { class: "plain-list" }, model.versions.map(({ version, state, reason }) => (
    el("li", {}, el("strong", {}, version || "–"), ` ${stateWord(state)}`, reason && el("span", { class: "error-text" }, ` ${reason}`))))));
}

/** Return the page about a model that is ready. */
export function detailsView({ model, metadata, config }) {
  const optional = new Set(inputsOf(metadata, config).filter((input) => input.optional).map(({ name }) => name));
  return el("div", { class: "details" },
    el("div", { class: "card" }, el("h3", {}, "Tensors"),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Inputs and outputs" }, el("table", {},
        el("thead", {}, el("tr", {}, ["Name", "", "Type", "Shape"].map((head) => (head ? el("th", { scope: "col" }, head) : el("td", {}))))),
        el("tbody", {}, tensorRows("input", metadata.inputs, optional), tensorRows("output", metadata.outputs, new Set()))))),
    versions(model),
    el("details", { class: "card" }, el("summary", {}, "Configuration"), el("pre", { tabindex: "0" }, JSON.stringify(config, null, 2))));
}

/** Return what is known about a model that is not ready. */
export function unreadyView(model) {
  return el("div", {}, el("p", { class: "empty" }, `The model is ${stateWord(model.state)}.`), versions(model));
}
