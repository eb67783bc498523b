// The selected step in full: what became of it and why, its times, its keys in all layers, and the
// steps around it. With two builds every value that differs stands there twice.

import { make } from "./dom.js";
import { IN_SESSION } from "./data.js";
import { MARKS, badge, meaning } from "./outcome.js";
import { bytes, clock, count, duration } from "./format.js";

// Neighbours listed; a step may have thousands.
const LINKS_MAX = 40;

// Digits that stand out at the beginning of a digest: those that tables show.
const DIGITS = 12;

// How long a copy is confirmed, in milliseconds.
const COPIED = 1200;

export class Details {
  // `events`: select(row), cross(position).
  constructor(root, events) {
    this.root = root;
    this.events = events;
  }

  empty(sentence) {
    this.root.replaceChildren(make("p", { class: "empty" }, sentence));
  }

  show(view, row, other) {
    this.view = view;
    this.row = row;
    const sides = ["a", "b"].filter((side) => view.has(side, row));
    const parts = [this.heading(sides), ...sides.map((side) => this.verdict(side, sides.length))];
    parts.push(this.difference(), this.reason(), this.times(sides), this.keys(sides), this.scopes(sides));
    parts.push(this.links("Made from", view.inputs.list(row)), this.links("Used by", view.users.list(row)));
    parts.push(this.crossing(other));
    this.root.replaceChildren(...parts.flat().filter((part) => part));
    this.root.scrollTop = 0;
  }

  heading(sides) {
    const { view, row } = this;
    const [steps, at] = view.any(row);
    const what = view.kind === "calls" ? `Call ${steps.number(at)}` : `Vertex ${steps.number(at)}`;
    const kind = steps.kind(at);
    const place = steps.place(at);
    const title = make("h2", { tabindex: "-1" }, steps.title(at));
    return [
      make("p", { class: "kind" }, make("span", {}, kind === "-" ? what : `${what}, ${kind}`),
        view.paired ? make("span", {}, sides.map((side) => side.toUpperCase()).join(" and ")) : null),
      title,
      make("pre", { class: "display", tabindex: "0", "aria-label": "In full" }, steps.full(at)),
      place ? make("p", { class: "place" }, `at ${place}`) : null,
    ];
  }

  verdict(side, count) {
    const { view, row } = this;
    const [steps, at] = [view.sides[side], view[side][row]];
    const outcome = steps.outcome(at);
    const error = steps.error(at);
    const name = count > 1 ? `${outcome} in ${side.toUpperCase()}` : outcome;
    const text = make("div", {}, make("strong", {}, name), make("p", {}, meaning(outcome)));
    if (error) text.append(make("p", {}, `Kind of error: ${error}.`));
    return make("div", { class: "verdict" }, badge(outcome), text);
  }

  difference() {
    const { view, row } = this;
    if (!view.paired) return null;
    const mark = view.mark(row);
    const changes = view.changes(row);
    const text = mark === "changed" ? `differs in ${changes.join(", ")}` : MARKS[mark][1];
    return make("p", { class: "difference" }, make("span", { class: `mark ${mark}` }, MARKS[mark][0]), ` ${text}`);
  }

  reason() {
    const { view, row } = this;
    const reason = view.reason(row);
    if (!reason) return null;
    const other = view.paired ? "Root cause, from A to B" : `Root cause${view.reasonsAgainst ? `, compared with build ${view.reasonsAgainst.slice(0, DIGITS)}` : ""}`;
    return [make("h3", {}, other), make("p", { class: "reason" }, reason)];
  }

  times(sides) {
    const { view, row } = this;
    const list = make("dl", { class: "facts-list" });
    for (const side of sides) {
      const [steps, at] = [view.sides[side], view[side][row]];
      const tag = sides.length > 1 ? ` ${side.toUpperCase()}` : "";
      const [start, end] = [steps.start(at), steps.end(at)];
      const span = start === null ? "never started" : `${clock(start)} to ${end === null ? "?" : clock(end)}`;
      list.append(make("dt", {}, `Time${tag}`), make("dd", {}, start === null ? span : `${duration(steps.took(at))}, from ${span}`));
      if (steps.bytes(at) > 0) list.append(make("dt", {}, `Bytes moved${tag}`), make("dd", {}, bytes(steps.bytes(at))));
    }
    return [make("h3", {}, "Time"), list];
  }

  keys(sides) {
    const { view, row } = this;
    const columns = new Map();
    for (const side of sides) {
      for (const [label, value] of view.sides[side].keys(view[side][row])) {
        if (!columns.has(label)) columns.set(label, {});
        columns.get(label)[side] = value;
      }
    }
    const list = make("dl", { class: "keys" });
    for (const [label, values] of columns) {
      if (label === "Storage key" && sides.every((side) => !values[side])) continue;
      list.append(...keyRow(label, values, sides));
    }
    return [make("h3", {}, "Keys"), list];
  }

  scopes(sides) {
    const { view, row } = this;
    const [steps, at] = view.any(row);
    const scopes = steps.scopes(at);
    if (scopes.length === 0 || sides.length === 0) return null;
    const list = make("dl", { class: "facts-list" });
    for (const { name, value } of scopes) list.append(make("dt", {}, name), make("dd", {}, make("code", {}, value)));
    return [make("h3", {}, "Scope, part of the call key"), list];
  }

  links(title, rows) {
    if (rows.length === 0) return null;
    const { view } = this;
    const list = make("div", { class: "links" });
    for (const row of rows.slice(0, LINKS_MAX)) {
      const [steps, at] = view.any(row);
      list.append(link(steps, at, () => this.events.select(row)));
    }
    if (rows.length > LINKS_MAX) list.append(make("p", { class: "more" }, `and ${rows.length - LINKS_MAX} more`));
    return [make("h3", {}, title), list];
  }

  // The step in the other layer: a call's vertices, a vertex's calls.
  crossing(other) {
    const { view, row } = this;
    const [steps, at] = view.any(row);
    const side = view.has("a", row) ? "a" : "b";
    const partners = steps.partners(at);
    const title = view.kind === "calls" ? "Lowered to" : "Asked for by";
    if (partners.length === 0) {
      const why = view.kind === "calls" ? "No vertex: nothing for the daemon to do." : "No call: the daemon, or a frontend, added it.";
      return [make("h3", {}, title), make("p", { class: "kind" }, why)];
    }
    const list = make("div", { class: "links" });
    for (const partner of partners.slice(0, LINKS_MAX)) {
      list.append(link(other.sides[side], partner, () => this.events.cross(other[`rows_${side}`][partner])));
    }
    if (partners.length > LINKS_MAX) list.append(make("p", { class: "more" }, `and ${count(partners.length - LINKS_MAX, "other", "others")}`));
    return [make("h3", {}, title), list];
  }
}

function link(steps, at, go) {
  const text = make("span", { class: "text" }, make("b", {}, steps.title(at)), " ", steps.rest(at));
  const label = `${steps.title(at)} ${steps.rest(at)}, ${steps.outcome(at)}`;
  return make("button", { type: "button", "aria-label": label, on: { click: go } }, badge(steps.outcome(at)), text);
}

function keyRow(label, values, sides) {
  const known = sides.map((side) => values[side] ?? null);
  const differs = known.length > 1 && known[0] !== known[1];
  // What a session adds to a vertex always differs, and no cache looks at it.
  const matters = differs && label !== IN_SESSION;
  const head = make("dt", {}, make("span", {}, label), matters ? make("span", { class: "differs" }, "≠ differs") : null);
  const shown = differs ? sides : sides.slice(0, 1);
  return [head, ...shown.map((side) => digestRow(label, values[side] ?? null, differs ? side.toUpperCase() : null))];
}

function digestRow(label, digest, side) {
  const tag = side ? make("span", { class: "side" }, side) : null;
  if (!digest) return make("dd", {}, tag, make("span", { class: "none" }, label === "Cache map" ? "not decided by the operation alone" : "none"));
  const colon = digest.indexOf(":") + 1;
  const text = make("span", { class: "digest" }, make("i", {}, digest.slice(0, colon)), make("b", {}, digest.slice(colon, colon + DIGITS)), digest.slice(colon + DIGITS));
  const copy = make("button", { type: "button", class: "copy", "aria-label": `Copy ${label}` }, "copy");
  copy.addEventListener("click", async () => {
    const done = await navigator.clipboard.writeText(digest).then(() => "copied", () => "no access");
    copy.textContent = done;
    setTimeout(() => { copy.textContent = "copy"; }, COPIED);
  });
  return make("dd", {}, tag, text, copy);
}
