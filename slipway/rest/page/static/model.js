/* One model: its head, and the pages about it. */

import { askingView, errorView } from "./asking.js";
import { chatView } from "./chat.js";
import { conversionView } from "./conversion.js";
import { detailsView, unreadyView } from "./details.js";
import { announce, el, tabs } from "./dom.js";
import { stateWord } from "./list.js";
import { liveView } from "./live.js";
import { askJson, change, modelPath } from "./server.js";

/** Return the facts that the head shows: what the model is for, and what computes it. */
function badges(model) {
  const engine = [model.engine.engine || model.engine.backend || model.platform, model.engine.precision].filter(Boolean).join(" ");
  return [model.task, engine].filter(Boolean).map((text) => el("span", { class: "badge" }, text));
}

function control(model, settings, reload) {
  if (settings.control !== "explicit") return null;
  const act = async (button, action, word) => {
    button.disabled = true;
    button.textContent = `${word} …`;
    try {
      await change(`/v2/repository/models/${encodeURIComponent(model.name)}/${action}`);
      announce(`${model.name}: ${action} done.`);
      await reload();
    } catch (error) {
      await reload();
      document.querySelector(".control-problem")?.replaceChildren(errorView(error));
    }
  };
  const button = (title, action, word) => el("button", { type: "button", click: ({ target }) => act(target, action, word) }, title);
  const isReady = model.state === "READY";
  return el("div", { class: "actions" }, button(isReady ? "Reload" : "Load", "load", "Loading"), isReady && button("Unload", "unload", "Unloading"));
}

function versionChoice(model, chosen, choose) {
  const ready = model.versions.filter(({ state }) => state === "READY");
  if (ready.length < 2) return null;
  const choice = el("select", { change: () => choose(choice.value) }, el("option", { value: "" }, "by its policy"),
    ready.map(({ version }) => el("option", { selected: version === chosen }, version)));
  return el("label", { class: "inline" }, "Version ", choice);
}

async function streamAbout(about) {
  const name = about.model.stream;
  if (!name || name === about.model.name) return null;
  const [metadata, config] = await Promise.all([askJson(modelPath(name)), askJson(`${modelPath(name)}/config`)]);
  return { ...about, model: { ...about.model, name, decoupled: true }, version: "", metadata, config };
}

/** Return the ways to ask a model: [title, function that returns the page]. */
async function waysToAsk(about, models) {
  const { model, settings } = about;
  const hasStream = models.some(({ name, state }) => name === model.stream && state === "READY");
  const streamed = hasStream ? await streamAbout(about) : null;
  return [
    ...(model.chat && settings.openai ? [["Chat", () => chatView(about)]] : []),
    ...(streamed ? [["Stream", () => askingView(streamed)]] : []),
    ["Request", () => askingView(about)],
  ];
}

async function readyPages(about, models) {
  const path = modelPath(about.model.name, about.version);
  const [metadata, config] = await Promise.all([askJson(path), askJson(`${path}/config`)]);
  const known = { ...about, metadata, config };
  return [
    ...await waysToAsk(known, models),
    ["Live", () => liveView(known)],
    ["Conversion", () => conversionView(known)],
    ["Details", () => detailsView(known)],
  ];
}

/** Fill `place` with a model; `state` has {models, settings, tab, version, setTab, setVersion, reload, isCurrent}. */
export async function showModel(place, model, state) {
  const { settings } = state;
  const head = el("div", { class: "model-head" },
    el("div", {}, el("h1", {}, model.name),
      el("div", { class: "badges" }, el("span", { class: `badge state-badge ${stateWord(model.state).replace(" ", "-")}` }, stateWord(model.state)), badges(model))),
    el("div", { class: "actions" }, versionChoice(model, state.version, state.setVersion), control(model, settings, state.reload)));
  const problem = el("div", { class: "control-problem" });
  if (model.state !== "READY") {
    place.replaceChildren(head, problem, unreadyView(model));
    return;
  }
  try {
    const pages = await readyPages({ model, settings, version: state.version }, state.models);
    if (!state.isCurrent()) return;
    const selected = Math.max(0, pages.findIndex(([title]) => title.toLowerCase() === state.tab));
    place.replaceChildren(head, problem, tabs(`Pages about ${model.name}`, pages, { selected, onSelect: (at) => state.setTab(pages[at][0].toLowerCase()) }));
  } catch (error) {
    if (state.isCurrent()) place.replaceChildren(head, problem, errorView(error));
  }
}
