/* Builds elements. What a server, a model or a user says is only ever set as text, never read as HTML. */

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return an element; a function among the attributes listens to the event of that name. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return an element of an SVG drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Set properties of an element's style, which a content security policy allows, unlike the attribute. */
export function styled(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

let count = 0;

/** Return an id that no other element has. */
export function freshId(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

/** Return a number as people read it. */
export function shown(value, digits = 4) {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value) || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4 ? value.toExponential(digits - 1) : String(+value.toPrecision(digits + 2));
}

/** Return a duration that is given in microseconds. */
export function duration(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 1e6 ? `${+(us / 1000).toPrecision(3)} ms` : `${+(us / 1e6).toPrecision(3)} s`;
}

/** Return a button that copies what `text` returns. */
export function copyButton(text) {
  const button = el("button", { type: "button", class: "small", click: async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl-C";  // no access to the clipboard: the text is selected instead
      getSelection().selectAllChildren(button.parentElement.querySelector("pre") ?? button);
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  } }, "Copy");
  return button;
}

/** Return tabs: a list of [title, function that returns the content], of which one is shown. */
export function tabs(label, pages, { selected = 0, onSelect = () => {} } = {}) {
  const panel = el("div", { role: "tabpanel", id: freshId("panel"), tabindex: "0", class: "panel" });
  const buttons = pages.map(([title], index) => el("button", {
    type: "button", role: "tab", id: freshId("tab"), "aria-controls": panel.id, click: () => show(index),
    keydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (index + step + pages.length) % pages.length;
      show(next);
      buttons[next].focus();
    },
  }, title));
  function show(index) {
    buttons.forEach((button, at) => {
      button.setAttribute("aria-selected", String(at === index));
      button.tabIndex = at === index ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", buttons[index].id);
    panel.replaceChildren(pages[index][1]());
    onSelect(index);
  }
  show(selected);
  return el("div", { class: "tabs" }, el("div", { role: "tablist", "aria-label": label, class: "tablist" }, buttons), panel);
}
