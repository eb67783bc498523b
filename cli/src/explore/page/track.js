// The steps as rows over time. Rows are real elements, so that they can be read aloud and copied, but
// only as many as fit: they are moved and refilled while the list scrolls.

import { make } from "./dom.js";
import { MARKS, colourName, setBadge } from "./outcome.js";
import { duration, tick } from "./format.js";

const ROW = 28;
const SPARE = 6;

// Ticks of the axis: about one per so many pixels.
const TICK_PIXELS = 90;

// The shortest time that fills the axis, in milliseconds.
const SPAN_MIN = 5;

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
    this.wall = 1;
    // The part of the time that the axis shows.
    this.from = 0;
    this.span = 1;
    this.waiting = false;
    this.listen();
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

  // The mouse over the axis and the bars.
  listen() {
    let grip = null;
    this.axis.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      grip = event.clientX;
      this.axis.setPointerCapture(event.pointerId);
    });
    this.axis.addEventListener("pointermove", (event) => {
      if (grip === null) return;
      this.pan((grip - event.clientX) / Math.max(1, this.axis.clientWidth));
      grip = event.clientX;
    });
    for (const end of ["pointerup", "pointercancel"]) this.axis.addEventListener(end, () => { grip = null; });
    this.axis.addEventListener("dblclick", () => this.all());
    for (const place of [this.axis, this.rows]) place.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // With Ctrl a shorter or longer time around the pointer; sideways, or with Shift, along it.
  wheel(event) {
    const { left, width } = this.axis.getBoundingClientRect();
    const unit = event.deltaMode === 1 ? 16 : 1;
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      const at = Math.min(1, Math.max(0, (event.clientX - left) / Math.max(1, width)));
      this.zoom(Math.exp(-event.deltaY * unit * 0.005), at);
    } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      this.pan((sideways * unit) / Math.max(1, width));
    } else return;
    event.preventDefault();
  }

  // Shows a time shorter by `factor`; what is at this place of the axis, from 0 to 1, stays there.
  zoom(factor, at = 0.5) {
    const span = Math.min(this.wall, Math.max(Math.min(SPAN_MIN, this.wall), this.span / factor));
    this.moveTo(this.from + at * (this.span - span), span);
  }

  // Moves by this share of what is shown.
  pan(share) {
    this.moveTo(this.from + share * this.span, this.span);
  }

  all() {
    this.moveTo(0, this.wall);
  }

  moveTo(from, span) {
    this.from = Math.min(Math.max(0, from), Math.max(0, this.wall - span));
    this.span = span;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawAxis();
      for (const slot of this.pool) {
        if (slot.row >= 0) for (const side of ["a", "b"]) this.fillBar(slot.parts.bar[side], side, slot.row);
      }
    });
  }

  // Shows these rows of a view, in this order; `wall` is the length of the axis in milliseconds.
  show(view, list, wall) {
    this.view = view;
    this.list = list;
    if (Math.max(1, wall) !== this.wall) {
      this.wall = Math.max(1, wall);
      this.from = 0;
      this.span = this.wall;
    }
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
    if (at !== undefined) this.revealTime(row);
    if (reveal && at !== undefined) {
      const { scrollTop, clientHeight } = this.rows;
      const top = at * ROW;
      if (top < scrollTop) this.rows.scrollTop = top;
      else if (top + ROW > scrollTop + clientHeight) this.rows.scrollTop = top + ROW - clientHeight;
    }
    this.refill();
  }

  // Moves along the time as little as shows where the row begins.
  revealTime(row) {
    const start = this.view.start(row);
    if (start === null || this.span >= this.wall) return;
    const margin = this.span / 20;
    if (start < this.from) this.moveTo(start - margin, this.span);
    else if (start > this.from + this.span - margin) this.moveTo(start + 2 * margin - this.span, this.span);
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
    badge.hidden = side === "b" && !view.paired;
    badge.style.visibility = outcome ? "visible" : "hidden";
    if (outcome) setBadge(badge, outcome);
    this.fillBar(parts.bar[side], side, row);
  }

  // The bar of a step, as far as it is in the time that is shown.
  fillBar(bar, side, row) {
    const { view } = this;
    const outcome = view.outcome(side, row);
    bar.hidden = true;
    if (!outcome) return;
    const steps = view.sides[side];
    const start = steps.start(view[side][row]);
    if (start === null) return;
    const { from, span } = this;
    const end = start + (steps.took(view[side][row]) ?? 0);
    if (end < from || start > from + span) return;
    bar.hidden = false;
    // Nothing is drawn far beyond the edges.
    const left = Math.max(start, from - span);
    bar.style.left = `min(${(100 * (left - from)) / span}%, calc(100% - 3px))`;
    bar.style.width = `${(100 * (Math.min(end, from + 2 * span) - left)) / span}%`;
    bar.style.setProperty("--colour", `var(--${colourName(outcome)})`);
  }

  drawAxis() {
    if (!this.view) return;
    const { from, span } = this;
    const room = Math.max(TICK_PIXELS, this.axis.clientWidth);
    const step = roundStep((span * TICK_PIXELS) / room);
    const ticks = [];
    // A label is not begun where it would not fit.
    const last = from + (span * (room - 44)) / room;
    for (let at = Math.ceil(from / step) * step; at <= last; at += step) {
      const label = make("span", {}, tick(at, step));
      label.style.left = `${(100 * (at - from)) / span}%`;
      ticks.push(label);
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

