import { VersemiError } from '../errors.js';
import type { Triple } from '../volume/volume.js';
import type { HostCore } from './host-core.js';

/**
 * Blends the windows of a sliding-window inference. Only a ring of slices as deep as a window is kept, for all tasks:
 * memory is bounded by the slab, not by the volume. Windows come in order of their z position; once no later window
 * reaches a slice, it is taken (in order), which frees its place.
 */
export class SlabAccumulator {
  private readonly sums: number;
  private readonly weights: number;
  private readonly plane: number;
  private readonly depth: number;
  /** First slice that has not been taken. */
  private next = 0;

  /**
   * @param tasks number of logits per voxel
   * @param sizeVoxels size of the volume
   * @param windowVoxels size of each window
   * @throws VERSEMI_DEVICE_OUT_OF_MEMORY
   */
  constructor(
    private readonly core: HostCore,
    private readonly tasks: number,
    private readonly sizeVoxels: Triple,
    private readonly windowVoxels: Triple,
  ) {
    this.plane = sizeVoxels[0] * sizeVoxels[1];
    this.depth = Math.min(windowVoxels[2], sizeVoxels[2]);
    const { memory } = core;
    this.weights = memory.allocate(this.depth * this.plane * 4);
    try {
      this.sums = memory.allocate(tasks * this.depth * this.plane * 4);
    } catch (error) {
      memory.release(this.weights);
      throw error;
    }
    memory.float32(this.weights, this.depth * this.plane).fill(0);
    memory.float32(this.sums, tasks * this.depth * this.plane).fill(0);
  }

  /**
   * Adds sigmoid(logits) * weights, and weights.
   * @param logits [tasks, z, y, x] of one window
   * @param weights [z, y, x], >= 0
   * @param begin voxel of the volume at the window's first voxel; the window may reach beyond the volume
   * @param mirrored the logits are mirrored along x, y, z (test-time augmentation); the weights are not
   */
  add(
    logits: Float32Array,
    weights: Float32Array,
    begin: Triple,
    mirrored: readonly [boolean, boolean, boolean] = [false, false, false],
  ): void {
    const [windowX, windowY, windowZ] = this.windowVoxels;
    const voxels = windowX * windowY * windowZ;
    if (logits.length !== this.tasks * voxels || weights.length !== voxels)
      throw new VersemiError('INTERNAL', {
        field: 'SlabAccumulator.add',
        expected: `${this.tasks} x ${voxels} logits and ${voxels} weights`,
        found: `${logits.length} and ${weights.length}`,
      });
    const low = begin.map((b) => Math.max(0, -b)) as unknown as Triple;
    const high = begin.map((b, i) => Math.min(this.windowVoxels[i]!, this.sizeVoxels[i]! - b)) as unknown as Triple;
    if (low.some((l, i) => l >= high[i]!)) return;
    const [firstZ, lastZ] = [begin[2] + low[2], begin[2] + high[2]];
    if (firstZ < this.next || lastZ > this.next + this.depth)
      throw new VersemiError('INTERNAL', {
        field: 'SlabAccumulator.add',
        expected: `a window within slices ${this.next} to ${this.next + this.depth - 1}`,
        found: `slices ${firstZ} to ${lastZ - 1}`,
      });
    const { wasm, run } = this.core;
    const mirror = (mirrored[0] ? 1 : 0) | (mirrored[1] ? 2 : 0) | (mirrored[2] ? 4 : 0);
    run((scope) => {
      const [from, weightsFrom] = scope.place(logits, weights);
      wasm.addWindow(
        from, weightsFrom, this.sums, this.weights, this.tasks, windowX, windowY, windowZ,
        this.sizeVoxels[0], this.sizeVoxels[1], this.depth, begin[0], begin[1], begin[2],
        low[0], high[0], low[1], high[1], low[2], high[2], mirror,
      ); // biome-ignore format: lines of related numbers
    });
  }

  /**
   * Mean probabilities of slice z as bytes in steps of 1/256, [tasks, y, x]: above 127 exactly where the probability is
   * above one half, 0 where no window has been. Slices are taken in order.
   */
  takeQuantized(z: number): Uint8Array {
    const { wasm, memory, run } = this.core;
    const result = new Uint8Array(this.tasks * this.plane);
    if (z !== this.next || z >= this.sizeVoxels[2])
      throw new VersemiError('INTERNAL', {
        field: 'SlabAccumulator.takeQuantized',
        expected: `slice ${this.next} of ${this.sizeVoxels[2]}`,
        found: `slice ${z}`,
      });
    const slot = z % this.depth;
    const weights = this.weights + slot * this.plane * 4;
    run((scope) => {
      const slice = scope.allocate(this.plane);
      for (let task = 0; task < this.tasks; task++) {
        const sums = this.sums + (task * this.depth + slot) * this.plane * 4;
        wasm.quantize(sums, weights, slice, this.plane);
        result.set(memory.uint8(slice, this.plane), task * this.plane);
        memory.float32(sums, this.plane).fill(0);
      }
    });
    memory.float32(weights, this.plane).fill(0);
    this.next = z + 1;
    return result;
  }

  dispose(): void {
    this.core.memory.release(this.sums);
    this.core.memory.release(this.weights);
  }
}
