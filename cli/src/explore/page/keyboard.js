// Keys. Those of the graph follow its edges; those of the list are the usual ones of a list; single
// letters work wherever no text is being typed.

import { byId } from "./dom.js";

// `page` is what keys act on, see main.js.
export function listen(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const typing = event.target.closest("input, select, textarea");
    const action = event.key === "Escape" ? () => escape(page) : typing ? null : letters(page)[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  for (const graph of page.graphs) {
    graph.canvas.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey) graphKey(page, event);
    });
  }
  page.track.rows.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) listKey(page, event);
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    page.nextMatch(event.shiftKey ? -1 : 1);
  });
  byId("views").addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    page.turnTo(page.view?.kind === "calls" ? "vertices" : "calls");
    byId("views").querySelector("[aria-checked=true]").focus();
  });
}

function letters(page) {
  return {
    "/": () => byId("search").select(),
    "?": () => page.help(),
    n: () => page.nextMatch(1),
    N: () => page.nextMatch(-1),
    c: () => page.turnTo(page.view?.kind === "calls" ? "vertices" : "calls"),
    g: () => page.graphs[0].canvas.focus(),
    t: () => page.track.rows.focus(),
    o: () => page.turn(),
    "+": () => page.zoom(1.3),
    "=": () => page.zoom(1.3),
    "-": () => page.zoom(1 / 1.3),
    0: () => page.fit(),
  };
}

// One step back at a time.
function escape(page) {
  const search = byId("search");
  if (byId("details").contains(document.activeElement)) page.back();
  else if (search.value !== "" || page.outcomes.size > 0) page.clearSearch();
  else if (document.activeElement === search) page.graphs[0].canvas.focus();
  else page.select(-1);
}

function graphKey(page, event) {
  const down = page.camera.down;
  const moves = {
    ArrowDown: down ? ["users", 0] : ["layer", 1],
    ArrowUp: down ? ["inputs", 0] : ["layer", -1],
    ArrowRight: down ? ["layer", 1] : ["users", 0],
    ArrowLeft: down ? ["layer", -1] : ["inputs", 0],
  };
  if (moves[event.key]) move(page, ...moves[event.key]);
  else if (event.key === "Home") page.select(page.ends()[0], true);
  else if (event.key === "End") page.select(page.ends()[1], true);
  else if (event.key === "Enter") page.toDetails();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

// Along an edge to the nearest step, or to the neighbour in the layer.
function move(page, way, step) {
  const { view, plan, selected } = page;
  if (!view || view.size === 0) return;
  if (selected < 0) {
    page.select(page.ends()[0], true);
    return;
  }
  let next = -1;
  if (way === "layer") {
    const rows = plan.rows[plan.layer[selected]];
    next = rows[rows.indexOf(selected) + step] ?? -1;
  } else {
    // A step with several users remembers by which one it was entered, so that up and down undo
    // each other.
    const near = [...view[way].list(selected)];
    const away = (row) => Math.abs(plan.across[row] - plan.across[selected]);
    next = near.includes(page.before) ? page.before : near.sort((one, other) => away(one) - away(other))[0] ?? -1;
  }
  if (next >= 0) page.select(next, true);
}

function listKey(page, event) {
  const { track } = page;
  const moves = {
    ArrowDown: 1, ArrowUp: -1, PageDown: track.page, PageUp: -track.page, Home: -Infinity, End: Infinity,
  };
  const times = {
    "+": () => track.zoom(1.5), "=": () => track.zoom(1.5), "-": () => track.zoom(1 / 1.5), 0: () => track.all(),
    ArrowLeft: () => track.pan(-0.2), ArrowRight: () => track.pan(0.2),
  };
  if (event.key in moves) page.select(track.beside(moves[event.key]), true);
  else if (event.key in times) times[event.key]();
  else if (event.key === "Enter") page.toDetails();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
