// Finding steps. All words must match; a word looks at names and paths, at the outcome, and at every
// key whose beginning it may be. `outcome:`, `kind:` and `key:` look in one place only.

// Fewest digits that are taken for the beginning of a key.
const DIGITS_MIN = 4;

// Uint8Array with 1 for every row that matches, null when nothing was asked.
export function search(view, query, outcomes) {
  const words = query.toLowerCase().split(/\s+/).filter((word) => word !== "");
  if (words.length === 0 && outcomes.size === 0) return null;
  const tests = words.map(test);
  const found = new Uint8Array(view.size);
  for (let row = 0; row < view.size; row += 1) {
    found[row] = ["a", "b"].some((side) => {
      if (!view.has(side, row)) return false;
      const [steps, at] = [view.sides[side], view[side][row]];
      if (outcomes.size > 0 && !outcomes.has(steps.outcome(at))) return false;
      return tests.every((matches) => matches(steps, at));
    }) ? 1 : 0;
  }
  return found;
}

function test(word) {
  const [, place, text] = word.match(/^(outcome|kind|key):(.*)$/) ?? [null, "", word];
  const digits = text.replace(/^(sha256|blake3|xxh3):/, "");
  const isKey = place === "key" ? digits !== "" : digits.length >= DIGITS_MIN && /^[0-9a-f]+$/.test(digits);
  const outcome = (steps, at) => steps.outcome(at).replace(" ", "-").startsWith(text) || steps.outcome(at).startsWith(text);
  const key = (steps, at) => isKey && steps.keys(at).some(([, value]) => hex(value).startsWith(digits));
  switch (place) {
    case "outcome": return outcome;
    case "kind": return (steps, at) => steps.kind(at) === text;
    case "key": return key;
    default: return (steps, at) => steps.text(at).includes(text) || steps.outcome(at) === text || key(steps, at);
  }
}

function hex(digest) {
  return digest === null ? "" : digest.slice(digest.indexOf(":") + 1);
}
