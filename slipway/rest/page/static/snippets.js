/* The request of the form as programs send it: curl, Python, gRPC. Secrets are placeholders. */

import { copyButton, el, tabs } from "./dom.js";
import { keptSecrets, modelPath } from "./server.js";
import { bytesOf, sizeOf } from "./tensors.js";

const MOST_WRITTEN = 256;  // elements of a tensor that a command has in full
const NUMPY = {
  BOOL: "bool", INT8: "np.int8", INT16: "np.int16", INT32: "np.int32", INT64: "np.int64", UINT8: "np.uint8",
  UINT16: "np.uint16", UINT32: "np.uint32", UINT64: "np.uint64", FP16: "np.float16", BF16: "np.float32",
  FP32: "np.float32", FP64: "np.float64", BYTES: "object",
};

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Return JSON; whole numbers of 64 bits stay exact. */
function json(value, indent) {
  const text = JSON.stringify(value, (_, each) => (typeof each === "bigint" ? `\u0001${each}\u0001` : each), indent);
  return text.replace(/"\\u0001(-?\d+)\\u0001"/g, "$1");
}

function isWritten({ datatype, values }) {
  return values.length <= MOST_WRITTEN && !["FP16", "BF16"].includes(datatype) &&
    Array.from(values).every((value) => !(value instanceof Uint8Array) && !(typeof value === "number" && !Number.isFinite(value)));
}

function curlOptions() {
  const secrets = Object.keys(keptSecrets());
  return secrets.map((name) => (name === "Authorization" ? '-H "Authorization: Bearer $SLIPWAY_API_KEY" ' : `-H ${quoted(`${name}: SECRET`)} `)).join("");
}

function dataOf(tensor) {
  const file = tensor.datatype === "BYTES" && tensor.values.length === 1 && tensor.values[0] instanceof Uint8Array;
  if (!file) return `head -c ${bytesOf(tensor).length} /dev/zero`;
  const length = new Uint8Array(new Uint32Array([tensor.values[0].length]).buffer);
  return `printf '${Array.from(length, (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")}'; cat FILE`;
}

function curlInfer({ model, version, inputs, parameters }) {
  const url = quoted(`${location.origin}${modelPath(model, version)}/infer`);
  const own = Object.keys(parameters).length ? { parameters } : {};
  const ordered = [...inputs].sort((one, other) => Number(isWritten(other)) - Number(isWritten(one)));
  const body = json({ ...own, inputs: ordered.map((tensor) => {
    const { name, shape, datatype } = tensor;
    const rest = isWritten(tensor) ? { data: [...tensor.values] } : { parameters: { binary_data_size: bytesOf(tensor).length } };
    return { name, shape, datatype, ...rest };
  }) });
  const binary = ordered.filter((tensor) => !isWritten(tensor));
  if (!binary.length) return `curl -s ${curlOptions()}${url} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`;
  const length = new TextEncoder().encode(body).length;
  const zeros = binary.some((tensor) => dataOf(tensor).startsWith("head")) ? "# the zeros stand for the values of the form\n" : "";
  const parts = [`printf %s ${quoted(body)}`, ...binary.map(dataOf)];
  return `${zeros}{ ${parts.join("; ")}; } | curl -s ${curlOptions()}${url} \\\n  -H 'Inference-Header-Content-Length: ${length}' --data-binary @-`;
}

/** Return the fields of a generate request, which adds the batch axis. */
export function generateFields(inputs, parameters) {
  const fields = inputs.map(({ name, values }) => [name, values.length === 1 ? values[0] : [...values]]);
  return { ...Object.fromEntries(fields), ...parameters };
}

function curlPost(path, document) {
  return `curl -sN ${curlOptions()}${quoted(`${location.origin}${path}`)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(json(document))}`;
}

function nested(values, shape) {
  if (shape.length < 2) return [...values];
  const size = sizeOf(shape.slice(1));
  return Array.from({ length: shape[0] }, (_, at) => nested(values.slice(at * size, (at + 1) * size), shape.slice(1)));
}

function literal(value) {
  if (value instanceof Uint8Array) return 'open("FILE", "rb").read()';
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number" && !Number.isFinite(value)) return `float("${value}")`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")}}`;
  }
  return value === null ? "None" : typeof value === "bigint" ? String(value) : JSON.stringify(value);
}

function array({ datatype, shape, values }) {
  const written = values.length <= MOST_WRITTEN;
  if (!written) return `np.zeros((${shape.join(", ")},), ${NUMPY[datatype]})`;
  return `np.array(${literal(nested([...values], shape))}, ${NUMPY[datatype]})`;
}

function pythonClient(secrets) {
  const settings = Object.keys(secrets).map((name) => (name === "Authorization" ? 'api_key=os.environ["SLIPWAY_API_KEY"]' : `headers={${JSON.stringify(name)}: "SECRET"}`));
  return `slipway.Client(${[JSON.stringify(location.origin), ...settings].join(", ")})`;
}

function python({ model, version, inputs, parameters, stream, outputs }) {
  const secrets = keptSecrets();
  const imports = [...("Authorization" in secrets ? ["import os"] : []), "", ...(inputs.every(({ values }) => values.length <= MOST_WRITTEN) ? [] : ["import numpy as np"]), "import slipway"];
  const given = inputs.map((tensor) => `    ${JSON.stringify(tensor.name)}: ${tensor.values.length <= MOST_WRITTEN ? literal(nested([...tensor.values], tensor.shape)) : array(tensor)},`);
  const options = [version && `version=${JSON.stringify(version)}`, Object.keys(parameters).length && `parameters=${literal(parameters)}`].filter(Boolean);
  const call = (method) => `client.${method}(${[JSON.stringify(model), "inputs", ...options].join(", ")})`;
  const first = JSON.stringify(outputs[0] ?? "");
  const use = stream ? [`    for result in ${call("stream")}:`, `        print(result[${first}])`] : [`    result = ${call("infer")}`, `    print(result[${first}])`];
  return [...imports, "", "inputs = {", ...given, "}", `with ${pythonClient(secrets)} as client:`, ...use].join("\n").trimStart();
}

function grpc({ model, version, inputs, parameters, stream, outputs, settings }) {
  if (!settings.grpc) return "# this server does not serve gRPC (--allow-grpc=false)";
  const host = location.hostname.includes(":") && !location.hostname.startsWith("[") ? `[${location.hostname}]` : location.hostname;
  const secrets = Object.keys(keptSecrets());
  const named = (at) => `input_${at}`;
  const options = [version && `model_version=${JSON.stringify(version)}`, Object.keys(parameters).length && `parameters=${literal(parameters)}`].filter(Boolean);
  const headers = secrets.map((name) => (name === "Authorization" ? '"authorization": "Bearer KEY"' : `"triton-grpc-protocol-${name.toLowerCase()}": "SECRET"`));
  const head = headers.length ? [`headers={${headers.join(", ")}}`] : [];
  const set = inputs.flatMap((tensor, at) => [
    `${named(at)} = grpcclient.InferInput(${JSON.stringify(tensor.name)}, ${JSON.stringify(tensor.shape)}, "${tensor.datatype}")`,
    `${named(at)}.set_data_from_numpy(${array(tensor)})`]);
  const list = `[${inputs.map((_, at) => named(at)).join(", ")}]`;
  const first = JSON.stringify(outputs[0] ?? "");
  const call = stream
    ? ["", "def show(result, error):", `    print(error or result.as_numpy(${first}))`, "",
      `client.start_stream(${["show", ...head].join(", ")})`,
      `client.async_stream_infer(${[JSON.stringify(model), list, ...options].join(", ")})`, "client.stop_stream()"]
    : [`result = client.infer(${[JSON.stringify(model), list, ...options, ...head].join(", ")})`, `print(result.as_numpy(${first}))`];
  return ["import numpy as np", "import tritonclient.grpc as grpcclient", "",
    `client = grpcclient.InferenceServerClient("${host}:${settings.grpc.port}"${settings.grpc.tls ? ", ssl=True" : ""})`, ...set, ...call].join("\n");
}

function chatPython({ document }) {
  const key = "Authorization" in keptSecrets() ? 'os.environ["SLIPWAY_API_KEY"]' : '"none"';
  const fields = Object.entries(document).map(([name, value]) => `    ${name}=${literal(value)},`);
  return [...(key.startsWith("os") ? ["import os", ""] : []), "from openai import OpenAI", "",
    `client = OpenAI(base_url=${JSON.stringify(`${location.origin}/v1`)}, api_key=${key})`,
    "for event in client.chat.completions.create(", ...fields, "):", "    print(event.choices[0].delta.content or \"\", end=\"\")"].join("\n");
}

/** Return the pages of a request: [title, text]. */
export function snippetsOf(request) {
  if (request.document) return [["curl", curlPost("/v1/chat/completions", request.document)], ["Python", chatPython(request)]];
  const curl = request.stream
    ? curlPost(`${modelPath(request.model, request.version)}/generate_stream`, generateFields(request.inputs, request.parameters))
    : curlInfer(request);
  return [["curl", curl], ["Python", python(request)], ["gRPC", grpc(request)]];
}

/** Return the view of a request {model, version, inputs, parameters, outputs, stream, settings}, or of a chat's. */
export function snippetsView(request) {
  const pages = snippetsOf(request).map(([title, text]) => [title, () => el("div", { class: "snippet" },
    copyButton(() => text), el("pre", { tabindex: "0" }, text))]);
  return el("details", { class: "card snippets" }, el("summary", {}, "This request in programs"), tabs("Language", pages));
}
