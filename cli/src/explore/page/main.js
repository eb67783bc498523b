// The page: what is loaded, what is selected, and who is told when that changes.

import { View } from "./compare.js";
import { Build, Problem, fetchJson } from "./data.js";
import { Details } from "./details.js";
import { byId, make } from "./dom.js";
import { bytes, count, duration, moment } from "./format.js";
import { Camera, Graph } from "./graph.js";
import { listen } from "./keyboard.js";
import { layout } from "./layout.js";
import { OUTCOMES, MARKS, badge, meaning } from "./outcome.js";
import { search } from "./search.js";
import { Track, describe } from "./track.js";

const NOTHING_SELECTED = "Select a step in the graph or in the list. The ? key shows all keys.";

class Page {
  constructor() {
    this.camera = new Camera();
    this.selected = -1;
    this.before = -1;
    this.outcomes = new Set();
    this.shown = null;
    this.view = null;
    this.fitted = false;
    this.origin = null;
    const moved = () => this.redraw();
    const select = (row) => this.select(row, false);
    const resized = () => this.resized();
    this.graphs = [...document.querySelectorAll(".pane")].map(
      (pane) => new Graph(pane.querySelector("canvas"), pane.dataset.side, this.camera, { select, moved, resized }),
    );
    this.track = new Track(byId("track"), { select: (row) => this.select(row, true) });
    this.details = new Details(byId("details"), {
      select: (row) => this.select(row, true),
      cross: (row) => this.cross(row),
    });
    this.details.empty(NOTHING_SELECTED);
    this.wire();
    listen(this);
  }

  wire() {
    const address = new URLSearchParams(location.search);
    byId("build").addEventListener("change", () => this.load(byId("build").value, byId("against").value || null));
    byId("against").addEventListener("change", () => this.load(byId("build").value, byId("against").value || null));
    for (const button of byId("views").children) button.addEventListener("click", () => this.turnTo(button.dataset.view));
    byId("search").addEventListener("input", () => this.find());
    byId("order").addEventListener("change", () => this.list());
    byId("zoom-in").addEventListener("click", () => this.zoom(1.3));
    byId("zoom-out").addEventListener("click", () => this.zoom(1 / 1.3));
    byId("fit").addEventListener("click", () => this.fit());
    byId("time-in").addEventListener("click", () => this.track.zoom(1.5));
    byId("time-out").addEventListener("click", () => this.track.zoom(1 / 1.5));
    byId("time-all").addEventListener("click", () => this.track.all());
    byId("turn").addEventListener("click", () => this.turn());
    byId("ask").addEventListener("click", () => this.help());
    byId("theme").addEventListener("click", () => this.theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.theme(dark.matches ? "dark" : "light"));
    this.theme(dark.matches ? "dark" : "light");
    this.kind = address.get("show") === "vertices" ? "vertices" : "calls";
    this.start(address.get("build") ?? "last", address.get("against"));
  }

  theme(name) {
    document.documentElement.dataset.theme = name;
    for (const graph of this.graphs) graph.theme();
    if (this.view) this.legend();
    this.list();
  }

  async start(build, against) {
    try {
      const { builds } = await fetchJson("./api/builds");
      this.builds = builds;
      const label = (row) => `${row.id.slice(0, 12)}  ${moment(row.started_ms).slice(5, 16)}  ${row.state}`;
      const options = () => builds.map((row) => make("option", { value: row.id }, label(row)));
      byId("build").replaceChildren(...options());
      byId("against").replaceChildren(make("option", { value: "" }, "nothing"), ...options());
    } catch (error) {
      this.problem(error);
      return;
    }
    await this.load(build, against);
  }

  async load(build, against) {
    const turn = (this.turns = (this.turns ?? 0) + 1);
    document.body.setAttribute("aria-busy", "true");
    try {
      const first = new Build(await fetchJson(`./api/builds/${encodeURIComponent(build)}`));
      const second = against ? new Build(await fetchJson(`./api/builds/${encodeURIComponent(against)}`)) : null;
      const pairs = second ? await fetchJson(`./api/compare/${first.id}/${second.id}`) : null;
      // Whoever chose another build meanwhile does not want this one.
      if (turn === this.turns) this.loaded(first, second, pairs);
    } catch (error) {
      if (turn === this.turns) this.problem(error);
    } finally {
      if (turn === this.turns) document.body.removeAttribute("aria-busy");
    }
  }

  loaded(first, second, pairs) {
    byId("problem").hidden = true;
    Object.assign(this, { first, second, pairs, views: {} });
    byId("build").value = first.id;
    byId("against").value = second?.id ?? "";
    document.title = `${first.id.slice(0, 12)}${second ? ` and ${second.id.slice(0, 12)}` : ""} · dagop explore`;
    this.summary();
    this.outcomes.clear();
    this.turnTo(this.kind);
  }

  problem(error) {
    const known = error instanceof Problem;
    if (!known) console.error(error);
    const box = byId("problem");
    box.replaceChildren(make("strong", {}, known ? error.message : `The page made a mistake: ${error.message}`));
    if (error.hint) box.append(make("p", {}, error.hint));
    box.hidden = false;
    if (this.view) return;
    for (const id of ["graph-empty", "track-empty"]) {
      byId(id).hidden = false;
      byId(id).textContent = this.builds?.length > 0 ? "No build to show. Choose one above." : "No build to show.";
    }
  }

  // The view of a kind of steps, made on first use.
  viewOf(kind) {
    return (this.views[kind] ??= new View(kind, this.first, this.second, this.pairs));
  }

  // Shows calls or vertices; the selection goes along where there is a counterpart.
  turnTo(kind) {
    if (!this.first) return;
    const kept = this.view && this.selected >= 0 && this.views[this.view.kind] === this.view
      ? (this.view.kind === kind ? this.selected : this.view.crossing(this.selected, this.viewOf(kind))) : -1;
    this.kind = kind;
    this.view = this.viewOf(kind);
    this.plan = (this.view.plan ??= layout(this.view));
    for (const button of byId("views").children) {
      const checked = button.dataset.view === kind;
      button.setAttribute("aria-checked", checked);
      button.tabIndex = checked ? 0 : -1;
    }
    this.address();
    this.panes();
    this.legend();
    this.find();
    this.fitted = false;
    this.fit(false);
    this.select(kept, kept >= 0);
  }

  // The address says what is shown, so that it can be kept and reloaded.
  address() {
    const query = new URLSearchParams({ build: this.first.id });
    if (this.second) query.set("against", this.second.id);
    if (this.kind === "vertices") query.set("show", "vertices");
    history.replaceState(null, "", `?${query}`);
  }

  panes() {
    const names = { a: this.first, b: this.second };
    for (const graph of this.graphs) {
      const pane = graph.canvas.parentElement;
      const build = names[graph.side];
      pane.hidden = !build;
      graph.show(build ? this.view : null, this.plan);
      graph.canvas.setAttribute("aria-label", `Graph of ${count(this.view.size, "step", "steps")}${this.second ? `, build ${graph.side.toUpperCase()}` : ""}`);
      const caption = pane.querySelector("figcaption");
      if (this.second) caption.replaceChildren(make("b", {}, graph.side.toUpperCase()), ` ${build.id.slice(0, 12)}, ${moment(build.row.started_ms)}`);
      else caption.replaceChildren();
    }
    const empty = byId("graph-empty");
    empty.hidden = this.view.size > 0;
    empty.textContent = this.kind === "calls" ? "This build made no calls." : "This build gave the daemon nothing to do: it has no vertices.";
  }

  summary() {
    const line = byId("summary");
    const describeBuild = (build, name) => {
      const { row, summary } = build;
      const words = [
        make("span", { class: "state" }, `${name}${row.state}`), " on ",
        `${row.daemon || "an unnamed daemon"} ${row.daemon_version}`.trim(), ", ",
        make("b", {}, count(summary.calls, "call", "calls")), ", ",
        make("b", {}, count(summary.vertices, "vertex", "vertices")), " of which ",
        make("b", {}, `${summary.vertices_by_outcome.executed ?? 0} executed`),
      ];
      if (summary.bytes > 0) words.push(`, ${bytes(summary.bytes)}`);
      if (summary.wall_ms !== null) words.push(", ", make("b", {}, duration(summary.wall_ms)));
      if (row.rows_dropped > 0) words.push(`, ${count(row.rows_dropped, "more row was", "more rows were")} not kept`);
      return words;
    };
    if (!this.second) {
      line.replaceChildren(...describeBuild(this.first, ""));
      return;
    }
    line.replaceChildren(...describeBuild(this.first, "A "), make("br"), ...describeBuild(this.second, "B "));
  }

  // One button per outcome that occurs, and with two builds the number of each kind of difference.
  legend() {
    const { view } = this;
    const counts = new Map();
    const marks = new Map();
    for (let row = 0; row < view.size; row += 1) {
      const here = new Set(["a", "b"].map((side) => view.outcome(side, row)).filter((outcome) => outcome));
      for (const outcome of here) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      marks.set(view.mark(row), (marks.get(view.mark(row)) ?? 0) + 1);
    }
    const buttons = Object.keys(OUTCOMES).filter((outcome) => counts.has(outcome)).map((outcome) =>
      make("button", {
        type: "button", title: meaning(outcome), "data-outcome": outcome, "aria-pressed": String(this.outcomes.has(outcome)),
        on: { click: () => this.filter(outcome) },
      }, badge(outcome), make("span", {}, outcome), make("span", { class: "count" }, String(counts.get(outcome)))));
    const differences = !view.paired ? [] : [make("span", { class: "gap" }), ...Object.keys(MARKS).map((mark) =>
      make("span", { class: "field", "data-mark": mark, title: MARKS[mark][1] },
        make("span", { class: `mark ${mark}` }, MARKS[mark][0]), `${marks.get(mark) ?? 0} ${mark}`))];
    byId("legend").replaceChildren(...buttons, ...differences);
  }

  filter(outcome) {
    if (!this.outcomes.delete(outcome)) this.outcomes.add(outcome);
    for (const button of byId("legend").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(this.outcomes.has(button.dataset.outcome)));
    }
    this.find();
  }

  find() {
    if (!this.view) return;
    const query = byId("search").value;
    this.shown = search(this.view, query, this.outcomes);
    const found = this.shown === null ? 0 : this.shown.reduce((sum, one) => sum + one, 0);
    byId("found").textContent = query.trim() === "" ? "" : `${found} of ${this.view.size}`;
    for (const graph of this.graphs) {
      graph.shown = this.shown;
      graph.invalidate();
    }
    this.list();
  }

  clearSearch() {
    byId("search").value = "";
    this.outcomes.clear();
    this.legend();
    this.find();
  }

  // The rows of the time track, those that match alone, in the order chosen.
  list() {
    const { view, plan, shown } = this;
    if (!view) return;
    const rows = Array.from({ length: view.size }, (_, row) => row).filter((row) => shown === null || shown[row]);
    const orders = {
      start: (row) => view.start(row) ?? Infinity,
      longest: (row) => -view.took(row),
      graph: (row) => plan.layer[row] + plan.across[row] / (plan.width + 1),
    };
    const keys = Array.from({ length: view.size }, (_, row) => orders[byId("order").value](row));
    rows.sort((one, other) => (keys[one] === keys[other] ? one - other : keys[one] - keys[other]));
    this.track.show(view, rows, this.wall());
    const empty = byId("track-empty");
    empty.hidden = rows.length > 0;
    empty.textContent = view.size === 0 ? "Nothing to show." : "No step matches. Esc clears the search.";
  }

  // The length of the time axis: of the longer build, and of any step beyond its end.
  wall() {
    let most = Math.max(this.first.summary.wall_ms ?? 0, this.second?.summary.wall_ms ?? 0);
    for (const steps of Object.values(this.view.sides)) {
      for (let at = 0; steps && at < steps.size; at += 1) most = Math.max(most, steps.end(at) ?? 0);
    }
    return most;
  }

  select(row, reveal = false) {
    if (!this.view) return;
    if (row !== this.selected) this.before = this.selected;
    this.selected = row;
    for (const graph of this.graphs) graph.selected = row;
    if (row >= 0 && reveal) this.camera.reveal(this.plan, row, this.graphs[0].size);
    this.redraw();
    this.track.select(row, true);
    if (row < 0) {
      this.details.empty(NOTHING_SELECTED);
      return;
    }
    this.details.show(this.view, row, this.viewOf(this.kind === "calls" ? "vertices" : "calls"));
    byId("live").textContent = describe(this.view, row);
  }

  // To a step of the other kind.
  cross(row) {
    this.turnTo(this.kind === "calls" ? "vertices" : "calls");
    this.select(row, true);
  }

  // To the next match of a search; without one, to the next difference; else to the next row.
  nextMatch(step) {
    const { view, shown, track } = this;
    if (!view || track.list.length === 0) return;
    const stop = shown === null && view.paired ? (row) => view.mark(row) !== "same" : () => true;
    const at = track.place.get(this.selected) ?? (step > 0 ? -1 : 0);
    for (let far = 1; far <= track.list.length; far += 1) {
      const row = track.list[(at + step * far + 2 * track.list.length) % track.list.length];
      if (stop(row)) {
        this.select(row, true);
        return;
      }
    }
  }

  // First and last step in the order of the graph.
  ends() {
    const rows = this.plan.rows.filter((layer) => layer?.length > 0);
    return [rows[0]?.[0] ?? -1, rows.at(-1)?.at(-1) ?? -1];
  }

  toDetails() {
    if (this.selected < 0) return;
    this.origin = document.activeElement;
    byId("details").querySelector("h2").focus();
  }

  back() {
    (this.origin ?? this.graphs[0].canvas).focus();
  }

  help() {
    byId("help").showModal();
  }

  resized() {
    if (this.view && !this.fitted) this.fit(false);
  }

  fit(whole = true) {
    const size = this.graphs[0].size;
    if (!this.view || size[0] === 0) return;
    this.camera.fit(this.plan, size, whole);
    this.fitted = true;
    this.redraw();
  }

  turn() {
    this.camera.down = !this.camera.down;
    this.fit(false);
    if (this.selected >= 0) this.camera.reveal(this.plan, this.selected, this.graphs[0].size);
  }

  zoom(factor) {
    const [width, height] = this.graphs[0].size;
    this.camera.zoom(factor, [width / 2, height / 2]);
    this.redraw();
  }

  redraw() {
    for (const graph of this.graphs) graph.invalidate();
  }
}

new Page();
