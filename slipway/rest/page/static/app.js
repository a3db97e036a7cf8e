/* The page: reads what the server has, shows the list of models and the chosen one. The address keeps the choice. */

import { errorView } from "./asking.js";
import { el } from "./dom.js";
import { fillList } from "./list.js";
import { showModel } from "./model.js";
import { askForSecret } from "./secrets.js";
import { askJson, ServerError, whenRefused } from "./server.js";
import { beginTheme } from "./theme.js";

const LOOK_AGAIN_MS = 5000;
const nav = document.getElementById("models");
const main = document.getElementById("model");
const menu = document.getElementById("models-button");
const app = { settings: null, models: [], shown: "", listed: "", look: 0 };

function address() {
  const given = new URLSearchParams(location.hash.slice(1));
  return { model: given.get("model") ?? "", tab: given.get("tab") ?? "", version: given.get("version") ?? "" };
}

function setAddress(changes, { replace = false } = {}) {
  const next = Object.entries({ ...address(), ...changes }).filter(([, value]) => value);
  const hash = `#${new URLSearchParams(next)}`;
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, "", hash);
  else location.hash = hash;
}

function chosenModel() {
  const { model } = address();
  return app.models.find(({ name }) => name === model) ??
    app.models.find(({ state, is_part: isPart }) => state === "READY" && !isPart) ?? app.models[0];
}

function openList(isOpen) {
  nav.classList.toggle("open", isOpen);
  menu.setAttribute("aria-expanded", String(isOpen));
}

function select(name) {
  openList(false);
  setAddress({ model: name, version: "" });
  main.focus();
}

/** Show the chosen model, unless it is shown as it is. */
async function show() {
  const model = chosenModel();
  const listed = JSON.stringify([app.models, model?.name]);
  if (listed !== app.listed) fillList(nav, app.models, model?.name, select);
  app.listed = listed;
  if (!model) {
    main.replaceChildren(el("p", { class: "empty" }, "There is no model to show."));
    return;
  }
  setAddress({ model: model.name }, { replace: true });
  const { tab, version } = address();
  const key = JSON.stringify([model.name, model.state, version, model.versions]);
  if (key === app.shown) return;
  app.shown = key;
  document.title = `${model.name} · Slipway`;
  const isOther = main.dataset.model !== model.name;
  main.dataset.model = model.name;
  if (isOther) main.replaceChildren(el("p", { class: "empty" }, "Loading …"));
  await showModel(main, model, {
    models: app.models, settings: app.settings, tab, version,
    setTab: (title) => setAddress({ tab: title }, { replace: true }),
    setVersion: (number) => setAddress({ version: number }),
    reload: () => { app.shown = ""; return look(); },
    isCurrent: () => app.shown === key,
  });
}

async function look() {
  app.look += 1;
  const mine = app.look;
  const { models } = await askJson("/ui/models");
  if (mine !== app.look) return;
  app.models = models;
  await show();
}

async function lookAgain() {
  if (!document.hidden) {
    try {
      await look();
    } catch (error) {
      if (error instanceof ServerError) return;  // it does not want to answer: asking again and again would not help
      app.listed = "";
      nav.querySelectorAll(".state").forEach((state) => { state.className = "state unavailable"; });
    }
  }
  setTimeout(lookAgain, LOOK_AGAIN_MS);
}

async function begin() {
  beginTheme(document.getElementById("theme"));
  whenRefused(askForSecret);
  document.getElementById("key").addEventListener("click", async () => { if (await askForSecret()) location.reload(); });
  menu.addEventListener("click", () => openList(!nav.classList.contains("open")));
  addEventListener("hashchange", show);
  try {
    app.settings = await askJson("/ui/settings");
    document.getElementById("server").textContent = app.settings.version;
    await look();
    setTimeout(lookAgain, LOOK_AGAIN_MS);
  } catch (error) {
    main.replaceChildren(errorView(error), el("button", { type: "button", click: () => location.reload() }, "Try again"));
  }
}

begin();
