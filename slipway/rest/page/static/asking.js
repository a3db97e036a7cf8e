/* The form of a model, and the request that it makes: one answer, or a stream of them. */

import { announce, el } from "./dom.js";
import { explanationView } from "./explain.js";
import { modelForm } from "./form.js";
import { resultView, tensorTable } from "./results.js";
import { events, modelPath, send } from "./server.js";
import { generateFields, snippetsView } from "./snippets.js";
import { decodeResponse, encodeRequest } from "./tensors.js";

const EXPLAIN = "slipway_explain";
const MOST_LABELS = 12;

/** Return the outputs to ask for: those with a file of labels as the best labels. */
function wantedOutputs(metadata, config) {
  const files = new Map((config.output ?? []).map((each) => [each.name, each.label_filename]));
  const labelled = metadata.outputs.find(({ name, datatype, shape }) => (
    files.get(name) && datatype !== "BYTES" && shape.at(-1) > 0));
  if (!labelled) return { labelled: "", outputs: [] };
  return { labelled: labelled.name, outputs: metadata.outputs.map(({ name, shape }) => (
    name === labelled.name ? { name, parameters: { classification: Math.min(MOST_LABELS, shape.at(-1)) } } : { name })) };
}

async function infer(about, request, explains, signal) {
  const { labelled, outputs } = wantedOutputs(about.metadata, about.config);
  const parameters = explains ? { ...request.parameters, [EXPLAIN]: true } : request.parameters;
  const { body, headers } = encodeRequest(request.inputs, outputs, parameters);
  const started = performance.now();
  const response = await send(`${modelPath(about.model.name, about.version)}/infer`, { method: "POST", body, headers, signal });
  const answer = await decodeResponse(response);
  const labels = answer.outputs.find(({ name }) => name === labelled);
  return { ...answer, labels, took: performance.now() - started };
}

function eventTensors(event, metadata) {
  return metadata.outputs.filter(({ name }) => name in event).map(({ name, datatype }) => {
    const values = Array.isArray(event[name]) ? event[name] : [event[name]];
    return { name, datatype, shape: [values.length], values };
  });
}

/** Show the responses of a stream while they arrive: texts as one text, others one below the other. */
async function stream(about, request, explains, signal, place) {
  const isText = about.metadata.outputs.some(({ datatype }) => datatype === "BYTES");
  const text = el("p", { class: "answer streaming", role: "log", "aria-label": "Answer", tabindex: "0" });
  const rows = el("div");
  place.replaceChildren(el("div", { class: "card" }, isText && text, rows));
  const fields = generateFields(request.inputs, request.parameters);
  const headers = explains ? { "slipway-explain": "true" } : {};
  const state = { count: 0, first: null, explanation: null };
  const started = performance.now();
  for await (const data of events(`${modelPath(about.model.name, about.version)}/generate_stream`, fields, { headers, signal })) {
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error);
    state.explanation = event[EXPLAIN] ?? state.explanation;
    const tensors = eventTensors(event, about.metadata);
    if (!tensors.length) continue;
    state.count += 1;
    state.first ??= performance.now() - started;
    const piece = tensors.find(({ datatype }) => datatype === "BYTES");
    if (piece) text.append(piece.values.join("\n"));
    else rows.append(tensorTable(tensors));
  }
  text.classList.remove("streaming");
  return { ...state, took: performance.now() - started };
}

function took(ms, more) {
  return el("p", { class: "quiet took" }, `${ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`}${more}, as this browser saw it`);
}

/** Return the view of an error. */
export function errorView(error) {
  return el("p", { class: "error", role: "alert" }, error.message);
}

/** Return the page on which people ask a model; `about` is {model, version, metadata, config, settings}. */
export function askingView(about) {
  const { model, settings } = about;
  const isStream = about.config.model_transaction_policy?.decoupled ?? model.decoupled;
  const form = modelForm(model, about.metadata, about.config);
  const explain = el("input", { type: "checkbox" });
  const go = el("button", { type: "submit", class: "primary", title: "Ctrl-Enter" }, "Send");
  const stop = el("button", { type: "button", hidden: true, click: () => running?.abort() }, "Stop");
  const answer = el("div", { class: "answers" }, el("p", { class: "empty" }, "The answer appears here."));
  let running = null;

  async function ask(request) {
    const programs = snippetsView({ ...request, model: model.name, version: about.version, stream: isStream, settings,
      outputs: about.metadata.outputs.map(({ name }) => name) });
    const place = el("div");
    if (isStream) {
      answer.replaceChildren(place, programs);
      const state = await stream(about, request, explain.checked, running.signal, place);
      const first = state.first === null ? "" : `, the first after ${state.first.toFixed(0)} ms`;
      place.append(took(state.took, ` for ${state.count} ${state.count === 1 ? "response" : "responses"}${first}`));
      if (state.explanation) place.append(explanationView(state.explanation));
    } else {
      const result = await infer(about, request, explain.checked, running.signal);
      const explanation = result.parameters[EXPLAIN];
      place.append(resultView({ ...result, inputs: request.inputs, pictures: request.pictures, model }),
        took(result.took, ""), explanation ? explanationView(explanation) : "");
      answer.replaceChildren(place, programs);
    }
    announce("The answer has arrived.");
  }

  async function submit(event) {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    go.disabled = true;
    stop.hidden = false;
    answer.setAttribute("aria-busy", "true");
    try {
      await ask(await form.read());
    } catch (error) {
      const stopped = error.name === "AbortError";
      if (!isStream || !stopped) answer.replaceChildren(stopped ? el("p", { class: "empty" }, "Stopped.") : errorView(error));
    } finally {
      running = null;
      go.disabled = false;
      stop.hidden = true;
      answer.removeAttribute("aria-busy");
    }
  }

  function keydown(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
  }

  return el("div", { class: "asking" },
    el("form", { class: "card", submit, keydown, "aria-label": `Request to ${model.name}` }, form.node,
      el("div", { class: "actions" }, go, stop, settings.explains && el("label", { class: "check" }, explain, " Explain where the time goes"))),
    answer);
}
