import { VersemiError } from '../errors.js';
import type { Triple } from '../volume/volume.js';
import { checkLength, checkSameLength } from './host-core.js';

/** An axis-aligned cube or box inside a patch. */
export interface PatchBox {
  readonly begin: Triple;
  readonly sizeVoxels: Triple;
}

/**
 * CutMix: `into` becomes `outside` except in the box, where it becomes `inside`; each is a patch [z, y, x] or one value for
 * all voxels. `into` may be `outside` itself, but not `inside`. Rows are moved as the engine moves memory, between plain
 * arrays: bringing patches to linear memory and back took longer (NOTES.md).
 */
export function cutMix(
  outside: Float32Array | number,
  inside: Float32Array | number,
  sizeVoxels: Triple,
  box: PatchBox,
  into: Float32Array,
): Float32Array {
  checkLength(into, sizeVoxels, 'cutMix into');
  for (const part of [outside, inside]) if (typeof part !== 'number') checkSameLength(into, part, 'cutMix');
  checkBox(sizeVoxels, box);
  if (typeof outside === 'number') into.fill(outside);
  else if (into !== outside) into.set(outside);
  const [sizeX, sizeY] = sizeVoxels;
  const [x, y, z] = box.begin;
  const [boxX, boxY, boxZ] = box.sizeVoxels;
  for (let slice = z; slice < z + boxZ; slice++)
    for (let row = y; row < y + boxY; row++) {
      const at = (slice * sizeY + row) * sizeX + x;
      if (typeof inside === 'number') into.fill(inside, at, at + boxX);
      else into.set(inside.subarray(at, at + boxX), at);
    }
  return into;
}

function checkBox(sizeVoxels: Triple, { begin, sizeVoxels: box }: PatchBox): void {
  if (begin.every((b, i) => b >= 0 && box[i]! >= 0 && b + box[i]! <= sizeVoxels[i]!)) return;
  throw new VersemiError('INTERNAL', {
    field: 'box in a patch',
    expected: `a box inside ${sizeVoxels.join(' x ')}`,
    found: `${box.join(' x ')} at ${begin.join(', ')}`,
  });
}
