/* Shows the answer of a model for what it is: labels, similarities, scores, boxes, texts; any other as a table. */

import { el, shown, styled } from "./dom.js";
import { boxesView } from "./boxes.js";
import { similarityView } from "./similarity.js";

const MOST_SHOWN = 200;  // values of a tensor
const MOST_BARS = 12;

/** Return a row of a bar chart; `share` is from 0 to 1. */
export function bar(name, share, text) {
  return el("div", { class: "bar-row" },
    el("span", { class: "bar-name" }, name),
    el("span", { class: "track", "aria-hidden": "true" },
      styled(el("span", { class: "fill" }), { width: `${Math.max(0, Math.min(1, share)) * 100}%` })),
    el("span", { class: "bar-value" }, text));
}

/** Return the values of one row of a tensor. */
export function rowOf({ shape, values }, row) {
  const size = values.length / (shape[0] || 1);
  return values.slice(row * size, (row + 1) * size);
}

function textsOf(tensors, rows) {
  const texts = tensors.find(({ datatype, shape }) => datatype === "BYTES" && shape[0] === rows && shape.slice(1).every((size) => size === 1));
  return texts && texts.values.every((value) => typeof value === "string") ? texts.values : null;
}

function barsOf(pairs) {
  const sorted = [...pairs].sort((one, other) => other[1] - one[1]).slice(0, MOST_BARS);
  const top = Math.max(...sorted.map(([, score]) => Math.abs(score)), 1e-12);
  const whole = sorted.every(([, score]) => score >= 0 && score <= 1);
  return sorted.map(([name, score]) => bar(name, whole ? score : Math.max(0, score) / top, shown(score, 3)));
}

/** Labels with their scores: named by the answer, by an input of the same size, or by the model's file of labels. */
function labelsView({ outputs, inputs, labels }) {
  const scores = outputs.find(({ name, shape }) => name === "scores" && shape.length === 2);
  const source = labels ?? scores;
  if (!source || outputs.some(({ name }) => name === "boxes")) return null;
  const rows = source.shape[0];
  const width = source.shape[1];
  const named = [...outputs, ...inputs].find(({ name, datatype, shape }) => (
    datatype === "BYTES" && name !== "label" && name !== source.name && shape[0] === rows && shape[1] === width && width > 1));
  if (!labels && !named) return null;
  const texts = textsOf(inputs, rows);
  return Array.from({ length: rows }, (_, row) => {
    const pairs = labels
      ? rowOf(labels, row).map((entry) => { const [score, index, ...name] = entry.split(":"); return [name.join(":") || index, Number(score)]; })
      : rowOf(named, row).map((name, at) => [name, rowOf(scores, row)[at]]);
    return el("div", { class: "card" }, texts && el("p", { class: "said" }, texts[row]), barsOf(pairs));
  });
}

/** One score for each text: a reranker's, best first. */
function scoresView({ outputs, inputs }) {
  const score = outputs.find(({ name, shape, datatype }) => (
    name === "score" && datatype.startsWith("FP") && shape.slice(1).every((size) => size === 1)));
  const texts = score && inputs.find(({ name, datatype, values }) => name === "text" && datatype === "BYTES" && values.length === score.values.length);
  return texts && el("div", { class: "card" }, barsOf(texts.values.map((text, at) => [text, score.values[at]])));
}

function embeddingView({ outputs, inputs, model }) {
  const vectors = outputs.find(({ name, datatype, shape }) => (
    datatype.startsWith("FP") && shape.length === 2 && (/embedding/.test(name) || model.use === "embed")));
  if (!vectors) return null;
  const count = vectors.shape[0];
  const names = textsOf(inputs, count) ?? Array.from({ length: count }, (_, at) => `row ${at + 1}`);
  return similarityView(names, Array.from({ length: count }, (_, row) => rowOf(vectors, row)));
}

function textsView({ outputs }) {
  const texts = outputs.filter(({ datatype, values }) => datatype === "BYTES" && values.length > 0 && values.length <= 64);
  if (!texts.length) return null;
  return el("div", { class: "card" }, texts.map(({ name, values }) => [
    el("h4", {}, name), values.map((value) => el("p", { class: "answer" }, pretty(value)))]));
}

function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Return all outputs as a table. */
export function tensorTable(outputs) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Tensors" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Tensor", "Type", "Shape", "Values"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, outputs.map(({ name, datatype, shape, values }) => el("tr", {},
      el("th", { scope: "row", class: "code" }, name),
      el("td", { class: "code" }, datatype),
      el("td", { class: "code" }, `[${shape.join(", ")}]`),
      el("td", { class: "code values" }, preview(values)))))));
}

function preview(values) {
  const some = Array.from(values.slice(0, MOST_SHOWN), (value) => shown(value)).join(", ");
  return values.length > MOST_SHOWN ? `${some}, … (${values.length} values)` : some;
}

const VIEWS = [boxesView, labelsView, scoresView, embeddingView, textsView];

/** Return the view of an answer {outputs, inputs, pictures, model, labels}, with the tensors behind it. */
export function resultView(answer) {
  const found = VIEWS.map((view) => view(answer)).find(Boolean);
  const table = tensorTable(answer.outputs);
  return el("div", { class: "result" }, found,
    found ? el("details", {}, el("summary", {}, "Tensors"), table) : table);
}
