/* What people type, as values of a datatype, and the shapes that they make. Knows no elements of the page. */

import { isWhole, sizeOf } from "./tensors.js";

const RANGES = {
  INT8: [-(2n ** 7n), 2n ** 7n], INT16: [-(2n ** 15n), 2n ** 15n], INT32: [-(2n ** 31n), 2n ** 31n],
  INT64: [-(2n ** 63n), 2n ** 63n], UINT8: [0n, 2n ** 8n], UINT16: [0n, 2n ** 16n], UINT32: [0n, 2n ** 32n],
  UINT64: [0n, 2n ** 64n],
};
const SPECIAL = { nan: NaN, inf: Infinity, infinity: Infinity, "+inf": Infinity, "-inf": -Infinity, "-infinity": -Infinity };

function whole(text, datatype) {
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`'${text}' is not a whole number`);
  const value = BigInt(text.replace("+", ""));
  const [low, end] = RANGES[datatype];
  if (value < low || value >= end) throw new Error(`${text} is outside the range of ${datatype}`);
  return datatype.endsWith("64") ? value : Number(value);
}

function one(text, datatype) {
  const word = text.toLowerCase();
  if (datatype === "BOOL") {
    if (!["true", "false", "1", "0"].includes(word)) throw new Error(`'${text}' is neither true nor false`);
    return word === "true" || word === "1";
  }
  if (isWhole(datatype)) return whole(text, datatype);
  const value = SPECIAL[word] ?? Number(text);
  if (text === "" || (Number.isNaN(value) && word !== "nan")) throw new Error(`'${text}' is not a number`);
  return value;
}

/** Return the shape of `count` elements: they decide the last variable dimension, any other variable one is 1. */
export function fittingShape(dims, count) {
  const fixed = sizeOf(dims.filter((size) => size !== -1));
  const last = dims.lastIndexOf(-1);
  const shape = dims.map((size, axis) => (size !== -1 ? size : axis === last ? count / fixed : 1));
  if (sizeOf(shape) !== count || !shape.every(Number.isInteger)) {
    throw new Error(`${count} ${count === 1 ? "value does" : "values do"} not fill the shape [${dims}]`);
  }
  return shape;
}

function nesting(value) {
  const shape = [];
  for (let level = value; Array.isArray(level); [level] = level) shape.push(level.length);
  return shape;
}

function fromJson(text, { datatype, dims, batched }) {
  const nested = JSON.parse(text);
  const flat = nested.flat(Infinity);
  const values = datatype === "BYTES" ? flat.map(String) : flat.map((value) => one(String(value), datatype));
  const shape = nesting(nested);
  if (sizeOf(shape) !== values.length) throw new Error("the lists differ in length");
  const rank = dims.length + Number(batched);
  if (shape.length === rank) return { shape, values };
  const inner = fittingShape(dims, values.length);
  return { shape: batched ? [1, ...inner] : inner, values };
}

function sameLength(rows) {
  const odd = rows.findIndex((row) => row.length !== rows[0].length);
  if (odd > 0) throw new Error(`row ${odd + 1} has ${rows[odd].length} values, row 1 has ${rows[0].length}`);
}

/** Return numbers as shape and values. Each line is a row, or a list in JSON has all; `dims` are those of a row. */
export function readNumbers(text, declared) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[")) return fromJson(trimmed, declared);
  const lines = trimmed.split("\n").map((line) => line.split(/[\s,;]+/).filter(Boolean)).filter((line) => line.length);
  if (!lines.length) throw new Error("a value is missing");
  const rows = declared.batched ? lines : [lines.flat()];
  const values = rows.map((row) => row.map((word) => one(word, declared.datatype)));
  sameLength(values);
  const inner = fittingShape(declared.dims, values[0].length);
  return { shape: declared.batched ? [values.length, ...inner] : inner, values: values.flat() };
}

/** Return texts as shape and values. `byLine`: each line is a row, or an element if a row has several. */
export function readTexts(text, declared, byLine) {
  const lines = byLine ? text.split("\n").filter((line) => line.trim()) : [text];
  if (!lines.length) throw new Error("a text is missing");
  const oneEach = declared.dims.every((size) => size === 1);
  if (declared.batched && oneEach) return { shape: [lines.length, ...declared.dims], values: lines };
  const inner = fittingShape(declared.dims, lines.length);
  return { shape: declared.batched ? [1, ...inner] : inner, values: lines };
}

/** Return tensors with the same number of rows: those with one row are repeated. */
export function sameRows(tensors) {
  const rows = Math.max(1, ...tensors.map(({ shape }) => shape[0]));
  return tensors.map((tensor) => {
    if (tensor.shape[0] === rows) return tensor;
    if (tensor.shape[0] !== 1) throw new Error(`'${tensor.name}' has ${tensor.shape[0]} rows, another input ${rows}`);
    const values = Array.from({ length: rows }, () => [...tensor.values]).flat();
    return { ...tensor, shape: [rows, ...tensor.shape.slice(1)], values };
  });
}

/** Return zeros, or random numbers, of a shape that is written as "1, 16". */
export function madeUp(text, datatype, isRandom) {
  const shape = text.split(/[\s,x]+/).filter(Boolean).map(Number);
  if (!shape.every((size) => Number.isInteger(size) && size >= 0)) throw new Error(`'${text}' is not a shape`);
  const count = sizeOf(shape);
  if (count > 2 ** 26) throw new Error(`${count} values are too many for a page`);
  const highest = datatype === "BOOL" ? 2 : isWhole(datatype) ? 100 : 1;
  const draw = () => (isRandom ? Math.random() * highest : 0);
  const values = Array.from({ length: count }, isWhole(datatype) || datatype === "BOOL" ? () => Math.floor(draw()) : draw);
  return { shape, values: datatype.endsWith("INT64") ? values.map(BigInt) : values };
}
