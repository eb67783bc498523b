// The steps on screen: those of one build, or the pairs of two. A row is a step of the first build
// (`a`), of the second (`b`), or a pair; everything else on the page works with rows alone.

const NONE = -1;

export class View {
  // `kind` is "calls" or "vertices"; `pairs` are those of the server when there are two builds.
  constructor(kind, first, second, pairs) {
    this.kind = kind;
    this.sides = { a: first[kind], b: second ? second[kind] : null };
    this.reasonsAgainst = first.reasonsAgainst;
    if (second) this.pair(pairs[kind], pairs.differences);
    if (second) this.causes = new Map(pairs.vertices.b.map((vertex, at) => [vertex, pairs.reasons[at]]));
    else this.single();
    this.size = this.a.length;
    this.connect();
  }

  single() {
    const size = this.sides.a.size;
    this.a = Int32Array.from({ length: size }, (_, at) => at);
    this.b = new Int32Array(size).fill(NONE);
    this.differs = new Uint8Array(size);
    this.differences = [];
    this.paired = false;
  }

  pair(columns, differences) {
    const at = (cell) => cell ?? NONE;
    // Steps that only the second build has come where they started there, not at the end.
    const rows = columns.a.map((_, row) => row);
    const place = new Float64Array(rows.length);
    let before = NONE;
    const placeInB = new Map();
    rows.forEach((row) => {
      place[row] = columns.a[row] ?? 0;
      if (columns.b[row] !== null) placeInB.set(columns.b[row], row);
    });
    [...placeInB.keys()].sort((x, y) => x - y).forEach((b) => {
      const row = placeInB.get(b);
      if (columns.a[row] !== null) before = Math.max(before, columns.a[row]);
      else place[row] = before + 0.5;
    });
    rows.sort((x, y) => place[x] - place[y] || x - y);
    this.a = Int32Array.from(rows, (row) => at(columns.a[row]));
    this.b = Int32Array.from(rows, (row) => at(columns.b[row]));
    this.differs = Uint8Array.from(rows, (row) => columns.differs[row]);
    this.differences = differences;
    this.paired = true;
  }

  // Edges between rows: those of either build.
  connect() {
    const edges = new Map();
    for (const [side, bit] of [["a", 1], ["b", 2]]) {
      const steps = this.sides[side];
      if (!steps) continue;
      const rows = new Int32Array(steps.size).fill(NONE);
      this[side].forEach((at, row) => {
        if (at !== NONE) rows[at] = row;
      });
      this[`rows_${side}`] = rows;
      for (let at = 0; at + 1 < steps.edges.length; at += 2) {
        const from = rows[steps.edges[at]];
        const to = rows[steps.edges[at + 1]];
        const key = from * this.size + to;
        if (from >= 0 && to >= 0 && from !== to) edges.set(key, (edges.get(key) ?? 0) | bit);
      }
    }
    this.from = new Int32Array(edges.size);
    this.to = new Int32Array(edges.size);
    this.edgeSides = new Uint8Array(edges.size);
    let count = 0;
    for (const [key, bits] of edges) {
      this.from[count] = Math.floor(key / this.size);
      this.to[count] = key % this.size;
      this.edgeSides[count] = bits;
      count += 1;
    }
    this.inputs = adjacency(this.size, this.to, this.from);
    this.users = adjacency(this.size, this.from, this.to);
  }

  has(side, row) {
    return this[side][row] !== NONE;
  }

  // The side to ask about what both have: the first, if the row is there.
  any(row) {
    const side = this.has("a", row) ? "a" : "b";
    return [this.sides[side], this[side][row]];
  }

  title(row) { const [steps, at] = this.any(row); return steps.title(at); }
  rest(row) { const [steps, at] = this.any(row); return steps.rest(at); }
  number(row) { const [steps, at] = this.any(row); return steps.number(at); }

  outcome(side, row) {
    return this.has(side, row) ? this.sides[side].outcome(this[side][row]) : null;
  }

  mark(row) {
    if (!this.paired) return "same";
    if (!this.has("a", row)) return "added";
    if (!this.has("b", row)) return "removed";
    return this.differs[row] ? "changed" : "same";
  }

  // What differs, in words.
  changes(row) {
    return this.differences.filter((_, bit) => this.differs[row] & (1 << bit));
  }

  // Why: of one build, why the step ran; of two, the root causes of its vertex's other key.
  reason(row) {
    if (!this.paired) return this.sides.a.reason(this.a[row]);
    if (!this.has("b", row) || !this.has("a", row) || this.differs[row] === 0) return null;
    const vertex = this.kind === "vertices" ? this.b[row] : this.sides.b.columns.vertex[this.b[row]];
    return this.causes.get(vertex) ?? null;
  }

  // The row of a step that corresponds to `row` in the other kind of view.
  crossing(row, other) {
    for (const side of ["a", "b"]) {
      if (!this.has(side, row) || !this.sides[side]) continue;
      const partner = this.sides[side].partners(this[side][row]).at(0);
      if (partner !== undefined) return other[`rows_${side}`][partner];
    }
    return NONE;
  }

  start(row) {
    const [steps, at] = this.any(row);
    return steps.start(at);
  }

  took(row) {
    const of = (side) => (this.has(side, row) ? this.sides[side].took(this[side][row]) ?? 0 : 0);
    return Math.max(of("a"), of("b"));
  }
}

// For each row, the others it is connected with: `list(row)`.
function adjacency(size, rows, others) {
  const start = new Int32Array(size + 1);
  for (const row of rows) start[row + 1] += 1;
  for (let row = 0; row < size; row += 1) start[row + 1] += start[row];
  const next = start.slice();
  const all = new Int32Array(rows.length);
  rows.forEach((row, edge) => {
    all[next[row]] = others[edge];
    next[row] += 1;
  });
  return {
    list: (row) => all.subarray(start[row], start[row + 1]),
    count: (row) => start[row + 1] - start[row],
  };
}
