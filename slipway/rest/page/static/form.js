/* The form of a model, made from its metadata and configuration. */

import { el } from "./dom.js";
import { inputField, takesFiles } from "./fields.js";
import { sameRows } from "./values.js";

const TEXTS = {
  embed: "A cat is sleeping on the sofa.\nThe kitten naps on the couch.\nShares fell after the report.\nThe stock market lost value.",
  classify: "The company's profit rose by a fifth.",
  choose: "The company's profit rose by a fifth.",
  rerank: "Cats sleep up to sixteen hours a day.\nThe stock market fell.\nDogs need to be walked twice a day.",
  generate: "The Moon is",
  "": "A cat is sleeping on the sofa.",
};
const BY_NAME = {
  labels: "finance\nsports\npolitics", query: "How long does a cat sleep?", question: "Where is the cat sleeping?",
  context: "A cat is sleeping on the sofa. The dog is in the garden.",
};
const MASKED = "The capital of France is [MASK].";
const LARGE = 64;  // numbers that nobody types

function exampleOf(input, model) {
  if (input.optional) return { text: "", byLine: input.datatype === "BYTES" };
  if (input.datatype === "BYTES") {
    const text = BY_NAME[input.name] ?? (model.task === "fill-mask" ? MASKED : TEXTS[model.use] ?? TEXTS[""]);
    return { text, byLine: model.use !== "generate" && !["query", "question", "context"].includes(input.name) };
  }
  const count = input.dims.reduce((product, size) => product * (size === -1 ? 1 : size), 1);
  const shown = input.dims.includes(-1) && count === 1 ? 4 : count;
  const value = { BOOL: (at) => at % 2 === 0 }[input.datatype] ?? ((at) => at + 1);
  return { text: Array.from({ length: Math.min(shown, LARGE) }, (_, at) => value(at)).join(", "), isLarge: count > LARGE };
}

/** Return the inputs of a model as {name, datatype, dims of a row, batched, optional}. */
export function inputsOf(metadata, config) {
  const batched = config.max_batch_size > 0;
  const declared = new Map((config.input ?? []).map((each) => [each.name, each]));
  return metadata.inputs.map(({ name, datatype, shape }) => ({
    name, datatype, batched, optional: Boolean(declared.get(name)?.optional), dims: batched ? shape.slice(1) : shape,
  }));
}

function firstOnes(inputs) {
  const required = inputs.filter((input) => !input.optional);
  if (required.length) return required;
  const encoded = inputs.filter((input) => input.datatype === "BYTES" && takesFiles(input));
  return encoded.length ? encoded : inputs.slice(0, 1);
}

function parameterField(config) {
  const text = config.sequence_batching ? '{"sequence_id": 1, "sequence_start": true, "sequence_end": true}' : "";
  const box = el("textarea", { rows: 2, class: "code", spellcheck: "false", placeholder: '{"name": "value"}' }, text);
  return {
    node: el("label", { class: "field" }, el("span", { class: "field-head" }, "Parameters of the request, in JSON"), box),
    read() {
      if (!box.value.trim()) return {};
      const value = JSON.parse(box.value);
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("they are not an object");
      return value;
    },
  };
}

/** Return a form: `node`, and `read`, which returns {inputs, parameters, pictures}. */
export function modelForm(model, metadata, config) {
  const inputs = inputsOf(metadata, config);
  const first = firstOnes(inputs);
  const fields = new Map(inputs.map((input) => [input, inputField(input, exampleOf(input, model))]));
  const more = inputs.filter((input) => !first.includes(input));
  const parameters = parameterField(config);
  const node = el("div", { class: "fields" },
    first.map((input) => fields.get(input).node),
    more.length > 0 && el("details", {}, el("summary", {}, `${more.length} more ${more.length === 1 ? "input" : "inputs"}`),
      more.map((input) => fields.get(input).node)),
    el("details", { open: Boolean(config.sequence_batching) }, el("summary", {}, "Parameters"), parameters.node));
  async function read() {
    const tensors = await Promise.all([...fields.values()].map((field) => field.read()));
    const given = tensors.filter(Boolean);
    const missing = inputs.find((input, at) => !input.optional && !tensors[at]);
    if (missing) throw new Error(`${missing.name}: a value is missing`);
    if (!given.length) throw new Error("fill in an input");
    let own;
    try {
      own = parameters.read();
    } catch (error) {
      throw new Error(`Parameters: ${error.message}`);
    }
    const pictures = [...fields.values()].flatMap((field) => field.pictures()).filter(Boolean);
    return { inputs: config.max_batch_size > 0 ? sameRows(given) : given, parameters: own, pictures };
  }
  return { node, read };
}
