import type { Triple } from '../volume/volume.js';
import type { Shape } from './phantom-render.js';

/** What a shape is made of. */
export type Tissue = Omit<Shape, 'level' | 'bounds'>;

/** Ellipsoid; `turnsRad` turns it about x, then y, then z. */
export function ellipsoid(center: Triple, radiiMm: Triple, tissue: Tissue, turnsRad: Triple = [0, 0, 0]): Shape {
  const [cx, cy, cz] = center;
  const m = inverseRotation(turnsRad).map((value, i) => value / radiiMm[Math.floor(i / 3)]!);
  const [m0, m1, m2, m3, m4, m5, m6, m7, m8] = m as [number, number, number, number, number, number, ...number[]];
  const level = (x: number, y: number, z: number) => {
    const [dx, dy, dz] = [x - cx, y - cy, z - cz];
    const a = m0 * dx + m1 * dy + m2 * dz;
    const b = m3 * dx + m4 * dy + m5 * dz;
    const c = m6! * dx + m7! * dy + m8! * dz;
    return a * a + b * b + c * c - 1;
  };
  // Ragged outlines reach three standard deviations of the texture field further.
  const reach = Math.max(...radiiMm) * Math.sqrt(1 + 3 * (tissue.ragged ?? 0));
  return { level, bounds: around([center], reach), ...tissue };
}

/** Tube from `from` to `to`, its radius changing linearly, with round ends. */
export function tube(from: Triple, to: Triple, radiiMm: readonly [number, number], tissue: Tissue): Shape {
  const [fx, fy, fz] = from;
  const [vx, vy, vz] = [to[0] - fx, to[1] - fy, to[2] - fz];
  const lengthSquared = vx * vx + vy * vy + vz * vz;
  const [r0, r1] = radiiMm;
  const level = (x: number, y: number, z: number) => {
    const [dx, dy, dz] = [x - fx, y - fy, z - fz];
    const t = Math.max(0, Math.min(1, (dx * vx + dy * vy + dz * vz) / lengthSquared));
    const [ex, ey, ez] = [dx - t * vx, dy - t * vy, dz - t * vz];
    const radius = r0 + (r1 - r0) * t;
    return (ex * ex + ey * ey + ez * ez) / (radius * radius) - 1;
  };
  return { level, bounds: around([from, to], Math.max(r0, r1)), ...tissue };
}

/** Endless upright column with a super-elliptic section (exponent 2.5): the outline of a torso. */
export function column(center: Triple, radiiMm: readonly [number, number], tissue: Tissue): Shape {
  const [cx, cy] = center;
  const [rx, ry] = radiiMm;
  const level = (x: number, y: number) => {
    const a = Math.abs((x - cx) / rx);
    const b = Math.abs((y - cy) / ry);
    return a * a * Math.sqrt(a) + b * b * Math.sqrt(b) - 1;
  };
  return { level, ...tissue };
}

/** The part of a shape that lies in another one, or outside of it. */
export function clipped(shape: Shape, by: Shape, keep: 'inside' | 'outside'): Shape {
  const sign = keep === 'inside' ? 1 : -1;
  return { ...shape, level: (x, y, z) => Math.max(shape.level(x, y, z), sign * by.level(x, y, z)) };
}

/** The half space above (toward the head of) a height, to cut shapes with. */
export function above(heightMm: number): Shape {
  return { level: (_x, _y, z) => (heightMm - z) / 10, value: 0 };
}

function around(points: readonly Triple[], reach: number): readonly [Triple, Triple] {
  const side = (pick: (...values: number[]) => number, sign: number) =>
    [0, 1, 2].map((axis) => pick(...points.map((point) => point[axis]!)) + sign * reach) as unknown as Triple;
  return [side(Math.min, -1), side(Math.max, 1)];
}

/** Transposed rotation matrix (row-major 3 x 3) of turns about x, then y, then z. */
function inverseRotation([a, b, c]: Triple): number[] {
  const [ca, sa, cb, sb, cc, sc] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b), Math.cos(c), Math.sin(c)];
  return [
    cb * cc,
    cb * sc,
    -sb,
    sa * sb * cc - ca * sc,
    sa * sb * sc + ca * cc,
    sa * cb,
    ca * sb * cc + sa * sc,
    ca * sb * sc - sa * cc,
    ca * cb,
  ];
}
