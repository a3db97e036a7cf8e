/* The explanation of a request (slipway_explain): where its time went, and which setting held it back. */

import { duration, el, styled } from "./dom.js";

const WAITS = {
  batch: "more requests to batch with", instance: "an instance that is not busy", hand_over: "its instance to begin",
  preparation: "its instance, which prepared for likely inputs", resources: "the rate limiter",
  sequence_slot: "a slot for its sequence", sequence_order: "an earlier request of its sequence",
  cache: "the response cache", inflight: "other requests to this step", earlier_responses: "responses before its own",
};

function timeline({ total_us: total, queue_us: queue, compute_us: compute = {}, executing_us: executing = 0 }) {
  const { input = 0, output = 0 } = compute;
  const infer = (compute.infer ?? 0) + executing;  // an execution may go on after its responses
  const rest = Math.max(0, total - queue - input - infer - output);
  const parts = [["queue", queue], ["input", input], ["infer", infer], ["output", output], ["other", rest]];
  const known = parts.filter(([, us]) => us > 0);
  return el("div", {},
    el("div", { class: "timeline", "aria-hidden": "true" }, known.map(([name, us]) => (
      styled(el("span", { class: `phase ${name}` }), { "flex-grow": String(us) })))),
    el("ul", { class: "legend" }, known.map(([name, us]) => el("li", {}, el("span", { class: `dot ${name}` }), `${name} ${duration(us)}`))));
}

function facts(report) {
  const { batch, padding, instance, engine, cache, executions } = report;
  const rows = [
    ["Rows", report.rows],
    ["Batch", batch && `${batch.requests} ${batch.requests === 1 ? "request" : "requests"}, ${batch.rows} ${batch.rows === 1 ? "row" : "rows"}`],
    ["Padding", padding && `${padding.tokens} tokens, ${(padding.share * 100).toFixed(1)} % of the batch`],
    ["Instance", instance && `${instance.name}, ${instance.threads} ${instance.threads === 1 ? "thread" : "threads"}${instance.cpus ? `, CPUs ${instance.cpus}` : ""}`],
    ["Engine", engine && Object.values(engine).join(", ")],
    ["Response cache", cache],
    ["Executions", executions],
  ].filter(([, value]) => value !== undefined && value !== "");
  return el("dl", { class: "facts" }, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
}

function waits(held) {
  if (!held?.length) return null;
  return el("ul", { class: "waits" }, held.map(({ wait, us, setting, value }) => el("li", {},
    `waited ${duration(us)} for ${WAITS[wait] ?? wait}`,
    setting && el("span", { class: "code quiet" }, ` ${setting}${value === "" || value === undefined ? "" : ` = ${value}`}`))));
}

function one(report, title) {
  return el("section", { class: "explained" },
    el("h4", {}, title, report.total_us !== undefined && el("span", { class: "quiet" }, ` ${duration(report.total_us)}`)),
    report.total_us !== undefined && timeline(report), facts(report), waits(report.held_by),
    (report.steps ?? []).map((step, at) => one(step, `Step ${at + 1}: ${step.model}`)),
    report.more_steps && el("p", { class: "quiet" }, `and ${report.more_steps} more steps`));
}

/** Return the view of an explanation, given as the parameter's text. */
export function explanationView(text) {
  const report = JSON.parse(text);
  return el("details", { class: "card", open: true }, el("summary", {}, "Where the time went"),
    one(report, `${report.model}, version ${report.version}`));
}
