/* The field of one input of a model: text, numbers or files, and a tensor of what is in it. */

import { el, freshId } from "./dom.js";
import { arePixels, drawn, pictureOf, pixelsOf } from "./images.js";
import { madeUp, readNumbers, readTexts } from "./values.js";

const PICTURES = /image|picture|photo|pixels/i;

/** Return whether an input takes files rather than text. */
export function takesFiles({ name, datatype, dims }) {
  return arePixels(datatype, dims) || (datatype === "BYTES" && PICTURES.test(name));
}

function fileChooser(input, id) {
  const pictures = el("div", { class: "pictures" });
  const chooser = el("input", { type: "file", id, multiple: input.batched, accept: takesFiles(input) ? "image/*" : null });
  const state = { files: [], pictures: [] };
  chooser.addEventListener("change", async () => {
    state.files = [...chooser.files];
    state.pictures = await Promise.all(state.files.map(pictureOf));
    pictures.replaceChildren(...state.pictures.flatMap((picture, at) => (
      picture ? [drawn(picture, 120, `Preview of ${state.files[at].name}`)] : [])));
  });
  return { node: el("div", {}, chooser, pictures), state };
}

async function readFiles(input, { files, pictures }) {
  if (!files.length) return null;
  const pixels = arePixels(input.datatype, input.dims);
  if (!pixels) {
    const values = await Promise.all(files.map(async (file) => new Uint8Array(await file.arrayBuffer())));
    const inner = input.dims.map((size) => (size === -1 ? 1 : size));
    return { shape: input.batched ? [values.length, ...inner] : inner, values };
  }
  if (files.length > 1) throw new Error("choose one picture: the rows of a tensor have one size");
  if (!pictures[0]) throw new Error(`'${files[0].name}' is not a picture that this browser shows`);
  const { shape, values } = pixelsOf(pictures[0], input.dims);
  return { shape: input.batched ? [1, ...shape] : shape, values };
}

function textBox(input, id, example) {
  const rows = input.datatype === "BYTES" ? Math.min(6, Math.max(2, example.split("\n").length)) : 2;
  return el("textarea", { id, rows, spellcheck: "false", class: input.datatype === "BYTES" ? "" : "code" }, example);
}

function textField(input, id, example) {
  const box = textBox(input, id, example.text);
  const several = input.batched || !input.dims.every((size) => size === 1);
  const lines = el("input", { type: "checkbox", checked: example.byLine });
  const word = input.dims.every((size) => size === 1) ? "row" : "element";
  return {
    node: el("div", {}, box, several && el("label", { class: "check" }, lines, ` Each line is a ${word}`)),
    read: () => (box.value === "" ? null : readTexts(box.value, input, several && lines.checked)),
  };
}

function numberField(input, id, example) {
  const box = textBox(input, id, example.text);
  return { node: box, read: () => (box.value.trim() === "" ? null : readNumbers(box.value, input)) };
}

function madeUpField(input, id, isRandom) {
  const known = [...(input.batched ? [1] : []), ...input.dims.map((size) => (size === -1 ? 8 : size))];
  const box = el("input", { id, type: "text", class: "code", value: known.join(", ") });
  const hint = el("p", { class: "quiet" }, `The shape, of ${isRandom ? "random numbers" : "zeros"}.`);
  return { node: el("div", {}, box, hint), read: () => madeUp(box.value, input.datatype, isRandom) };
}

/** Return the ways to fill an input in, the usual one first: [title, function that makes a field]. */
function waysOf(input, example) {
  const file = ["File", (id) => {
    const { node, state } = fileChooser(input, id);
    return { node, read: () => readFiles(input, state), pictures: () => state.pictures };
  }];
  if (input.datatype === "BYTES") {
    const text = ["Text", (id) => textField(input, id, example)];
    return takesFiles(input) ? [file, text] : [text, file];
  }
  const numbers = ["Values", (id) => numberField(input, id, example)];
  const madeUpOnes = [false, true].map((isRandom) => (
    [isRandom ? "Random" : "Zeros", (id) => madeUpField(input, id, isRandom)]));
  if (arePixels(input.datatype, input.dims)) return [file, numbers, ...madeUpOnes];
  return example.isLarge ? [...madeUpOnes, numbers] : [numbers, ...madeUpOnes];
}

/** Return the field of an input {name, datatype, dims, batched, optional}: `node`, `read`, which returns a tensor or
 * null, and `pictures`, those that were chosen. An error of `read` names the input. */
export function inputField(input, example) {
  const id = freshId("input");
  const ways = waysOf(input, example);
  const place = el("div");
  let field;
  function choose(title) {
    field = ways.find(([each]) => each === title)[1](id);
    place.replaceChildren(field.node);
  }
  const choice = el("select", { "aria-label": `How to fill in ${input.name}`, change: () => choose(choice.value) },
    ways.map(([title]) => el("option", {}, title)));
  choose(ways[0][0]);
  const shape = [...(input.batched ? ["rows"] : []), ...input.dims.map((size) => (size === -1 ? "n" : size))];
  const node = el("div", { class: "field" },
    el("div", { class: "field-head" },
      el("label", { for: id }, input.name),
      el("span", { class: "quiet code" }, `${input.datatype} [${shape.join(", ")}]${input.optional ? " optional" : ""}`),
      choice),
    place);
  return {
    node,
    pictures: () => field.pictures?.() ?? [],
    async read() {
      try {
        const read = await field.read();
        return read && { name: input.name, datatype: input.datatype, ...read };
      } catch (error) {
        throw new Error(`${input.name}: ${error.message}`);
      }
    },
  };
}
