import { VersemiError } from '../errors.js';
import type { Triple } from '../volume/volume.js';
import { type HostCore, Scope, voxelKind } from './host-core.js';
import { type PackedMask, rowBytesOf } from './host-mask.js';
import { type GridMap, type LinearTable, linearTable } from './host-resample.js';

/** Rows begin <= y < end. */
export type Rows = readonly [begin: number, end: number];

/** A grid that probabilities lie on. */
export interface GivenGrid {
  readonly sizeVoxels: Triple;
  /** The rows of the grid that are given. */
  readonly rows: Rows;
  /** Voxel of the grid = voxel of the box * scale + offset; null where they are the same. */
  readonly map: GridMap | null;
}

/** Which voxels of the masks are made. */
interface RestoredBox {
  /** The box of the masks that the grids were made from. */
  readonly crop: { readonly begin: Triple; readonly sizeVoxels: Triple };
  /** The rows of that box that are made: the rows of each grid hold what they need ({@link neededRows}). */
  readonly cropRows: Rows;
  /** One mask per task; only the box's rows are written. */
  readonly masks: readonly PackedMask[];
}

export interface RestoreOptions extends RestoredBox {
  /** One per model. */
  readonly grids: readonly GivenGrid[];
  /** Inside is where the sum over the grids is at least this, in the unit of the probabilities. */
  readonly least: number;
}

/** The rows of a grid that linear interpolation reads for some rows of the box. */
export function neededRows(map: GridMap | null, sizeY: number, [begin, end]: Rows): Rows {
  if (map === null) return [begin, end];
  const position = (row: number) => Math.min(Math.max(row * map.scale[1] + map.offset[1], 0), sizeY - 1);
  // A position exactly on a row would need one row less; the row more costs too little to tell the cases apart.
  return [Math.floor(position(begin)), Math.min(sizeY, Math.floor(position(end - 1)) + 2)];
}

/** The slices of one grid, of which two per task are kept, interpolated linearly onto the rows of the box. */
class GridSlices {
  private readonly x: LinearTable | null = null;
  private readonly y: LinearTable | null = null;
  /** Per slice of the box: the lower slice of the grid, and the weight of the one after it. */
  private readonly lower: Int32Array;
  private readonly weight: Float32Array;
  private readonly given: number;
  private readonly floats: number;
  /** Two resampled slices per task; slice z in place z % 2. */
  private readonly planes: number;
  private nextGiven = 0;

  constructor(
    private readonly core: HostCore,
    scope: Scope,
    private readonly grid: GivenGrid,
    private readonly box: RestoredBox,
  ) {
    const { sizeVoxels, rows, map } = grid;
    const { crop, cropRows, masks } = box;
    const { memory } = core;
    const [boxX, boxY, boxZ] = crop.sizeVoxels;
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
    this.planes = scope.allocate(masks.length * 2 * this.plane * 4);
  }

  private get plane(): number {
    const { crop, cropRows } = this.box;
    return crop.sizeVoxels[0] * (cropRows[1] - cropRows[0]);
  }

  private place(task: number, slice: number): number {
    return this.planes + (2 * task + (slice % 2)) * this.plane * 4;
  }

  push(z: number, probabilities: Uint8Array): void {
    const { sizeVoxels, rows } = this.grid;
    const { crop, cropRows, masks } = this.box;
    const { memory, wasm } = this.core;
    const [boxX] = crop.sizeVoxels;
    const boxRows = cropRows[1] - cropRows[0];
    const givenRows = rows[1] - rows[0];
    const count = sizeVoxels[0] * givenRows;
    if (z !== this.nextGiven || probabilities.length !== masks.length * count)
      throw new VersemiError('INTERNAL', {
        field: 'MaskRestorer.push',
        expected: `slice ${this.nextGiven} with ${masks.length} x ${count} probabilities`,
        found: `slice ${z} with ${probabilities.length}`,
      });
    this.nextGiven++;
    for (let task = 0; task < masks.length; task++) {
      memory.uint8(this.given, count).set(probabilities.subarray(task * count, (task + 1) * count));
      const floats = this.x === null ? this.place(task, z) : this.floats;
      wasm.toFloat32(voxelKind(probabilities), this.given, floats, count, 1, 0);
      if (this.x === null || this.y === null) continue;
      const row = this.floats + count * 4;
      wasm.resampleSlice(
        floats, sizeVoxels[0], givenRows, this.place(task, z), boxX, boxRows,
        this.x.indices, this.x.weights, this.y.indices, this.y.weights, row,
      ); // biome-ignore format: lines of related numbers
    }
  }

  /** Whether what was given suffices for a slice of the box. */
  holds(slice: number): boolean {
    return this.nextGiven > this.lower[slice]! + (this.weight[slice]! > 0 ? 1 : 0);
  }

  /** Address of the probabilities of a slice of the box. @param mixed memory of a slice, which is used where two are interpolated */
  valuesOf(task: number, slice: number, mixed: number): number {
    const low = this.lower[slice]!;
    const weight = this.weight[slice]!;
    if (weight === 0) return this.place(task, low);
    this.core.wasm.interpolate(this.place(task, low), this.place(task, low + 1), weight, mixed, this.plane);
    return mixed;
  }
}

/**
 * Takes probabilities on preprocessed grids, slice by slice, and writes masks on the voxels of the scan, as bits: the
 * probabilities are interpolated linearly, summed over the grids in their order, then compared with `least`. Two slices per task and grid
 * are kept, so that of several grids each is given its next slice when it is the one that is wanted. Rows may be restored in several parts;
 * the masks are the same.
 */
export class MaskRestorer {
  private readonly scope: Scope;
  private readonly grids: readonly GridSlices[];
  private readonly mixed: number;
  private readonly sum: number;
  private readonly inside: number;
  private readonly wide: number;
  private readonly bits: number;
  private nextSlice = 0;

  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY */
  constructor(
    private readonly core: HostCore,
    private readonly options: RestoreOptions,
  ) {
    const { grids, crop, cropRows, masks } = options;
    const scope = new Scope(core.memory);
    this.scope = scope;
    const rows = cropRows[1] - cropRows[0];
    const plane = crop.sizeVoxels[0] * rows;
    const [maskX] = masks[0]!.sizeVoxels;
    try {
      this.grids = grids.map((grid) => new GridSlices(core, scope, grid, options));
      this.mixed = scope.allocate(plane * 4);
      this.sum = grids.length === 1 ? this.mixed : scope.allocate(plane * 4);
      this.inside = scope.allocate(plane);
      this.wide = scope.zeros(maskX * rows);
      this.bits = scope.allocate(rowBytesOf(masks[0]!) * rows);
    } catch (error) {
      scope.release();
      throw error;
    }
  }

  /** Index of the grid whose next slice the masks need; undefined where they are complete. */
  wanted(): number | undefined {
    if (this.nextSlice >= this.options.crop.sizeVoxels[2]) return undefined;
    const index = this.grids.findIndex((grid) => !grid.holds(this.nextSlice));
    return index < 0 ? undefined : index;
  }

  /**
   * @param probabilities of slice z of a grid, [tasks, given rows, x]; the slices of a grid come in order
   * @param grid index; of several grids, the one that {@link wanted} names
   */
  push(z: number, probabilities: Uint8Array, grid = 0): void {
    if (this.grids.length > 1 && grid !== this.wanted())
      throw new VersemiError('INTERNAL', {
        field: 'MaskRestorer.push',
        expected: `a slice of grid ${this.wanted()}`,
        found: `one of grid ${grid}`,
      });
    this.grids[grid]!.push(z, probabilities);
    const { crop, masks } = this.options;
    for (; this.nextSlice < crop.sizeVoxels[2] && this.wanted() === undefined; this.nextSlice++)
      for (const [task, mask] of masks.entries()) this.write(mask, this.nextSlice, this.valuesOf(task));
  }

  /** Address of the next slice: what the only grid holds there, or the sum over the grids. */
  private valuesOf(task: number): number {
    const { crop, cropRows } = this.options;
    const plane = crop.sizeVoxels[0] * (cropRows[1] - cropRows[0]);
    const [only, ...others] = this.grids.map((grid) => () => grid.valuesOf(task, this.nextSlice, this.mixed));
    if (others.length === 0) return only!();
    for (const [i, values] of [only!, ...others].entries())
      this.core.wasm.accumulate(values(), 1, this.sum, plane, i === 0 ? 1 : 0);
    return this.sum;
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
