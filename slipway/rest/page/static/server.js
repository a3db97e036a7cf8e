/* Requests to the server that this page comes from, and to no other. The API key, and the headers of restricted APIs,
 * are kept for this tab only. */

const KEPT = "slipway-secrets";
const RESTRICTED = /expecting header '([^']+)'/;
let secrets = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
let askForSecret = async () => false;  // (header name or "", reason) -> whether there is something to try again with
let asking = null;

/** An answer that is not a success; `message` is what the server said. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Set what asks the user for a key or a header. */
export function whenRefused(ask) {
  askForSecret = ask;
}

/** Return the headers that requests carry: a key, and those of restricted APIs. */
export function keptSecrets() {
  return { ...secrets };
}

/** Keep headers for this tab; an empty value forgets one. */
export function keepSecrets(changes) {
  secrets = Object.fromEntries(Object.entries({ ...secrets, ...changes }).filter(([, value]) => value));
  sessionStorage.setItem(KEPT, JSON.stringify(secrets));
}

async function failure(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return new ServerError(response.status, typeof error === "string" ? error : error.message);
  } catch {
    return new ServerError(response.status, text.slice(0, 500) || `status ${response.status}`);
  }
}

/** Send a request and return the response, or throw a ServerError. Asks for a key if one is missing, and tries again. */
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
    const response = await fetch(path, { method, body, headers: { ...headers, ...secrets }, signal, cache: "no-store" });
    if (response.ok) return response;
    const error = await failure(response);
    const header = response.status === 401 ? "" : response.status === 403 && error.message.match(RESTRICTED)?.[1];
    if (header === false || header === undefined) throw error;
    asking ??= askForSecret(header, error.message).finally(() => { asking = null; });
    if (!(await asking)) throw error;
  }
}

/** Return the JSON of an answer; `document` is sent as JSON. */
export async function askJson(path, document, options = {}) {
  const body = document === undefined ? {} :
    { method: "POST", body: JSON.stringify(document), headers: { "Content-Type": "application/json" } };
  const response = await send(path, { ...body, ...options });
  return response.json();
}

/** Change something on the server; there is no answer but success. */
export async function change(path) {
  await send(path, { method: "POST", body: "{}", headers: { "Content-Type": "application/json" } });
}

/** Yield the data of server-sent events that answer a JSON document. */
export async function* events(path, document, { headers = {}, signal } = {}) {
  const response = await send(path, {
    method: "POST", body: JSON.stringify(document), headers: { "Content-Type": "application/json", ...headers }, signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length) yield data.join("\n");
    }
  }
}

/** Return the path of a model, of one version if that is given. */
export function modelPath(name, version = "") {
  const path = `/v2/models/${encodeURIComponent(name)}`;
  return version ? `${path}/versions/${encodeURIComponent(version)}` : path;
}
