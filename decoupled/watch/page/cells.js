// The cells of the timeline: 5 ms of a worker each, a letter for what it did most and the tenths of it that it computed.

export const KINDS = [
  ["F", "forward"],
  ["B", "backward from a true gradient"],
  ["S", "backward from a synthetic one"],
  ["R", "refine the head"],
  ["U", "update"],
  ["E", "evaluate"],
  ["C", "snapshot"],
  ["P", "other"],
  ["x", "no worker"],
  ["?", "not reported"],
];
export const CELL_MS = 5;
const BY_LETTER = new Map(KINDS.map(([letter], i) => [letter.charCodeAt(0), i]));
export const [ABSENT, UNKNOWN] = ["x", "?"].map((letter) => BY_LETTER.get(letter.charCodeAt(0)));

/** How much of these cells, of which some may be missing, was of each kind. */
export function sums(strip, first, after) {
  const found = new Array(KINDS.length).fill(0);
  for (let cell = Math.max(first, 0); cell < Math.min(after, strip.length / 2); cell += 1) {
    const kind = BY_LETTER.get(strip.charCodeAt(2 * cell));
    if (kind === undefined) continue; // it waited
    const tenths = strip.charCodeAt(2 * cell + 1) - 48;
    found[kind] += kind >= ABSENT || tenths === 9 ? 1 : tenths / 10;
  }
  return found;
}
