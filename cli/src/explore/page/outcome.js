// The words for what became of a step: letter, shape and meaning of each. The shape is the kind of
// end: a square did work, a circle reused some, a diamond had nothing to do, an octagon went wrong.

import { colour, make } from "./dom.js";

export const OUTCOMES = {
  executed: ["E", "square", "The daemon ran it."],
  exported: ["X", "square", "An exporter ran: a result left the daemon."],
  synced: ["S", "square", "A local source: files were compared with the daemon's, and sent where they differed."],
  resolved: ["R", "square", "A remote source: the daemon resolved it, and fetched what it did not have."],
  cached: ["C", "circle", "The daemon loaded its result from its cache and ran nothing."],
  hit: ["H", "circle", "The engine's result cache had the value; the daemon was not asked."],
  recalled: ["M", "circle", "An earlier run had computed and kept the value; the daemon was not asked."],
  joined: ["J", "circle", "The engine found the same call in flight and waited for it."],
  computed: ["P", "diamond", "The engine computed the value by itself; no vertex exists for it."],
  "not needed": ["N", "diamond", "Nothing asked for its result, or what asked for it was cached."],
  failed: ["F", "octagon", "It ended with an error."],
  cancelled: ["L", "octagon", "It was stopped before it ended."],
  unknown: ["?", "octagon", "The daemon's status ended without saying."],
};

// How two steps of a pair compare: sign, and meaning.
export const MARKS = {
  same: ["=", "the same in both builds"],
  changed: ["≠", "changed"],
  added: ["+", "only in the second build"],
  removed: ["−", "only in the first build"],
};

export function letter(outcome) {
  return (OUTCOMES[outcome] ?? OUTCOMES.unknown)[0];
}

export function shape(outcome) {
  return (OUTCOMES[outcome] ?? OUTCOMES.unknown)[1];
}

export function meaning(outcome) {
  return (OUTCOMES[outcome] ?? OUTCOMES.unknown)[2];
}

// The name of an outcome's colour in the style sheet.
export function colourName(outcome) {
  return OUTCOMES[outcome] ? outcome.replace(" ", "-") : "unknown";
}

// The palette of the theme. Asking the style sheet is slow while elements are being changed.
let current = null;

// Fill and letter colour of every outcome, read anew whenever the theme changes.
export function palette() {
  const entries = Object.keys(OUTCOMES).map((outcome) => {
    const fill = colour(colourName(outcome));
    return [outcome, { fill, ink: inkOn(fill) }];
  });
  current = Object.fromEntries(entries);
  return current;
}

// Black or white, whichever stands out more from a `#rrggbb` colour (relative luminance of sRGB).
function inkOn(fill) {
  const channels = [1, 3, 5].map((at) => Number.parseInt(fill.slice(at, at + 2), 16) / 255);
  const [r, g, b] = channels.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

// Letter in a shape, for lists. The word itself must stand beside it, or in `label`.
export function badge(outcome, label = null) {
  const element = make("span", { class: "badge" }, "");
  setBadge(element, outcome, label);
  return element;
}

export function setBadge(element, outcome, label = null) {
  const { ink } = (current ?? palette())[outcome] ?? current.unknown;
  element.className = `badge ${shape(outcome)}`;
  element.textContent = letter(outcome);
  element.style.setProperty("--colour", `var(--${colourName(outcome)})`);
  element.style.setProperty("--ink", ink);
  if (label) {
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", label);
  } else {
    element.setAttribute("aria-hidden", "true");
  }
}
