// Where the steps of a graph stand: in layers, each below all of its inputs.
//
// 1. Layer of a step: one below its lowest input (longest path). A step with more users than inputs
//    then moves down to just above its first user, so that sources stand beside what uses them.
// 2. An edge across several layers gets a bend in each of them, as long as there are not more than
//    BENDS_PER_STEP of those per step; the others are drawn straight.
// 3. Order within layers: SWEEPS times, steps are sorted by the mean position of their neighbours in
//    the layer before, then after.
// 4. Place within layers: as near as possible to the mean of the neighbours without overlap. That is
//    a least squares problem with an order, solved exactly by merging neighbours that would overlap
//    (pool adjacent violators), in linear time.
//
// Steps without any edge fill rows of their own below the graph. Everything but the sorting is linear
// in steps and edges. Units: a step is 1 wide, layers are 1 apart.

const BENDS_PER_STEP = 4;
const SWEEPS = 4;
const GAP = 0.14;
const BEND_WIDTH = 0.1;

export function layout(view) {
  const rank = ranks(view);
  const graph = bends(view, rank);
  order(graph);
  place(graph);
  return finish(view, graph);
}

// Layer of every step with an edge, -1 for the others. A cycle, which only a damaged ledger has, is
// cut where it is entered.
function ranks(view) {
  const { size, inputs, users } = view;
  const waiting = Int32Array.from({ length: size }, (_, row) => inputs.count(row));
  const sorted = [];
  const done = new Uint8Array(size);
  const take = (row) => {
    done[row] = 1;
    sorted.push(row);
  };
  for (let row = 0; row < size; row += 1) if (waiting[row] === 0) take(row);
  let next = 0;
  let cut = 0;
  while (sorted.length < size || next < sorted.length) {
    if (next === sorted.length) {
      while (done[cut]) cut += 1;
      take(cut);
    }
    for (const user of users.list(sorted[next])) {
      waiting[user] -= 1;
      if (waiting[user] === 0 && !done[user]) take(user);
    }
    next += 1;
  }
  const position = new Int32Array(size);
  sorted.forEach((row, at) => { position[row] = at; });
  const rank = new Int32Array(size);
  for (const row of sorted) {
    for (const input of inputs.list(row)) {
      if (position[input] < position[row]) rank[row] = Math.max(rank[row], rank[input] + 1);
    }
  }
  for (const row of sorted.reverse()) {
    const below = users.list(row);
    if (below.length === 0 || below.length < inputs.count(row)) continue;
    let lowest = Infinity;
    for (const user of below) if (position[user] > position[row]) lowest = Math.min(lowest, rank[user] - 1);
    if (lowest !== Infinity) rank[row] = Math.max(rank[row], lowest);
  }
  for (let row = 0; row < size; row += 1) {
    if (inputs.count(row) === 0 && users.count(row) === 0) rank[row] = -1;
  }
  return rank;
}

// The graph in which every edge leads from one layer to the next: nodes 0..size are steps, the rest
// are bends.
function bends(view, rank) {
  const { size, from, to } = view;
  const layerOf = Array.from(rank);
  const segments = [];
  const straight = [];
  let left = BENDS_PER_STEP * size;
  for (let edge = 0; edge < from.length; edge += 1) {
    const [first, last] = [from[edge], to[edge]];
    const span = rank[last] - rank[first];
    if (span < 1 || span - 1 > left) {
      straight.push(edge);
      continue;
    }
    left -= span - 1;
    let node = first;
    for (let layer = rank[first] + 1; layer < rank[last]; layer += 1) {
      layerOf.push(layer);
      segments.push([node, layerOf.length - 1, edge]);
      node = layerOf.length - 1;
    }
    segments.push([node, last, edge]);
  }
  const count = layerOf.reduce((most, layer) => Math.max(most, layer + 1), 0);
  const layers = Array.from({ length: count }, () => []);
  const above = Array.from(layerOf, () => []);
  const below = Array.from(layerOf, () => []);
  for (const [upper, lower] of segments) {
    above[lower].push(upper);
    below[upper].push(lower);
  }
  // Depth first, so that a chain and what hangs on it begin side by side.
  const seen = new Uint8Array(layerOf.length);
  for (let root = 0; root < size; root += 1) {
    if (layerOf[root] < 0 || above[root].length > 0) continue;
    const stack = [root];
    while (stack.length > 0) {
      const node = stack.pop();
      if (seen[node]) continue;
      seen[node] = 1;
      layers[layerOf[node]].push(node);
      for (let at = below[node].length - 1; at >= 0; at -= 1) stack.push(below[node][at]);
    }
  }
  layerOf.forEach((layer, node) => {
    if (layer >= 0 && !seen[node]) layers[layer].push(node);
  });
  return { size, layerOf, layers, above, below, segments, straight, x: new Float64Array(layerOf.length) };
}

function mean(nodes, x) {
  let sum = 0;
  for (const node of nodes) sum += x[node];
  return sum / nodes.length;
}

function order({ layers, above, below, x }) {
  const number = (layer) => layer.forEach((node, at) => { x[node] = at; });
  layers.forEach(number);
  const sweep = (layer, neighbours) => {
    const wish = new Map();
    for (const node of layer) wish.set(node, neighbours[node].length > 0 ? mean(neighbours[node], x) : x[node]);
    layer.sort((one, other) => wish.get(one) - wish.get(other) || x[one] - x[other]);
    number(layer);
  };
  for (let round = 0; round < SWEEPS; round += 1) {
    for (let at = 1; at < layers.length; at += 1) sweep(layers[at], above);
    for (let at = layers.length - 2; at >= 0; at -= 1) sweep(layers[at], below);
  }
  for (let at = 1; at < layers.length; at += 1) sweep(layers[at], above);
}

function place({ size, layers, above, below, x }) {
  const width = (node) => (node < size ? 1 : BEND_WIDTH);
  const settle = (layer, neighbours) => {
    // Offsets that touch: what is left to find is a rising sequence near the wishes.
    const offsets = new Float64Array(layer.length);
    for (let at = 1; at < layer.length; at += 1) {
      offsets[at] = offsets[at - 1] + (width(layer[at - 1]) + width(layer[at])) / 2 + GAP;
    }
    const pools = [];
    layer.forEach((node, at) => {
      const near = neighbours?.[node] ?? [];
      let pool = { sum: (near.length > 0 ? mean(near, x) : x[node]) - offsets[at], count: 1 };
      while (pools.length > 0 && pools.at(-1).sum / pools.at(-1).count > pool.sum / pool.count) {
        const before = pools.pop();
        pool = { sum: pool.sum + before.sum, count: pool.count + before.count };
      }
      pools.push(pool);
    });
    let at = 0;
    for (const { sum, count } of pools) {
      for (let used = 0; used < count; used += 1) {
        x[layer[at]] = sum / count + offsets[at];
        at += 1;
      }
    }
  };
  for (const layer of layers) settle(layer, null);
  for (let round = 0; round < 2; round += 1) {
    for (let at = 1; at < layers.length; at += 1) settle(layers[at], above);
    for (let at = layers.length - 2; at >= 0; at -= 1) settle(layers[at], below);
  }
}

// The result: `across` and `layer` of every node, rows in each layer from left to right, and the
// segments that leave each layer.
function finish(view, { size, layerOf, layers, segments, straight, x }) {
  let [left, right] = [Infinity, -Infinity];
  for (const layer of layers) {
    for (const node of layer) {
      left = Math.min(left, x[node]);
      right = Math.max(right, x[node]);
    }
  }
  if (left === Infinity) [left, right] = [0, 0];
  const across = x.map((value) => value - left);
  const rows = layers.map((layer) => layer.filter((node) => node < size));
  const leaving = layers.map(() => []);
  for (const segment of segments) leaving[layerOf[segment[0]]].push(segment);
  const alone = [];
  for (let row = 0; row < size; row += 1) if (layerOf[row] < 0) alone.push(row);
  const columns = Math.max(4, Math.floor((right - left) / (1 + GAP)) + 1, Math.ceil(Math.sqrt(alone.length) / 2));
  alone.forEach((row, at) => {
    const layer = layers.length + Math.floor(at / columns);
    (rows[layer] ??= []).push(row);
    layerOf[row] = layer;
    across[row] = (at % columns) * (1 + GAP);
  });
  const width = across.reduce((most, value) => Math.max(most, value), 0) + 1;
  return { across, layer: Int32Array.from(layerOf), rows, leaving, straight, width, height: rows.length };
}
