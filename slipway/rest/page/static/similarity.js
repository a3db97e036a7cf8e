/* Embeddings: the cosine of each pair of texts as a matrix, and the first numbers of each vector. */

import { el, shown, styled } from "./dom.js";

const MOST = 24;  // texts of a matrix

/** Return the cosine of two vectors, 0 if one of them has no direction. */
export function cosine(one, other) {
  let product = 0;
  let first = 0;
  let second = 0;
  for (let at = 0; at < one.length; at += 1) {
    product += one[at] * other[at];
    first += one[at] ** 2;
    second += other[at] ** 2;
  }
  return first && second ? product / Math.sqrt(first * second) : 0;
}

function cell(value) {
  return styled(el("td", {}, value.toFixed(2)), { "--heat": `${Math.round(Math.max(0, Math.min(1, value)) * 100)}%` });
}

function matrix(names, vectors) {
  const head = el("tr", {}, el("td", {}), names.map((name, at) => el("th", { scope: "col", title: name }, String(at + 1))));
  const rows = vectors.map((vector, at) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: "number" }, String(at + 1)), names[at]),
    vectors.map((other) => cell(cosine(vector, other)))));
  return el("table", { class: "matrix" },
    el("caption", {}, "Cosine similarity"), el("thead", {}, head), el("tbody", {}, rows));
}

function vectorLine(name, vector) {
  const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  const some = vector.slice(0, 6).map((value) => shown(value, 3)).join(", ");
  return el("li", {}, el("span", {}, name), " ", el("span", { class: "code quiet" }, `[${some}, …] ${vector.length} numbers, length ${shown(norm, 3)}`));
}

/** Return the view of vectors, which have names. */
export function similarityView(names, vectors) {
  const shownNames = names.slice(0, MOST);
  const list = el("ul", { class: "vectors" }, shownNames.map((name, at) => vectorLine(name, vectors[at])));
  if (vectors.length < 2) {
    return el("div", { class: "card" }, list, el("p", { class: "quiet" }, "With two texts or more, their similarity is shown."));
  }
  return el("div", { class: "card" },
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Similarity matrix" }, matrix(shownNames, vectors.slice(0, MOST))),
    vectors.length > MOST && el("p", { class: "quiet" }, `The first ${MOST} of ${vectors.length} texts.`),
    el("details", {}, el("summary", {}, "Vectors"), list));
}
