import * as tf from '#tfjs';
import { VersemiBackend } from '../backend/backend.js';
import { registerKernels } from '../backend/register.js';
import type { BufferId, Device } from '../devices/device.js';
import { inputCount } from '../table/call-check.js';
import type { KernelName } from '../table/kernel-table.js';
import { type GraphCase, type GraphResult, runGraph } from './graph-case.js';
import { loweredPositions, precisionOf, runLowered } from './lowered-kernels.js';
import { PlainDevice } from './plain-device.js';
import type { Rounding } from './precision.js';

/** Rows whose results a device stores as it stores their operands. */
const following: ReadonlySet<KernelName> = new Set(['unary', 'binary', 'transpose', 'slice', 'pad', 'concat', 'tile']);

/**
 * The plain kernels with activations rounded where a device of lowered precision rounds them: as operands of convolutions, as
 * results of the rows that lowered-kernels.ts names, and in whatever is made of such results alone.
 */
export class LoweredDevice extends PlainDevice {
  override readonly description = 'plain TypeScript, rounded';
  round: Rounding = Math.fround;
  /** The device whose precision this one has; float32 unless it is said. */
  like: LoweredLike = {};
  private readonly roundedBuffers = new Set<BufferId>();

  override release(buffer: BufferId): void {
    this.roundedBuffers.delete(buffer);
    super.release(buffer);
  }
  override write(buffer: BufferId, source: ArrayBufferView): void {
    this.roundedBuffers.delete(buffer);
    super.write(buffer, source);
  }
  override run(row: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void {
    if (precisionOf(this.like, row) !== 'float32') {
      const live = buffers.map((buffer) => (buffer === 0 ? null : this.get(buffer)));
      const stored = storesLowered(this.like);
      runLowered(row, live, attributes, this.round, stored);
      if (!stored) return;
      for (const i of loweredPositions(row, 'outputs')) if (buffers[i]) this.roundedBuffers.add(buffers[i]);
      return;
    }
    super.run(row, buffers, attributes);
    if (!following.has(row)) return;
    const first = inputCount(row, buffers.length);
    const output = buffers[first]!;
    const values = this.get(output);
    // Small operands that are broadcast do not count.
    const operands = buffers
      .slice(0, first)
      .filter((buffer) => row !== 'binary' || this.get(buffer).length === values.length);
    if (operands.length === 0 || !operands.every((buffer) => this.roundedBuffers.has(buffer))) return;
    for (let i = 0; i < values.length; i++) values[i] = this.round(values[i]!);
    this.roundedBuffers.add(output);
  }
}

type LoweredLike = Pick<Device, 'precision'>;

/** Whether activations are stored rounded, or operands alone are, as with TF32. */
export function storesLowered({ precision }: LoweredLike): boolean {
  return precision === 'bfloat16';
}

const backend = 'versemi-lowered';
let device: LoweredDevice | undefined;

/** Runs a case on the plain kernels in the precision of a device, rounded as given. The current backend is another one afterwards. */
export async function runLoweredGraph(graph: GraphCase, round: Rounding, like: LoweredLike): Promise<GraphResult> {
  if (device === undefined) {
    const made = new LoweredDevice();
    device = made;
    tf.registerBackend(backend, () => new VersemiBackend(backend, made));
    registerKernels(backend);
  }
  device.round = round;
  device.like = like;
  await tf.setBackend(backend);
  return runGraph(graph);
}
