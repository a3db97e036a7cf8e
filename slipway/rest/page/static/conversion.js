/* The report of a conversion: what was chosen and why, what it lost, and every candidate. */

import { el, shown } from "./dom.js";
import { errorView } from "./asking.js";
import { askJson } from "./server.js";

const FIGURES = {
  agreement: ["Labels kept", (value) => `${(value * 100).toFixed(1)} %`],
  neighbours: ["Neighbours kept", (value) => `${(value * 100).toFixed(1)} %`],
  cosine: ["Cosine", (value) => value.toFixed(4)],
  worst_cosine: ["Worst cosine", (value) => value.toFixed(4)],
  difference: ["Largest difference", (value) => value.toExponential(1)],
  same_tokens: ["Tokens kept", (value, figures) => `${value} of ${figures.tokens}`],
};

function figuresOf(candidate) {
  return { ...candidate.figures, ...candidate.agreement };
}

/** Return the figures that some candidate has, and that say something: a zero of all of them was not measured. */
function columnsOf(candidates) {
  return Object.keys(FIGURES).filter((name) => candidates.some((each) => typeof figuresOf(each)[name] === "number" && figuresOf(each)[name] !== 0));
}

function speedOf({ speeds, tokens }) {
  if (speeds.length) {
    const [first] = speeds;
    const rate = first.batched_rows_per_second ?? first.rows_per_second;
    return `${shown(rate, 1)} rows/s, ${shown(first.latency_ms, 1)} ms alone`;
  }
  return tokens.length ? `${shown(Math.max(...tokens.map((each) => each.tokens_per_second)), 1)} tokens/s` : "–";
}

function candidateTable(candidates, chosen) {
  const columns = columnsOf(candidates);
  const heads = ["Candidate", "Gate", ...columns.map((name) => FIGURES[name][0]), "Speed", "MB"];
  const cellOf = (candidate, name) => {
    const figures = figuresOf(candidate);
    return typeof figures[name] === "number" ? FIGURES[name][1](figures[name], figures) : "–";
  };
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Candidates" }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, candidates.map((candidate) => el("tr", { class: candidate.label === chosen ? "chosen" : null },
      el("th", { scope: "row" }, candidate.label),
      el("td", {}, el("span", { class: `badge ${candidate.status.split(" ")[0]}` }, candidate.status)),
      columns.map((name) => el("td", {}, cellOf(candidate, name))),
      el("td", {}, speedOf(candidate)), el("td", {}, (candidate.bytes / 1e6).toFixed(1)))))));
}

function list(title, lines) {
  return lines.length > 0 && el("div", {}, el("h3", {}, title), el("ul", {}, lines.map((line) => el("li", {}, line))));
}

function reportView(model, report) {
  const refused = report.candidates.flatMap(({ label, problems }) => problems.map((problem) => `${label}: ${problem}`));
  const facts = [
    ["Task", report.task], ["Compared with", report.reference], ["Calibration", report.calibration],
    ["Machine", report.machine], ["Created", report.created && `${report.created.replace("T", " ").replace("Z", " UTC")}, in ${Math.round(report.seconds)} s`],
    ["Versions", Object.entries(report.versions).map((each) => each.join(" ")).join(", ")], ["Written as", model],
  ].filter(([, value]) => value);
  return el("div", { class: "card report" },
    el("p", { class: "lead" }, el("strong", {}, report.chosen), ` was chosen: ${report.why}.`),
    report.lost.length ? list("What was lost", report.lost) : el("p", {}, "No loss of accuracy was measured."),
    el("h3", {}, "Candidates"), candidateTable(report.candidates, report.chosen),
    list("Refused", refused),
    list("Not tried", report.skipped.map(({ label, reason }) => `${label}: ${reason}`)),
    list("Notes", report.notes),
    el("h3", {}, "How it was made"),
    el("dl", { class: "facts wide" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
}

/** Return the page of a model's conversion. */
export function conversionView({ model }) {
  const node = el("div", { "aria-busy": "true" }, el("p", { class: "empty" }, "Reading the report …"));
  askJson(`/ui/models/${encodeURIComponent(model.name)}/report`).then(
    ({ model: name, report, problem }) => {
      if (report) node.replaceChildren(reportView(name, report));
      else if (problem) node.replaceChildren(errorView(new Error(`The report of ${name} is not shown: ${problem}.`)));
      else node.replaceChildren(el("p", { class: "empty" }, "This model has no report: it was not written by slipway convert."));
    },
    (error) => node.replaceChildren(errorView(error)),
  ).finally(() => node.removeAttribute("aria-busy"));
  return node;
}
