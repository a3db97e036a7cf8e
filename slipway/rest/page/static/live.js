/* Charts of the server's own metrics, read every other second while somebody looks. */

import { el } from "./dom.js";
import { errorView } from "./asking.js";
import { lineChart } from "./charts.js";
import { figuresBetween, parseMetrics } from "./metrics.js";
import { send, ServerError } from "./server.js";

const EVERY_MS = 2000;
const POINTS = 60;
// title, unit, lines [name, figure], settings of the chart
const CHARTS = [
  ["Requests per second", "", [["answered", "requests"], ["failed", "failures"]], {}],
  ["Latency", " ms", [["median", "p50"], ["95 %", "p95"], ["99 %", "p99"]], {}],
  ["Rows per batch", "", [["rows", "batch"]], { least: 2 }],
  ["Waiting requests", "", [["waiting", "pending"]], { least: 2 }],
  ["Time in the queue", " ms", [["mean", "queued"]], {}],
  ["Padding", " %", [["share of tokens", "padding"]], { least: 10, most: 100 }],
  ["Time to compute", " ms", [["mean", "computed"]], {}],
  ["CPU of the machine", " %", [["used", "cpu"]], { least: 100, most: 100 }],
  ["Memory of the machine", " %", [["used", "memory"]], { least: 100, most: 100 }],
];

/** Reads the metrics, and keeps the last readings for every view. */
class Readings {
  constructor() {
    this.kept = [];
    this.listeners = new Set();
    this.timer = null;
    this.error = null;
  }

  begin() {
    this.timer ??= setInterval(() => { if (!document.hidden) this.read(); }, EVERY_MS);
    return this.read();
  }

  async read() {
    try {
      const text = await (await send("/ui/metrics")).text();
      this.kept = [...this.kept, { at: performance.now(), metrics: parseMetrics(text) }].slice(-POINTS - 1);
      this.error = null;
    } catch (error) {
      this.error = error;
      if (error instanceof ServerError) this.end();  // else the server is away, and may come back
    }
    this.listeners.forEach((listener) => listener());
  }

  end() {
    clearInterval(this.timer);
    this.timer = null;
  }

  figures(names, steps) {
    return this.kept.slice(1).map(({ at, metrics }, before) => (
      figuresBetween(this.kept[before].metrics, metrics, (at - this.kept[before].at) / 1000, names, steps)));
  }
}

const readings = new Readings();

/** Return the page of charts of one model, or of all models together. */
export function liveView({ model, settings }) {
  if (!settings.metrics) return el("p", { class: "empty" }, `There are no charts: ${settings.why_no_metrics}.`);
  const charts = CHARTS.map(([title, unit, lines, limits]) => ({ lines, ...lineChart(title, unit, limits) }));
  const whole = el("input", { type: "checkbox", change: () => draw() });
  const problem = el("div");
  const node = el("div", { class: "live" },
    el("label", { class: "check" }, whole, " All models together, steps of ensembles included"), problem,
    el("div", { class: "charts" }, charts.map((chart) => chart.node)));

  function draw() {
    const steps = model.platform === "ensemble" ? model.parts : [];
    const figures = readings.figures(whole.checked ? null : [model.name], steps);
    for (const chart of charts) chart.draw(chart.lines.map(([name, figure]) => [name, figures.map((each) => each[figure])]), POINTS);
    problem.replaceChildren(...(readings.error ? [errorView(readings.error)] : []));
  }

  function update() {
    if (node.isConnected) draw();
    else readings.listeners.delete(update);
    if (!readings.listeners.size) readings.end();
  }
  draw();
  readings.listeners.clear();
  readings.listeners.add(update);
  queueMicrotask(() => readings.begin());
  return node;
}
