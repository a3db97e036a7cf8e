/* Tensors as KServe's binary extension has them. A tensor is {name, datatype, shape, values}: values are numbers,
 * BigInts, booleans, strings, or Uint8Arrays (files), flat and in row-major order. */

const ARRAYS = {
  INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array,
  UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  FP32: Float32Array, FP64: Float64Array,
};
const HALVES = { FP16: [fromHalf, toHalf], BF16: [fromBrain, toBrain] };
const LENGTH = "Inference-Header-Content-Length";
const strict = new TextDecoder("utf-8", { fatal: true });
const word = new DataView(new ArrayBuffer(4));

/** Return whether a datatype holds whole numbers. */
export function isWhole(datatype) {
  return datatype.includes("INT");
}

/** Return the number of elements of a shape. */
export function sizeOf(shape) {
  return shape.reduce((product, size) => product * size, 1);
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return exponent === 31 ? (fraction ? NaN : sign * Infinity) : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function toHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | (((exponent + 15) << 10) + Math.round((size / 2 ** exponent - 1) * 1024));
}

function fromBrain(bits) {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}

function toBrain(value) {
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  return Number.isNaN(value) ? 0x7fc0 : ((bits + 0x7fff + ((bits >> 16) & 1)) >>> 16) & 0xffff;
}

function stringBytes(values) {
  const encoded = values.map((value) => (typeof value === "string" ? new TextEncoder().encode(value) : value));
  const bytes = new Uint8Array(encoded.reduce((total, each) => total + 4 + each.length, 0));
  let at = 0;
  for (const each of encoded) {
    new DataView(bytes.buffer).setUint32(at, each.length, true);
    bytes.set(each, at + 4);
    at += 4 + each.length;
  }
  return bytes;
}

/** Return the bytes of a tensor. */
export function bytesOf({ datatype, values }) {
  if (datatype === "BYTES") return stringBytes([...values]);
  if (datatype === "BOOL") return Uint8Array.from(values, Number);
  const array = HALVES[datatype] ? Uint16Array.from(values, HALVES[datatype][1]) : ARRAYS[datatype].from(values);
  return new Uint8Array(array.buffer);
}

/** Return a request: its body and headers. `outputs` are names, or objects with parameters. */
export function encodeRequest(inputs, outputs, parameters) {
  const bytes = inputs.map(bytesOf);
  const head = new TextEncoder().encode(JSON.stringify({
    parameters: { ...parameters, binary_data_output: true },
    inputs: inputs.map(({ name, datatype, shape }, at) => (
      { name, datatype, shape, parameters: { binary_data_size: bytes[at].length } })),
    outputs: outputs.length ? outputs : undefined,
  }));
  return { body: new Blob([head, ...bytes]), headers: { [LENGTH]: String(head.length) } };
}

function textOf(bytes) {
  try {
    return strict.decode(bytes);
  } catch {
    return `(${bytes.length} bytes that are not text)`;
  }
}

function strings(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const values = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint32(at, true);
    values.push(textOf(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return values;
}

function valuesOf(datatype, bytes) {
  if (datatype === "BYTES") return strings(bytes);
  if (datatype === "BOOL") return Array.from(bytes, Boolean);
  const own = bytes.slice().buffer;  // aligned
  if (HALVES[datatype]) return Array.from(new Uint16Array(own), HALVES[datatype][0]);
  return Array.from(new ARRAYS[datatype](own));
}

/** Return the answer of a response: its parameters, and its outputs as tensors. */
export async function decodeResponse(response) {
  const all = new Uint8Array(await response.arrayBuffer());
  const length = Number(response.headers.get(LENGTH) ?? all.length);
  const document = JSON.parse(new TextDecoder().decode(all.subarray(0, length)));
  let at = length;
  const outputs = (document.outputs ?? []).map(({ name, datatype, shape, data, parameters }) => {
    const size = parameters?.binary_data_size;
    if (size === undefined) return { name, datatype, shape, values: (data ?? []).flat(Infinity) };
    at += size;
    return { name, datatype, shape, values: valuesOf(datatype, all.subarray(at - size, at)) };
  });
  return { model: document.model_name, version: document.model_version, parameters: document.parameters ?? {}, outputs };
}
