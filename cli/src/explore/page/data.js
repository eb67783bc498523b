// A build as it comes from the server, and its two kinds of steps behind one set of questions.

import { oneLine } from "./format.js";

// Where a statement about the cache comes from.
const EVIDENCE = {
  predicted: "predicted",
  local: "in a local cache",
  registry: "in a registry's cache",
  inline: "in an image's cache",
  image: "in an image",
  daemon: "in the daemon",
};

// The label of a vertex's raw digest, where it is not the canonical one.
export const IN_SESSION = "Vertex in this session";

// What the server refused, with what can be done about it.
export class Problem extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

export async function fetchJson(path) {
  let response;
  try {
    response = await fetch(path, { headers: { accept: "application/json" } });
  } catch {
    throw new Problem("The server does not answer.", "Is `dagop explore` still running?");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Problem(body?.error ?? `The server answered ${response.status}.`, body?.hint ?? null);
}

// One build: `calls` and `vertices` are its steps in order of start.
export class Build {
  constructor(json) {
    this.row = json.build;
    this.summary = json.summary;
    this.notices = json.notices;
    this.sources = json.sources;
    this.reasonsAgainst = json.reasons_against;
    const zero = json.build.started_ms;
    json.vertices.layers = json.layers;
    this.calls = new Calls(json.calls, json.vertices, json.edges.calls, zero);
    this.vertices = new Vertices(json.vertices, json.calls, json.edges.vertices, zero);
  }

  get id() {
    return this.row.id;
  }
}

// What calls and vertices have in common. Times are milliseconds since the build began.
class Steps {
  constructor(columns, size, edges, zero) {
    this.columns = columns;
    this.size = size;
    this.edges = edges;
    this.zero = zero;
    this.hay = new Array(size);
  }

  outcome(at) { return this.columns.outcome[at]; }
  kind(at) { return this.columns.kind[at]; }
  bytes(at) { return this.columns.bytes[at]; }

  // The step's name in one line: what stands out, and the rest.
  title(at) { return this.name(at)[0]; }
  rest(at) { return this.name(at)[1]; }

  took(at) {
    const start = this.start(at);
    const end = this.end(at);
    return start === null || end === null ? null : Math.max(0, end - start);
  }

  // A call as text: its field, and its arguments.
  split(display) {
    const open = display.indexOf("(");
    if (open < 0) return [display, ""];
    return [display.slice(0, open), display.slice(open + 1).replace(/\)$/, "")];
  }

  // Everything a search for plain text looks at, in lower case.
  text(at) {
    return (this.hay[at] ??= `${this.full(at)} ${this.place(at)}`.toLowerCase());
  }

  relative(ms) {
    return ms === null || ms === undefined ? null : Math.max(0, ms - this.zero);
  }
}

class Calls extends Steps {
  constructor(columns, vertices, edges, zero) {
    super(columns, columns.number.length, edges, zero);
    this.vertices = vertices;
  }

  number(at) { return this.columns.number[at]; }
  full(at) { return this.columns.display[at]; }
  place(at) { return this.columns.path[at]; }

  // Why it ran, if its vertex did for it.
  reason(at) {
    const vertex = this.columns.vertex[at];
    return vertex === null || this.vertices.outcome[vertex] !== this.outcome(at) ? null : this.vertices.reason[vertex];
  }

  error(at) { return this.columns.error[at]; }

  name(at) {
    return this.split(oneLine(this.full(at)));
  }

  // As in the key table: where a vertex carries the result, its time is the call's; the engine
  // itself spends next to none.
  start(at) {
    const vertex = this.columns.vertex[at];
    return this.relative(vertex === null ? this.columns.started_ms[at] : this.vertices.started_ms[vertex]);
  }

  end(at) {
    const vertex = this.columns.vertex[at];
    return this.relative(vertex === null ? this.columns.finished_ms[at] : this.vertices.completed_ms[vertex]);
  }

  // The keys in all layers, from the engine down: label and digest.
  keys(at) {
    const { call_key, storage_key, vertex } = this.columns;
    const below = vertex[at];
    const keys = [["Call key", call_key[at]], ["Storage key", storage_key[at]]];
    return keys.concat(below === null ? [] : vertexKeys(this.vertices, below));
  }

  scopes(at) { return this.columns.scopes[at]; }

  // Positions of the vertices it was lowered to.
  partners(at) {
    const own = this.columns.vertex[at];
    const others = this.columns.other_vertices[at];
    return own === null ? others : [own, ...others.filter((other) => other !== own)];
  }
}

class Vertices extends Steps {
  constructor(columns, calls, edges, zero) {
    super(columns, columns.raw.length, edges, zero);
    this.owners = Array.from({ length: this.size }, () => []);
    calls.vertex.forEach((vertex, call) => {
      if (vertex !== null) this.owners[vertex].push(call);
      for (const other of calls.other_vertices[call]) if (other !== vertex) this.owners[other].push(call);
    });
  }

  number(at) { return at + 1; }
  full(at) { return this.columns.name[at]; }
  place() { return ""; }
  reason(at) { return this.columns.reason[at]; }
  error() { return null; }
  scopes() { return []; }

  name(at) {
    const name = oneLine(this.full(at));
    if (/^\w+\(/.test(name)) return this.split(name);
    const space = name.startsWith("[") ? name.indexOf("] ") + 1 : name.indexOf(" ");
    return space <= 0 ? [name, ""] : [name.slice(0, space), name.slice(space + 1)];
  }

  start(at) { return this.relative(this.columns.started_ms[at]); }
  end(at) { return this.relative(this.columns.completed_ms[at]); }
  keys(at) { return vertexKeys(this.columns, at); }

  // Positions of the calls that were lowered to it.
  partners(at) { return this.owners[at]; }
}

function vertexKeys(vertices, at) {
  const keys = [["Vertex", vertices.canonical[at]], [IN_SESSION, vertices.raw[at]]];
  if (vertices.canonical[at] === vertices.raw[at]) keys.length = 1;
  else if (vertices.canonical[at] === null) keys.shift();
  keys.push(["Cache map", vertices.cache_map[at]]);
  if (vertices.tree[at]) keys.push(["Tree of the source", vertices.tree[at]]);
  for (const { input, record, evidence } of vertices.contents[at]) {
    keys.push([`Content of input ${input}, ${EVIDENCE[evidence] ?? evidence}`, record]);
  }
  // What was predicted comes first: it is there for every step.
  const order = [...vertices.records[at]].sort((one, other) => (other.evidence === "predicted") - (one.evidence === "predicted"));
  for (const record of order) keys.push(...recordKeys(vertices.layers, record));
  return keys;
}

// A cache record and, where it is known, the layer on top of its result.
function recordKeys(layers, { output, evidence, digest, canonical, layer }) {
  const which = `of output ${output}, ${EVIDENCE[evidence] ?? evidence}`;
  const keys = [[`Record ${which}`, digest]];
  if (canonical) keys.push([`Record with its links ${which}`, canonical]);
  const top = layer === null ? null : layers[layer];
  if (!top) return keys;
  keys.push([`Layer ${which}`, top.blob]);
  if (top.diff_id) keys.push([`Diff id ${which}`, top.diff_id]);
  if (top.chain_id) keys.push([`Chain id ${which}`, top.chain_id]);
  return keys;
}
