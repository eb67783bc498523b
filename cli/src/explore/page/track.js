// The steps as rows over time. Rows are real elements, so that they can be read aloud and copied, but
// only as many as fit: they are moved and refilled while the list scrolls.

import { make } from "./dom.js";
import { MARKS, colourName, setBadge } from "./outcome.js";
import { duration } from "./format.js";

const ROW = 28;
const SPARE = 6;

// Ticks of the axis: about one per so many pixels.
const TICK_PIXELS = 90;

export class Track {
  // `events`: select(row).
  constructor(root, events) {
    this.events = events;
    this.rows = root.querySelector(".rows");
    this.tall = root.querySelector(".tall");
    this.axis = root.querySelector(".axis");
    this.pool = [];
    this.list = [];
    this.place = new Map();
    this.selected = -1;
    this.view = null;
    this.rows.addEventListener("scroll", () => this.refill());
    this.rows.addEventListener("click", (event) => {
      const element = event.target.closest(".row");
      if (element) events.select(Number(element.dataset.row));
    });
    new ResizeObserver(() => {
      // The axis is as wide as the bars' column, which a scroll bar makes narrower.
      const head = root.querySelector(".head");
      head.style.paddingRight = `${12 + this.rows.offsetWidth - this.rows.clientWidth}px`;
      this.drawAxis();
      this.refill();
    }).observe(this.rows);
  }

  // Shows these rows of a view, in this order; `wall` is the length of the axis in milliseconds.
  show(view, list, wall) {
    this.view = view;
    this.list = list;
    this.wall = Math.max(1, wall);
    this.place = new Map(list.map((row, at) => [row, at]));
    this.tall.style.height = `${list.length * ROW}px`;
    this.rows.setAttribute("aria-rowcount", list.length);
    this.rows.parentElement.classList.toggle("pairs", view.paired);
    for (const slot of this.pool) slot.row = -1;
    this.drawAxis();
    this.refill();
  }

  select(row, reveal) {
    this.selected = row;
    const at = this.place.get(row);
    if (reveal && at !== undefined) {
      const { scrollTop, clientHeight } = this.rows;
      const top = at * ROW;
      if (top < scrollTop) this.rows.scrollTop = top;
      else if (top + ROW > scrollTop + clientHeight) this.rows.scrollTop = top + ROW - clientHeight;
    }
    this.refill();
  }

  // The row so many places further on.
  beside(step) {
    if (this.list.length === 0) return -1;
    const at = this.place.get(this.selected);
    const next = at === undefined ? (step > 0 ? 0 : this.list.length - 1) : at + step;
    return this.list[Math.min(this.list.length - 1, Math.max(0, next))];
  }

  get page() {
    return Math.max(1, Math.floor(this.rows.clientHeight / ROW) - 1);
  }

  refill() {
    if (!this.view) return;
    const first = Math.max(0, Math.floor(this.rows.scrollTop / ROW) - SPARE);
    const count = Math.min(this.list.length - first, Math.ceil(this.rows.clientHeight / ROW) + 2 * SPARE);
    while (this.pool.length < count) this.pool.push(this.slot());
    // A row keeps its element while it stays in view: place modulo the pool.
    const used = new Set();
    for (let at = first; at < first + count; at += 1) {
      const slot = this.pool[at % this.pool.length];
      used.add(slot);
      this.fill(slot, at);
    }
    for (const slot of this.pool) slot.element.hidden = !used.has(slot);
    const active = this.place.has(this.selected) ? `row-${this.selected}` : null;
    if (active && document.getElementById(active)) this.rows.setAttribute("aria-activedescendant", active);
    else this.rows.removeAttribute("aria-activedescendant");
  }

  slot() {
    const parts = {
      number: make("span", { class: "number" }),
      mark: make("span", { class: "mark", "aria-hidden": "true" }),
      badge: { a: make("span"), b: make("span") },
      title: make("b"),
      rest: make("span"),
      bar: { a: make("span", { class: "bar a" }), b: make("span", { class: "bar b" }) },
      took: make("span", { class: "took", role: "gridcell" }),
    };
    const text = make("span", { class: "text" }, parts.title, " ", parts.rest);
    const what = make("span", { class: "what", role: "gridcell" }, parts.mark, parts.number, parts.badge.a, parts.badge.b, text);
    const time = make("span", { class: "time", role: "gridcell", "aria-hidden": "true" }, parts.bar.a, parts.bar.b);
    const element = make("div", { class: "row", role: "row" }, what, time, parts.took);
    this.tall.append(element);
    return { element, parts, row: -1 };
  }

  fill(slot, at) {
    const { view } = this;
    const row = this.list[at];
    const { element, parts } = slot;
    const selected = String(row === this.selected);
    if (element.getAttribute("aria-selected") !== selected) element.setAttribute("aria-selected", selected);
    if (slot.row === row && slot.at === at) return;
    slot.row = row;
    slot.at = at;
    element.id = `row-${row}`;
    element.dataset.row = row;
    element.style.transform = `translateY(${at * ROW}px)`;
    element.setAttribute("aria-rowindex", at + 1);
    const mark = view.mark(row);
    parts.mark.hidden = !view.paired;
    parts.mark.className = `mark ${mark}`;
    parts.mark.textContent = MARKS[mark][0];
    parts.number.textContent = view.number(row);
    parts.title.textContent = view.title(row);
    parts.rest.textContent = view.rest(row);
    for (const side of ["a", "b"]) this.fillSide(parts, side, row);
    const [a, b] = ["a", "b"].map((side) => (view.has(side, row) ? view.sides[side].took(view[side][row]) : null));
    parts.took.textContent = view.paired ? `${duration(a)} → ${duration(b)}` : duration(a);
    element.setAttribute("aria-label", describe(view, row));
  }

  fillSide(parts, side, row) {
    const { view } = this;
    const outcome = view.outcome(side, row);
    const badge = parts.badge[side];
    const bar = parts.bar[side];
    badge.hidden = side === "b" && !view.paired;
    badge.style.visibility = outcome ? "visible" : "hidden";
    bar.hidden = true;
    if (!outcome) return;
    setBadge(badge, outcome);
    const steps = view.sides[side];
    const start = steps.start(view[side][row]);
    if (start === null) return;
    bar.hidden = false;
    bar.style.left = `min(${(100 * start) / this.wall}%, calc(100% - 3px))`;
    bar.style.width = `${Math.min(100, (100 * (steps.took(view[side][row]) ?? 0)) / this.wall)}%`;
    bar.style.setProperty("--colour", `var(--${colourName(outcome)})`);
  }

  drawAxis() {
    if (!this.view) return;
    const room = this.axis.clientWidth;
    const step = roundStep((this.wall * TICK_PIXELS) / Math.max(TICK_PIXELS, room));
    const ticks = [];
    for (let at = 0; at < this.wall && (at === 0 || (room * (this.wall - at)) / this.wall > 40); at += step) {
      const tick = make("span", {}, at === 0 ? "0" : duration(at));
      tick.style.left = `${(100 * at) / this.wall}%`;
      ticks.push(tick);
    }
    this.axis.replaceChildren(...ticks);
  }
}

// The step in words, for those who hear the page.
export function describe(view, row) {
  const outcomes = ["a", "b"].map((side) => view.outcome(side, row)).filter((outcome) => outcome);
  const words = [`${view.title(row)} ${view.rest(row)}`.trim(), [...new Set(outcomes)].join(" then ")];
  if (view.paired) words.push(MARKS[view.mark(row)][1]);
  return words.join(", ");
}

// 1, 2 or 5 times a power of ten, or whole minutes and hours: at least `least` milliseconds.
function roundStep(least) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 18e5, 36e5];
  return steps.find((step) => step >= least) ?? Math.ceil(least / 36e5) * 36e5;
}

