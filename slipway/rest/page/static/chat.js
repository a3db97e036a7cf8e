/* A conversation with a model that has a chat template, over OpenAI's API, while its text grows. */

import { announce, el } from "./dom.js";
import { errorView } from "./asking.js";
import { events } from "./server.js";
import { snippetsView } from "./snippets.js";

function bubble(role, text) {
  const said = el("p", {}, text);
  return { node: el("div", { class: `bubble ${role}` }, el("span", { class: "unseen" }, role === "user" ? "You: " : "Model: "), said), said };
}

function numberField(label, value, attributes) {
  const box = el("input", { type: "number", value, ...attributes });
  return { box, node: el("label", { class: "inline" }, label, " ", box) };
}

/** Yield the text of an answer in pieces. */
async function* pieces(document, signal) {
  for await (const data of events("/v1/chat/completions", document, { signal })) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message ?? event.error);
    const piece = event.choices?.[0]?.delta?.content;
    if (piece) yield piece;
  }
}

/** Return the page of a conversation; `about` is {model, settings}. */
export function chatView({ model }) {
  const said = [];
  const log = el("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: "0" },
    el("p", { class: "empty" }, "Say something to the model."));
  const system = el("input", { type: "text", placeholder: "none" });
  const tokens = numberField("Longest answer, in tokens", 128, { min: 1, max: 65536, step: 1 });
  const heat = numberField("Temperature", "", { min: 0, max: 2, step: 0.1, placeholder: "the model's" });
  const box = el("textarea", { rows: 2, "aria-label": "Message", placeholder: "Message", keydown: (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  } });
  const go = el("button", { type: "submit", class: "primary" }, "Send");
  const stop = el("button", { type: "button", hidden: true, click: () => running?.abort() }, "Stop");
  const clear = el("button", { type: "button", click: () => { said.length = 0; log.replaceChildren(); programs.replaceChildren(); box.focus(); } }, "New conversation");
  const programs = el("div");
  let running = null;

  function document() {
    const first = system.value ? [{ role: "system", content: system.value }] : [];
    const temperature = heat.box.value === "" ? {} : { temperature: Number(heat.box.value) };
    return { model: model.name, messages: [...first, ...said], max_completion_tokens: Number(tokens.box.value) || 128, ...temperature, stream: true };
  }

  async function submit(event) {
    event.preventDefault();
    if (running || !box.value.trim()) return;
    log.querySelector(".empty")?.remove();
    said.push({ role: "user", content: box.value });
    log.append(bubble("user", box.value).node);
    box.value = "";
    running = new AbortController();
    go.disabled = true;
    stop.hidden = false;
    const asked = document();
    const answer = bubble("assistant", "");
    log.append(answer.node);
    answer.said.classList.add("streaming");
    try {
      for await (const piece of pieces(asked, running.signal)) {
        answer.said.append(piece);
        log.scrollTop = log.scrollHeight;
      }
    } catch (error) {
      if (error.name !== "AbortError") log.append(errorView(error));
    } finally {
      if (answer.said.textContent) said.push({ role: "assistant", content: answer.said.textContent });
      else said.pop();  // the question, to which there is no answer
      answer.said.classList.remove("streaming");
      if (!answer.said.textContent) answer.node.classList.add("silent");
      programs.replaceChildren(snippetsView({ document: asked }));
      announce("The model has answered.");
      running = null;
      go.disabled = false;
      stop.hidden = true;
      box.focus();
    }
  }

  const form = el("form", { class: "composer", submit, "aria-label": "Message to the model" }, box, el("div", { class: "actions" }, go, stop, clear));
  return el("div", { class: "chat" },
    el("div", { class: "card" }, log, form,
      el("details", {}, el("summary", {}, "Settings"), el("label", { class: "inline" }, "System message ", system), tokens.node, heat.node)),
    programs);
}
