/* Line charts as SVG. */

import { el, svg, shown } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [360, 132, 40, 8, 18];

/** Return a round number that is not below `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((each) => each >= value);
}

/** Return the path of a line with gaps where a value is null. */
function pathOf(values, x, y) {
  let isOpen = false;
  return values.map((value, at) => {
    if (value === null || Number.isNaN(value)) {
      isOpen = false;
      return "";
    }
    const command = isOpen ? "L" : "M";
    isOpen = true;
    return `${command}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
  }).join("");
}

function dots(values, x, y, at) {
  const isKnown = (index) => values[index] !== null && values[index] !== undefined && !Number.isNaN(values[index]);
  return values.flatMap((value, index) => (isKnown(index) && !isKnown(index - 1) && !isKnown(index + 1)
    ? [svg("circle", { cx: x(index), cy: y(value), r: 2, class: `spot line-${at}` })] : []));
}

/** Return a chart that `draw` fills with lines: [name, values], all of the same length, the newest value last. */
export function lineChart(title, unit, { least = 1, most = Infinity } = {}) {
  const value = el("span", { class: "now" });
  const legend = el("ul", { class: "legend" });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const node = el("figure", { class: "card chart" }, el("figcaption", {}, el("span", {}, title), value), picture, legend);

  function draw(lines, points) {
    const known = lines.flatMap(([, values]) => values).filter((each) => each !== null && Number.isFinite(each));
    const top = Math.min(most, roundUp(Math.max(least, ...known)));
    const x = (at) => LEFT + ((WIDTH - LEFT - 4) * at) / Math.max(1, points - 1);
    const y = (each) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(each, top) / top);
    const grid = [0, 0.5, 1].map((part) => svg("g", {},
      svg("line", { x1: LEFT, x2: WIDTH - 4, y1: y(top * part), y2: y(top * part), class: "grid" }),
      svg("text", { x: LEFT - 6, y: y(top * part) + 4, class: "tick" }, shown(top * part, 1))));
    const drawn = lines.map(([, values], at) => {
      const offset = points - values.length;
      const place = (index) => x(index + offset);
      return svg("g", {}, svg("path", { d: pathOf(values, place, y), class: `line line-${at}` }), dots(values, place, y, at));
    });
    const latest = lines.map(([name, values]) => [name, values.findLast((each) => each !== null && Number.isFinite(each))]);
    const said = latest.map(([name, each]) => `${name} ${each === undefined ? "unknown" : `${shown(each, 1)}${unit}`}`);
    const first = latest[0][1];
    value.textContent = first === undefined ? "–" : `${shown(first, 1)}${unit}`;
    picture.setAttribute("aria-label", `${title}: ${said.join(", ")}`);
    picture.replaceChildren(...grid, ...drawn);
    legend.replaceChildren(...(lines.length < 2 ? [] : latest.map(([name, each], at) => el("li", {},
      el("span", { class: `dot line-${at}` }), `${name} ${each === undefined ? "–" : `${shown(each, 1)}${unit}`}`))));
  }
  return { node, draw };
}
