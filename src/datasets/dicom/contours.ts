/**
 * Outlines of a mask in one plane, along the edges of its pixels: corners lie half a pixel off the centres, so that every reader that asks
 * whether centres are inside finds the same pixels again.
 */

/** x, y, x, y, … in pixels, (0, 0) being the centre of the first pixel; closed by its first point. */
export type Outline = readonly number[];

/**
 * One outline for each part whose pixels share edges. Its holes are joined to it by a line that runs there and back, since programs differ in
 * what an outline within another one means, and all agree on a single one.
 * @param plane 0 outside, else inside; rows of `columns`
 */
export function outlinesOf(plane: Uint8Array, columns: number, rows: number): Outline[] {
  const loops = traceLoops(plane, columns, rows);
  const outer = new Map(loops.filter(({ area }) => area > 0).map((loop) => [loop.part, loop]));
  // From left to right, so that the line to the left of a hole ends at the outline or at a hole that is joined already.
  const holes = loops.filter(({ area }) => area < 0).sort((a, b) => leftmost(a.points)[0] - leftmost(b.points)[0]);
  for (const hole of holes) {
    const owner = outer.get(hole.part)!;
    owner.points = joined(owner.points, hole.points);
  }
  return [...outer.values()].map(({ points }) => points);
}

interface Loop {
  points: number[];
  /** Above 0 around pixels, below 0 around a hole. */
  readonly area: number;
  /** Which pixels the way goes round: those of one part have one number. */
  readonly part: number;
}

/** Directions of an edge: right, down, left, up. */
const steps = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
] as const;

/** Closed ways along edges with the mask on the right-hand side (y grows downwards). */
function traceLoops(plane: Uint8Array, columns: number, rows: number): Loop[] {
  const inside = (x: number, y: number) => x >= 0 && y >= 0 && x < columns && y < rows && plane[y * columns + x] !== 0;
  // One mark for the upper and one for the lower edge of each pixel; every loop has such edges.
  const seen = new Uint8Array(columns * rows);
  const parts = labelParts(plane, columns, rows);
  const loops: Loop[] = [];
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1) && (seen[y * columns + x]! & 1) === 0) loops.push(trace(x, y, 0));
      if (!inside(x, y + 1) && (seen[y * columns + x]! & 2) === 0) loops.push(trace(x + 1, y + 1, 2));
    }
  }
  return loops;

  /** @param startX corner at the upper left of pixel (x, y) where the direction is 0, at its lower right where it is 2 */
  function trace(startX: number, startY: number, startDirection: 0 | 2): Loop {
    const points: number[] = [];
    const pixel = startDirection === 0 ? startY * columns + startX : (startY - 1) * columns + startX - 1;
    let [x, y, direction] = [startX, startY, startDirection as number];
    let area = 0;
    do {
      points.push(x - 0.5, y - 0.5);
      for (;;) {
        if (direction === 0) seen[y * columns + x]! |= 1;
        else if (direction === 2) seen[(y - 1) * columns + x - 1]! |= 2;
        const [dx, dy] = steps[direction]!;
        area -= dx * y;
        x += dx;
        y += dy;
        // At a corner where two pixels touch, the way turns to the pixel that it goes round: parts share edges, not corners.
        const turn = nextTurn(x, y, direction);
        if (turn !== 0 || (x === startX && y === startY)) {
          direction = (direction + turn) & 3;
          break;
        }
      }
    } while (x !== startX || y !== startY || direction !== startDirection);
    return { points: withoutStraight(points), area, part: parts[pixel]! };
  }

  /** 1: to the right, 0: straight on, 3: to the left. */
  function nextTurn(x: number, y: number, direction: number): number {
    const [dx, dy] = steps[direction]!;
    // Pixels ahead of the corner, on the right-hand and on the left-hand side.
    const [rx, ry] = [-dy, dx];
    const at = (side: 1 | -1) => inside(x + (dx + side * rx - 1) / 2, y + (dy + side * ry - 1) / 2);
    if (!at(1)) return 1;
    return at(-1) ? 3 : 0;
  }
}

/** Numbers from 1 for pixels that are joined by edges, 0 outside. */
function labelParts(plane: Uint8Array, columns: number, rows: number): Int32Array {
  const parts = new Int32Array(columns * rows);
  const waiting: number[] = [];
  let part = 0;
  const visit = (at: number) => {
    if (plane[at] === 0 || parts[at] !== 0) return;
    parts[at] = part;
    waiting.push(at);
  };
  for (let start = 0; start < parts.length; start++) {
    if (plane[start] === 0 || parts[start] !== 0) continue;
    part++;
    visit(start);
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      const x = at % columns;
      if (x > 0) visit(at - 1);
      if (x < columns - 1) visit(at + 1);
      if (at >= columns) visit(at - columns);
      if (at + columns < parts.length) visit(at + columns);
    }
  }
  return parts;
}

/** Without points in the middle of a straight line (the first one may lie there). */
function withoutStraight(points: readonly number[]): number[] {
  const count = points.length / 2;
  const kept: number[] = [];
  for (let i = 0; i < count; i++) {
    const [before, after] = [(i + count - 1) % count, (i + 1) % count];
    const sameX = points[2 * before] === points[2 * i] && points[2 * i] === points[2 * after];
    const sameY = points[2 * before + 1] === points[2 * i + 1] && points[2 * i + 1] === points[2 * after + 1];
    if (!sameX && !sameY) kept.push(points[2 * i]!, points[2 * i + 1]!);
  }
  return kept;
}

/** Index of the leftmost point, of those the uppermost, with its place. */
function leftmost(points: readonly number[]): [x: number, y: number, index: number] {
  let best = 0;
  for (let i = 1; i < points.length / 2; i++) {
    const [x, y] = [points[2 * i]!, points[2 * i + 1]!];
    if (x < points[2 * best]! || (x === points[2 * best]! && y < points[2 * best + 1]!)) best = i;
  }
  return [points[2 * best]!, points[2 * best + 1]!, best];
}

/** A hole joined to the outline by a line to the left of its leftmost point, there and back. */
function joined(outline: readonly number[], hole: readonly number[]): number[] {
  const [x, y, first] = leftmost(hole);
  const count = outline.length / 2;
  let [edge, edgeX] = [-1, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < count; i++) {
    const j = (i + 1) % count;
    const [x0, y0, y1] = [outline[2 * i]!, outline[2 * i + 1]!, outline[2 * j + 1]!];
    const isUpright = x0 === outline[2 * j]! && y0 !== y1;
    if (isUpright && x0 < x && x0 > edgeX && Math.min(y0, y1) <= y && y <= Math.max(y0, y1)) [edge, edgeX] = [i, x0];
  }
  const around: number[] = [];
  for (let i = 0; i <= hole.length / 2; i++) {
    const at = (first + i) % (hole.length / 2);
    around.push(hole[2 * at]!, hole[2 * at + 1]!);
  }
  const cut = 2 * (edge + 1);
  return [...outline.slice(0, cut), edgeX, y, ...around, edgeX, y, ...outline.slice(cut)];
}
