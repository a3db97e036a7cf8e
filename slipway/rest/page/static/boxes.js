/* Objects that a detector found, drawn on the picture that it was given. Two forms: an output per label with rows of
 * left, top, right, bottom in parts of the page, and score; or boxes in pixels, with scores and labels. */

import { el, svg } from "./dom.js";
import { drawn } from "./images.js";

const WIDEST = 720;  // pixels of the drawing
const COLOURS = 6;  // page.css has as many

function chunks(values, size) {
  return Array.from({ length: Math.floor(values.length / size) }, (_, at) => values.slice(at * size, (at + 1) * size));
}

function perLabel(outputs, row) {
  const found = outputs.filter(({ datatype, shape }) => datatype === "FP32" && shape.at(-1) === 5 && shape.length >= 2);
  return found.flatMap(({ name, shape, values }) => {
    const rows = shape.length === 3 ? shape[0] : 1;
    const size = values.length / (rows || 1);
    return chunks(values.slice(row * size, (row + 1) * size), 5)
      .filter((each) => each[4] > 0)
      .map(([left, top, right, bottom, score]) => ({ label: name, score, box: [left, top, right, bottom] }));
  });
}

function inPixels(outputs, row, picture) {
  const [boxes, scores, labels] = ["boxes", "scores", "labels"].map((name) => outputs.find((each) => each.name === name));
  if (!boxes || !scores || !labels) return null;
  const most = scores.shape.at(-1);
  const scale = [picture.width, picture.height, picture.width, picture.height];
  return chunks(boxes.values.slice(row * most * 4, (row + 1) * most * 4), 4).map((box, at) => ({
    label: labels.values[row * most + at], score: scores.values[row * most + at], box: box.map((value, side) => value / scale[side]),
  })).filter(({ score }) => score > 0);
}

function drawing(picture, found, colours) {
  const canvas = drawn(picture, WIDEST, `The picture, with ${found.length} objects`);
  const { width, height } = canvas;
  const shapes = found.map(({ label, score, box: [left, top, right, bottom] }) => svg("g", { class: `colour-${colours.get(label)}` },
    svg("rect", { x: left * width, y: top * height, width: Math.max(1, (right - left) * width), height: Math.max(1, (bottom - top) * height), class: "box" }),
    svg("text", { x: left * width + 4, y: Math.max(13, top * height - 5), class: "box-label" }, `${label} ${score.toFixed(2)}`)));
  return el("div", { class: "detected" }, canvas, svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, shapes));
}

function table(found, colours) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Objects" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Object", "Score", "Left", "Top", "Right", "Bottom"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, found.map(({ label, score, box }) => el("tr", {},
      el("th", { scope: "row" }, el("span", { class: `dot colour-${colours.get(label)}` }), label),
      el("td", {}, score.toFixed(2)), box.map((side) => el("td", { class: "code" }, side.toFixed(3))))))));
}

/** Return the view of the objects in each picture; null if the answer is of another kind, or there are no pictures. */
export function boxesView({ outputs, pictures }) {
  const isDetector = ["boxes", "scores", "labels"].every((name) => outputs.some((each) => each.name === name)) ||
    outputs.some(({ datatype, shape }) => datatype === "FP32" && shape.length >= 2 && shape.at(-1) === 5);
  if (!pictures.length || !isDetector) return null;
  return pictures.map((picture, row) => {
    const found = inPixels(outputs, row, picture) ?? perLabel(outputs, row);
    const labels = [...new Set(found.map(({ label }) => label))];
    const colours = new Map(labels.map((label, at) => [label, at % COLOURS]));
    return el("div", { class: "card" }, drawing(picture, found, colours),
      found.length ? table(found, colours) : el("p", {}, "No objects were found."));
  });
}
