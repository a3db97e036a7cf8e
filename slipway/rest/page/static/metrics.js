/* The text of /metrics, and what two readings of it say about the time between them. Knows no elements of the page. */

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const SUCCESS = "nv_inference_request_success";
const FAILURE = "nv_inference_request_failure";
const ROWS = "nv_inference_count";
const EXECUTIONS = "nv_inference_exec_count";
const PENDING = "nv_inference_pending_request_count";
const QUEUE = "nv_inference_queue_duration_us";
const COMPUTE = "nv_inference_compute_infer_duration_us";
const LATENCY = "nv_inference_request_duration_histogram_us_bucket";
const LATENCY_MS = "nv_inference_first_response_histogram_ms_bucket";
const TOKENS = "slipway_inference_token_count";
const PADDING = "slipway_inference_padding_count";
const CPU = "nv_cpu_utilization";
const [MEMORY, ALL_MEMORY] = ["nv_cpu_memory_used_bytes", "nv_cpu_memory_total_bytes"];

/** Return the samples of a metrics text by name: lists of {labels, value}. */
export function parseMetrics(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : line.match(SAMPLE);
    if (!match) continue;
    const [, name, labels = "", value] = match;
    const pairs = Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, each]) => (
      [key, each.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter))])));
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels: pairs, value: Number(value.replace("Inf", "Infinity")) });
  }
  return found;
}

/** Return the sum of a metric over the models with these names, null if there is none; no names mean all. */
function total(metrics, name, names) {
  const samples = (metrics.get(name) ?? []).filter(({ labels }) => !names || names.includes(labels.model));
  return samples.length ? samples.reduce((sum, { value }) => sum + value, 0) : null;
}

/** Return the number of observations up to each bound, added up over versions and models: [bound, count], ascending. */
function buckets(metrics, name, names) {
  const sums = new Map();
  for (const { labels, value } of metrics.get(name) ?? []) {
    if (names && !names.includes(labels.model)) continue;
    const bound = Number(labels.le.replace("Inf", "Infinity"));
    sums.set(bound, (sums.get(bound) ?? 0) + value);
  }
  return [...sums].sort(([one], [other]) => one - other);
}

/** Return a quantile of the observations between two readings of a histogram, linear inside a bucket; null for none. */
export function quantile(before, after, rank) {
  const earlier = new Map(before);
  const counts = after.map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const wanted = rank * all;
  let [low, seen] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= wanted && count > seen) {
      return Number.isFinite(bound) ? low + (bound - low) * ((wanted - seen) / (count - seen)) : low;
    }
    [low, seen] = [bound, count];
  }
  return low;
}

/** Return the models whose batches are those of an ensemble: the steps that are batched by length, or all steps. */
function batchedOnes(metrics, steps) {
  const padded = steps.filter((step) => total(metrics, TOKENS, [step]) !== null);
  return padded.length ? padded : steps;
}

/** Return the figures of models between two readings that are `seconds` apart, null where unknown. `names` are those of
 * the models, null for all; an ensemble with `steps` has their batches. */
export function figuresBetween(before, after, seconds, names, steps = []) {
  const grown = (name, of = names) => {
    const [was, is] = [total(before, name, of), total(after, name, of)];
    return is === null ? null : Math.max(0, is - (was ?? 0));
  };
  const share = (part, whole, scale = 1) => (whole ? (part / whole) * scale : null);
  const latencies = [[LATENCY, 0.001], [LATENCY_MS, 1]]
    .map(([name, scale]) => [buckets(before, name, names), buckets(after, name, names), scale])
    .find(([, now]) => now.length) ?? [[], [], 1];
  const latency = (rank) => {
    const value = quantile(latencies[0], latencies[1], rank);
    return value === null ? null : value * latencies[2];
  };
  const batched = names && steps.length ? batchedOnes(after, steps) : names;
  const [tokens, padding] = [grown(TOKENS, batched), grown(PADDING, batched)];
  const requests = grown(SUCCESS);
  return {
    requests: requests === null ? null : requests / seconds,
    failures: (grown(FAILURE) ?? 0) / seconds,
    p50: latency(0.5), p95: latency(0.95), p99: latency(0.99),
    batch: share(grown(ROWS, batched), grown(EXECUTIONS, batched)),
    pending: total(after, PENDING, names),
    queued: share(grown(QUEUE), requests, 0.001),
    padding: tokens === null ? null : share(padding, tokens + padding, 100),
    computed: share(grown(COMPUTE), requests, 0.001),
    cpu: (total(after, CPU, null) ?? NaN) * 100,
    memory: share(total(after, MEMORY, null), total(after, ALL_MEMORY, null), 100),
  };
}
