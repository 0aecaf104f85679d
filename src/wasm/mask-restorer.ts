import { VersemiError } from '../errors.js';
import type { Triple } from '../volume/volume.js';
import { type HostCore, Scope, voxelKind } from './host-core.js';
import { type PackedMask, rowBytesOf } from './host-mask.js';
import { type GridMap, type LinearTable, linearTable } from './host-resample.js';

/** Rows begin <= y < end. */
export type Rows = readonly [begin: number, end: number];

export interface RestoreOptions {
  /** Size of the grid that the probabilities lie on. */
  readonly sizeVoxels: Triple;
  /** The rows of that grid that are given. */
  readonly rows: Rows;
  /** The box of the masks that the grid was made from. */
  readonly crop: { readonly begin: Triple; readonly sizeVoxels: Triple };
  /** The rows of that box that are made: `rows` hold what they need ({@link neededRows}). */
  readonly cropRows: Rows;
  /** Voxel of the grid = voxel of the box * scale + offset; null where they are the same. */
  readonly map: GridMap | null;
  /** Inside is what is at least this, in the unit of the probabilities. */
  readonly least: number;
  /** One mask per task; only the box's rows are written. */
  readonly masks: readonly PackedMask[];
}

/** The rows of a grid that linear interpolation reads for some rows of the box. */
export function neededRows(map: GridMap | null, sizeY: number, [begin, end]: Rows): Rows {
  if (map === null) return [begin, end];
  const position = (row: number) => Math.min(Math.max(row * map.scale[1] + map.offset[1], 0), sizeY - 1);
  // A position exactly on a row would need one row less; the row more costs too little to tell the cases apart.
  return [Math.floor(position(begin)), Math.min(sizeY, Math.floor(position(end - 1)) + 2)];
}

/**
 * Takes probabilities on the preprocessed grid, slice by slice, and writes masks on the voxels of the scan, as bits: the
 * probabilities are interpolated linearly, then compared with `least`. Two slices per task are kept. Rows may be restored in
 * several parts; the masks are the same.
 */
export class MaskRestorer {
  private readonly scope: Scope;
  private readonly x: LinearTable | null = null;
  private readonly y: LinearTable | null = null;
  /** Per slice of the box: the lower slice of the grid, and the weight of the one after it. */
  private readonly lower: Int32Array;
  private readonly weight: Float32Array;
  private readonly given: number;
  private readonly floats: number;
  /** Two resampled slices per task; slice z in place z % 2. */
  private readonly planes: number;
  private readonly mixed: number;
  private readonly inside: number;
  private readonly wide: number;
  private readonly bits: number;
  private nextSlice = 0;
  private nextGiven = 0;

  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY */
  constructor(
    private readonly core: HostCore,
    private readonly options: RestoreOptions,
  ) {
    const { sizeVoxels, rows, crop, cropRows, map, masks } = options;
    const { memory } = core;
    const scope = new Scope(memory);
    this.scope = scope;
    const [boxX, boxY, boxZ] = crop.sizeVoxels;
    const plane = boxX * (cropRows[1] - cropRows[0]);
    const [maskX] = masks[0]!.sizeVoxels;
    try {
      if (map === null) {
        this.lower = Int32Array.from({ length: boxZ }, (_, z) => z);
        this.weight = new Float32Array(boxZ);
      } else {
        this.x = linearTable(core, scope, boxX, sizeVoxels[0], map.scale[0], map.offset[0]);
        const y = linearTable(core, scope, boxY, sizeVoxels[1], map.scale[1], map.offset[1]);
        const indices = memory.int32(y.indices, boxY);
        for (let row = cropRows[0]; row < cropRows[1]; row++) indices[row]! -= rows[0];
        this.y = { indices: y.indices + 4 * cropRows[0], weights: y.weights + 4 * cropRows[0] };
        const z = linearTable(core, scope, boxZ, sizeVoxels[2], map.scale[2], map.offset[2]);
        this.lower = memory.int32(z.indices, boxZ).slice();
        this.weight = memory.float32(z.weights, boxZ).slice();
      }
      const count = sizeVoxels[0] * (rows[1] - rows[0]);
      this.given = scope.allocate(count);
      this.floats = scope.allocate((count + sizeVoxels[0] + 1) * 4);
      this.planes = scope.allocate(masks.length * 2 * plane * 4);
      this.mixed = scope.allocate(plane * 4);
      this.inside = scope.allocate(plane);
      this.wide = scope.zeros(maskX * (cropRows[1] - cropRows[0]));
      this.bits = scope.allocate(rowBytesOf(masks[0]!) * (cropRows[1] - cropRows[0]));
    } catch (error) {
      scope.release();
      throw error;
    }
  }

  /** @param probabilities of slice z of the grid, [tasks, given rows, x]; slices come in order */
  push(z: number, probabilities: Uint8Array): void {
    const { sizeVoxels, rows, crop, cropRows, masks } = this.options;
    const { memory, wasm } = this.core;
    const [boxX, , boxZ] = crop.sizeVoxels;
    const boxRows = cropRows[1] - cropRows[0];
    const plane = boxX * boxRows;
    const givenRows = rows[1] - rows[0];
    const count = sizeVoxels[0] * givenRows;
    if (z !== this.nextGiven || probabilities.length !== masks.length * count)
      throw new VersemiError('INTERNAL', {
        field: 'MaskRestorer.push',
        expected: `slice ${this.nextGiven} with ${masks.length} x ${count} probabilities`,
        found: `slice ${z} with ${probabilities.length}`,
      });
    this.nextGiven++;
    const place = (task: number, slice: number) => this.planes + (2 * task + (slice % 2)) * plane * 4;
    for (let task = 0; task < masks.length; task++) {
      memory.uint8(this.given, count).set(probabilities.subarray(task * count, (task + 1) * count));
      const floats = this.x === null ? place(task, z) : this.floats;
      wasm.toFloat32(voxelKind(probabilities), this.given, floats, count, 1, 0);
      if (this.x === null || this.y === null) continue;
      const row = this.floats + count * 4;
      wasm.resampleSlice(
        floats, sizeVoxels[0], givenRows, place(task, z), boxX, boxRows,
        this.x.indices, this.x.weights, this.y.indices, this.y.weights, row,
      ); // biome-ignore format: lines of related numbers
    }
    for (; this.nextSlice < boxZ; this.nextSlice++) {
      const low = this.lower[this.nextSlice]!;
      const weight = this.weight[this.nextSlice]!;
      if (z < (weight > 0 ? low + 1 : low)) break;
      for (let task = 0; task < masks.length; task++) {
        let values = place(task, low);
        if (weight > 0) {
          wasm.interpolate(values, place(task, low + 1), weight, this.mixed, plane);
          values = this.mixed;
        }
        this.write(masks[task]!, this.nextSlice, values);
      }
    }
  }

  private write(mask: PackedMask, slice: number, values: number): void {
    const { crop, cropRows, least } = this.options;
    const { memory, wasm } = this.core;
    const [boxX] = crop.sizeVoxels;
    const [maskX, maskY] = mask.sizeVoxels;
    const rows = cropRows[1] - cropRows[0];
    wasm.threshold(values, this.inside, boxX * rows, least, Infinity);
    wasm.copyRows(this.inside, boxX, this.wide + crop.begin[0], maskX, boxX, rows);
    wasm.packRows(this.wide, maskX, rows, this.bits);
    const first = (crop.begin[2] + slice) * maskY + crop.begin[1] + cropRows[0];
    mask.bits.set(memory.uint8(this.bits, rows * rowBytesOf(mask)), first * rowBytesOf(mask));
  }

  dispose(): void {
    this.scope.release();
  }
}
