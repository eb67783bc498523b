// Drawing a laid-out graph on a canvas: only what is in view, and only as much of it as its size on
// screen can show. Two canvases that share a camera show two builds side by side.

import { colour } from "./dom.js";
import { MARKS, letter, palette, shape } from "./outcome.js";
import { duration } from "./format.js";

// Sizes of a step and of what is around it, in pixels at scale 1, for both directions.
const CARD = { width: 190, height: 44 };
const DOWN = { across: CARD.width, along: CARD.height + 46 };
const RIGHT = { across: CARD.height + 6, along: CARD.width + 64 };
const MARGIN = 30;
const SCALE_MIN = 0.004;
const SCALE_MAX = 2.5;
const SCALE_FIT_MAX = 1.15;
const SCALE_READABLE = 0.85;

// Least size of a step on screen, in pixels, however far away.
const DOT_MIN = 2.5;

// Below these scales cards lose their text, their letter, their rounded edges.
const TEXT_FROM = 0.5;
const LETTER_FROM = 0.2;
const SHAPE_FROM = 0.06;

// Where everything is on screen: shared by both sides.
export class Camera {
  constructor() {
    this.down = true;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
  }

  // Middle of a node at scale 1.
  spot(plan, node) {
    const pitch = this.down ? DOWN : RIGHT;
    const across = plan.across[node] * pitch.across;
    const along = plan.layer[node] * pitch.along;
    return this.down ? [across, along] : [along, across];
  }

  bounds(plan) {
    const pitch = this.down ? DOWN : RIGHT;
    const across = (plan.width - 1) * pitch.across;
    const along = Math.max(0, plan.height - 1) * pitch.along;
    return this.down ? [across + CARD.width, along + CARD.height] : [along + CARD.width, across + CARD.height];
  }

  // Everything in view; unless `whole` is asked for, large enough to read, from the first layer on.
  fit(plan, [width, height], whole = true) {
    const [w, h] = this.bounds(plan);
    const scale = Math.min((width - 2 * MARGIN) / w, (height - 2 * MARGIN) / h, SCALE_FIT_MAX);
    this.scale = Math.max(whole ? SCALE_MIN : SCALE_READABLE, scale);
    const middle = (size, all) => Math.max(MARGIN, (size - all * this.scale) / 2);
    this.x = middle(width, w) + (CARD.width / 2) * this.scale;
    this.y = middle(height, h) + (CARD.height / 2) * this.scale;
    if (scale >= this.scale || !plan.rows[0]?.length) return;
    const first = plan.rows[0];
    const [x, y] = this.spot(plan, first[0]).map((at, axis) => (at + this.spot(plan, first.at(-1))[axis]) / 2);
    if (this.down) this.x = Math.max(width - MARGIN - (w - CARD.width / 2) * this.scale, Math.min(this.x, width / 2 - x * this.scale));
    else this.y = Math.max(height - MARGIN - (h - CARD.height / 2) * this.scale, Math.min(this.y, height / 2 - y * this.scale));
  }

  zoom(factor, [x, y]) {
    const scale = Math.min(SCALE_MAX, Math.max(SCALE_MIN, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
  }

  // Moves as little as shows the node with room around it.
  reveal(plan, node, [width, height]) {
    if (this.scale < TEXT_FROM) this.scale = 0.8;
    const [x, y] = this.spot(plan, node);
    const [w, h] = [(CARD.width / 2) * this.scale + MARGIN, (CARD.height / 2) * this.scale + MARGIN];
    const within = (at, size, half) => Math.min(Math.max(at, half), Math.max(half, size - half));
    this.x = within(this.x + x * this.scale, width, w) - x * this.scale;
    this.y = within(this.y + y * this.scale, height, h) - y * this.scale;
  }
}

export class Graph {
  // `events`: select(row), moved().
  constructor(canvas, side, camera, events) {
    this.canvas = canvas;
    this.side = side;
    this.camera = camera;
    this.events = events;
    this.context = canvas.getContext("2d");
    this.view = null;
    this.selected = -1;
    this.shown = null;
    this.waiting = false;
    this.labels = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
    this.theme();
  }

  get size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  show(view, plan) {
    this.view = view;
    this.plan = plan;
    this.labels.clear();
    this.invalidate();
  }

  theme() {
    const names = ["card", "page", "text", "muted", "line", "edge", "select", "added", "removed", "changed"];
    this.colours = Object.fromEntries(names.map((name) => [name, colour(name)]));
    this.outcomes = palette();
    this.font = getComputedStyle(document.body).fontFamily;
    this.invalidate();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = this.size;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.events.resized();
    this.invalidate();
  }

  invalidate() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  listen() {
    const { canvas, camera, events } = this;
    let grip = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      grip = { x: event.clientX, y: event.clientY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!grip) return;
      const [dx, dy] = [event.clientX - grip.x, event.clientY - grip.y];
      if (!grip.moved && Math.hypot(dx, dy) < 4) return;
      grip = { x: event.clientX, y: event.clientY, moved: true };
      camera.x += dx;
      camera.y += dy;
      events.moved();
    });
    canvas.addEventListener("pointerup", (event) => {
      if (grip && !grip.moved) events.select(this.at(event.offsetX, event.offsetY));
      grip = null;
    });
    canvas.addEventListener("pointercancel", () => { grip = null; });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const unit = event.deltaMode === 1 ? 16 : 1;
      if (event.ctrlKey || event.metaKey) {
        camera.zoom(Math.exp(-event.deltaY * unit * 0.005), [event.offsetX, event.offsetY]);
      } else {
        camera.x -= (event.shiftKey ? event.deltaY : event.deltaX) * unit;
        camera.y -= (event.shiftKey ? 0 : event.deltaY) * unit;
      }
      events.moved();
    }, { passive: false });
  }

  // The row drawn at a point of the canvas, -1 for none.
  at(x, y) {
    if (!this.view) return -1;
    const { camera, plan } = this;
    const world = [(x - camera.x) / camera.scale, (y - camera.y) / camera.scale];
    let found = -1;
    this.inView([world[0], world[1], world[0], world[1]], (row) => { found = row; });
    return found >= 0 && plan.layer[found] >= 0 ? found : -1;
  }

  // Calls `use` for the rows whose cards touch a box of world coordinates.
  inView([left, top, right, bottom], use) {
    const { camera, plan } = this;
    const pitch = camera.down ? DOWN : RIGHT;
    const [halfX, halfY] = [CARD.width / 2, CARD.height / 2];
    const [alongFrom, alongTo] = camera.down ? [top - halfY, bottom + halfY] : [left - halfX, right + halfX];
    const [acrossFrom, acrossTo] = camera.down ? [left - halfX, right + halfX] : [top - halfY, bottom + halfY];
    const first = Math.max(0, Math.ceil(alongFrom / pitch.along));
    const last = Math.min(plan.rows.length - 1, Math.floor(alongTo / pitch.along));
    for (let layer = first; layer <= last; layer += 1) {
      const rows = plan.rows[layer];
      for (let at = lowest(rows, plan.across, acrossFrom / pitch.across); at < rows.length; at += 1) {
        if (plan.across[rows[at]] * pitch.across > acrossTo) break;
        use(rows[at]);
      }
    }
  }

  draw() {
    const { context, camera, canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.view || canvas.width === 0) return;
    const { scale } = camera;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * camera.x, ratio * camera.y);
    const [width, height] = this.size;
    const box = [-camera.x / scale, -camera.y / scale, (width - camera.x) / scale, (height - camera.y) / scale];
    this.drawEdges(box);
    if (scale < SHAPE_FROM) this.drawDots(box);
    else this.inView(box, (row) => this.drawCard(row));
  }

  drawEdges(box) {
    const { camera, plan, context, colours, selected, view } = this;
    const pitch = camera.down ? DOWN : RIGHT;
    const [from, to] = camera.down ? [box[1], box[3]] : [box[0], box[2]];
    const first = Math.max(0, Math.floor(from / pitch.along) - 1);
    const last = Math.min(plan.leaving.length - 1, Math.ceil(to / pitch.along));
    const bright = [];
    context.lineWidth = Math.max(1.2, 0.7 / camera.scale);
    context.strokeStyle = colours.edge;
    context.globalAlpha = camera.scale < SHAPE_FROM ? 0.3 : camera.scale < LETTER_FROM ? 0.35 : 0.75;
    context.beginPath();
    const consider = (upper, lower, edge) => {
      if (!this.edgeShown(edge)) return;
      const near = view.from[edge] === selected || view.to[edge] === selected;
      if (near) bright.push([upper, lower, edge]);
      else this.traceEdge(upper, lower, box);
    };
    for (let layer = first; layer <= last; layer += 1) {
      for (const [upper, lower, edge] of plan.leaving[layer]) consider(upper, lower, edge);
    }
    for (const edge of plan.straight) consider(view.from[edge], view.to[edge], edge);
    context.stroke();
    context.globalAlpha = 1;
    context.lineWidth = Math.max(2.4, 1.5 / camera.scale);
    context.strokeStyle = colours.select;
    context.beginPath();
    for (const [upper, lower] of bright) this.traceEdge(upper, lower, box);
    context.stroke();
  }

  edgeShown(edge) {
    return (this.view.edgeSides[edge] & (this.side === "a" ? 1 : 2)) !== 0;
  }

  traceEdge(upper, lower, [left, top, right, bottom]) {
    const { camera, plan, context } = this;
    let [x1, y1] = camera.spot(plan, upper);
    let [x2, y2] = camera.spot(plan, lower);
    if (Math.max(x1, x2) < left - CARD.width || Math.min(x1, x2) > right + CARD.width) return;
    if (Math.max(y1, y2) < top - CARD.height || Math.min(y1, y2) > bottom + CARD.height) return;
    const size = this.view.size;
    const [w, h] = [CARD.width / 2, CARD.height / 2];
    // Bends are as tall as a card, so that edges pass between cards straight.
    if (camera.down) {
      y1 += h;
      y2 -= h;
      if (upper >= size) { context.moveTo(x1, y1 - 2 * h); context.lineTo(x1, y1); } else context.moveTo(x1, y1);
      context.bezierCurveTo(x1, (y1 + y2) / 2, x2, (y1 + y2) / 2, x2, y2);
    } else {
      x1 += w;
      x2 -= w;
      if (upper >= size) { context.moveTo(x1 - 2 * w, y1); context.lineTo(x1, y1); } else context.moveTo(x1, y1);
      context.bezierCurveTo((x1 + x2) / 2, y1, (x1 + x2) / 2, y2, x2, y2);
    }
    if (lower < size && camera.scale > LETTER_FROM) this.traceArrow(x2, y2);
  }

  traceArrow(x, y) {
    const { camera, context } = this;
    const [back, aside] = [6, 4];
    if (camera.down) {
      context.moveTo(x - aside, y - back);
      context.lineTo(x, y - 1);
      context.lineTo(x + aside, y - back);
    } else {
      context.moveTo(x - back, y - aside);
      context.lineTo(x - 1, y);
      context.lineTo(x - back, y + aside);
    }
  }

  // Far away: one rectangle per step, one path per outcome.
  drawDots(box) {
    const { context, camera, view } = this;
    const paths = new Map();
    const [width, height] = [CARD.width, CARD.height].map((size) => Math.max(size, DOT_MIN / camera.scale));
    this.inView(box, (row) => {
      const outcome = view.outcome(this.side, row);
      if (!outcome) return;
      const faint = this.shown !== null && !this.shown[row];
      const key = `${faint ? 1 : 0}${outcome}`;
      if (!paths.has(key)) paths.set(key, new Path2D());
      const [x, y] = camera.spot(this.plan, row);
      paths.get(key).rect(x - width / 2, y - height / 2, width, height);
    });
    for (const [key, path] of paths) {
      context.globalAlpha = key[0] === "1" ? 0.18 : 1;
      context.fillStyle = this.outcomes[key.slice(1)].fill;
      context.fill(path);
    }
    context.globalAlpha = 1;
    if (this.selected >= 0 && view.has(this.side, this.selected)) {
      const [x, y] = camera.spot(this.plan, this.selected);
      context.strokeStyle = this.colours.select;
      context.lineWidth = 3 / camera.scale;
      context.strokeRect(x - CARD.width / 2, y - CARD.height / 2, CARD.width, CARD.height);
    }
  }

  drawCard(row) {
    const { context, camera, view, colours } = this;
    const [x, y] = camera.spot(this.plan, row);
    const [left, top] = [x - CARD.width / 2, y - CARD.height / 2];
    const outcome = view.outcome(this.side, row);
    const selected = row === this.selected;
    context.globalAlpha = this.shown !== null && !this.shown[row] && !selected ? 0.2 : 1;
    context.beginPath();
    context.roundRect(left, top, CARD.width, CARD.height, 8);
    if (selected) {
      context.strokeStyle = colours.select;
      context.lineWidth = Math.max(7, 4 / camera.scale);
      context.stroke();
    }
    if (!outcome) {
      context.setLineDash([4, 5]);
      context.strokeStyle = colours.line;
      context.lineWidth = 1.5;
      context.stroke();
      context.setLineDash([]);
      context.globalAlpha = 1;
      return;
    }
    const { fill } = this.outcomes[outcome];
    const readable = camera.scale >= TEXT_FROM;
    context.fillStyle = readable ? colours.card : fill;
    context.fill();
    if (readable) {
      context.globalAlpha *= 0.12;
      context.fillStyle = fill;
      context.fill();
      context.globalAlpha /= 0.12;
      context.strokeStyle = fill;
      context.lineWidth = 1.5;
      context.stroke();
      this.drawBadge(left + 20, y, 24, outcome);
      this.drawText(row, left, y);
    } else if (camera.scale >= LETTER_FROM) {
      context.fillStyle = this.outcomes[outcome].ink;
      this.write(letter(outcome), x, y, `700 30px ${this.font}`, "center");
    }
    if (camera.scale >= LETTER_FROM) this.drawMark(row, left, top);
    context.globalAlpha = 1;
  }

  drawBadge(x, y, size, outcome) {
    const { context } = this;
    const half = size / 2;
    context.beginPath();
    switch (shape(outcome)) {
      case "circle": context.arc(x, y, half, 0, 2 * Math.PI); break;
      case "square": context.roundRect(x - half, y - half, size, size, 5); break;
      case "diamond": polygon(context, x, y, half * 1.2, 4, 0); break;
      default: polygon(context, x, y, half * 1.1, 8, Math.PI / 8);
    }
    context.fillStyle = this.outcomes[outcome].fill;
    context.fill();
    context.fillStyle = this.outcomes[outcome].ink;
    this.write(letter(outcome), x, y + 0.5, `700 14px ${this.font}`, "center");
  }

  drawText(row, left, y) {
    const { context, colours, view } = this;
    const steps = view.sides[this.side];
    const at = view[this.side][row];
    const took = steps.took(at);
    const time = took === null || took < 100 ? "" : duration(took);
    let room = CARD.width - 40 - 10;
    if (time) {
      context.fillStyle = colours.muted;
      this.write(time, left + CARD.width - 9, steps.rest(at) ? y - 8 : y, `11px ${this.font}`, "right");
      room -= context.measureText(time).width + 8;
    }
    const rest = steps.rest(at);
    context.fillStyle = colours.text;
    this.write(this.cut(steps.title(at), `600 13px ${this.font}`, room), left + 40, rest ? y - 8 : y, null, "left");
    if (!rest) return;
    context.fillStyle = colours.muted;
    this.write(this.cut(rest, `11px ${this.font}`, CARD.width - 50), left + 40, y + 9, null, "left");
  }

  // What a comparison says, as a chip on the card's corner.
  drawMark(row, left, top) {
    const { context, colours, view } = this;
    const mark = view.mark(row);
    if (mark === "same") return;
    const [x, y] = [left + CARD.width - 4, top + 3];
    context.beginPath();
    context.arc(x, y, 10, 0, 2 * Math.PI);
    context.fillStyle = colours[mark];
    context.fill();
    context.strokeStyle = colours.card;
    context.lineWidth = 2;
    context.stroke();
    context.fillStyle = colours.card;
    this.write(MARKS[mark][0], x, y + 0.5, `700 14px ${this.font}`, "center");
  }

  write(text, x, y, font, align) {
    const { context } = this;
    if (font) context.font = font;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.fillText(text, x, y);
  }

  // `text` so short that it fits; measured once.
  cut(text, font, room) {
    const { context, labels } = this;
    context.font = font;
    const key = `${font[0]}${Math.round(room)} ${text}`;
    let label = labels.get(key);
    if (label === undefined) {
      label = shorten(context, text, room);
      labels.set(key, label);
    }
    return label;
  }
}

// The longest beginning of `text` that, with an ellipsis, is not wider than `room`.
function shorten(context, text, room) {
  const characters = Array.from(text.slice(0, 200));
  if (text.length <= 200 && context.measureText(text).width <= room) return text;
  let [fits, over] = [0, characters.length];
  while (fits + 1 < over) {
    const middle = (fits + over) >> 1;
    const width = context.measureText(`${characters.slice(0, middle).join("")}…`).width;
    if (width <= room) fits = middle;
    else over = middle;
  }
  return `${characters.slice(0, fits).join("").trimEnd()}…`;
}

function polygon(context, x, y, radius, corners, turn) {
  for (let corner = 0; corner < corners; corner += 1) {
    const angle = turn + (2 * Math.PI * corner) / corners;
    context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  context.closePath();
}

// First position in `rows`, which ascend in `across`, that is not before `limit`.
function lowest(rows, across, limit) {
  let [from, to] = [0, rows.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (across[rows[middle]] < limit) from = middle + 1;
    else to = middle;
  }
  return from;
}
