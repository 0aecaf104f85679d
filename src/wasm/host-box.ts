import { VersemiError } from '../errors.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { checkLength, checkSameLength } from './host-core.js';

/**
 * CutMix and its masks: whole patches and rows of a box are moved as the engine moves memory, between plain arrays. In linear
 * memory the loops themselves took less, but to bring patches there and back took more than all of this (README of sampling).
 * Arrays are [z, y, x]; `into` is where a result goes: a new array when absent.
 */

/** An axis-aligned cube or box inside a patch. */
export interface PatchBox {
  readonly begin: Triple;
  readonly sizeVoxels: Triple;
}

/** CutMix: a outside the box, b inside. `into` must not be `b`. */
export function cutMix(
  a: Float32Array,
  b: Float32Array,
  sizeVoxels: Triple,
  box: PatchBox,
  into: Float32Array = new Float32Array(a.length),
): Float32Array {
  checkLength(a, sizeVoxels, 'cutMix a');
  checkSameLength(a, b, 'cutMix b');
  checkSameLength(a, into, 'cutMix into');
  checkBox(sizeVoxels, box);
  if (into !== a) into.set(a);
  return copyBox(into, b, sizeVoxels, box);
}

/** y outside the box, 0 inside: y * m. */
export function applyOutside(
  y: Float32Array,
  sizeVoxels: Triple,
  box: PatchBox,
  into: Float32Array = new Float32Array(y.length),
): Float32Array {
  checkLength(y, sizeVoxels, 'applyOutside y');
  checkSameLength(y, into, 'applyOutside into');
  checkBox(sizeVoxels, box);
  if (into !== y) into.set(y);
  return fillBox(into, 0, sizeVoxels, box);
}

/** y inside the box, 0 outside: y * (1 - m). `into` must not be `y`. */
export function applyInside(
  y: Float32Array,
  sizeVoxels: Triple,
  box: PatchBox,
  into: Float32Array = new Float32Array(y.length),
): Float32Array {
  checkLength(y, sizeVoxels, 'applyInside y');
  checkSameLength(y, into, 'applyInside into');
  checkBox(sizeVoxels, box);
  return copyBox(into.fill(0), y, sizeVoxels, box);
}

/** 1 inside the box, 0 outside: 1 - m. */
export function insideMask(
  sizeVoxels: Triple,
  box: PatchBox,
  into: Float32Array = new Float32Array(voxelCount(sizeVoxels)),
): Float32Array {
  checkLength(into, sizeVoxels, 'insideMask into');
  checkBox(sizeVoxels, box);
  return fillBox(into.fill(0), 1, sizeVoxels, box);
}

function copyBox(target: Float32Array, source: Float32Array, sizeVoxels: Triple, box: PatchBox): Float32Array {
  const [sizeX, sizeY] = sizeVoxels;
  const [x, y, z] = box.begin;
  const [boxX, boxY, boxZ] = box.sizeVoxels;
  for (let slice = z; slice < z + boxZ; slice++)
    for (let row = y; row < y + boxY; row++) {
      const at = (slice * sizeY + row) * sizeX + x;
      target.set(source.subarray(at, at + boxX), at);
    }
  return target;
}

function fillBox(target: Float32Array, value: number, sizeVoxels: Triple, box: PatchBox): Float32Array {
  const [sizeX, sizeY] = sizeVoxels;
  const [x, y, z] = box.begin;
  const [boxX, boxY, boxZ] = box.sizeVoxels;
  for (let slice = z; slice < z + boxZ; slice++)
    for (let row = y; row < y + boxY; row++) {
      const at = (slice * sizeY + row) * sizeX + x;
      target.fill(value, at, at + boxX);
    }
  return target;
}

function checkBox(sizeVoxels: Triple, { begin, sizeVoxels: box }: PatchBox): void {
  if (begin.every((b, i) => b >= 0 && box[i]! >= 0 && b + box[i]! <= sizeVoxels[i]!)) return;
  throw new VersemiError('INTERNAL', {
    field: 'box in a patch',
    expected: `a box inside ${sizeVoxels.join(' x ')}`,
    found: `${box.join(' x ')} at ${begin.join(', ')}`,
  });
}
