import { type backend_util, DataStorage, type DataType, engine, KernelBackend, type TensorInfo, util } from '#tfjs';
import type { BufferId, Device } from '../devices/device.js';
import { packAttributes } from '../table/call-check.js';
import type { AttributeValues, KernelName } from '../table/kernel-table.js';
import { logRow, logsDispatch } from './dispatch-log.js';
import { type KernelHost, type OutputSpec, Refused, sizeOf } from './kernel-host.js';

type Values = backend_util.BackendValues;

/** Data of one TF.js dataId: on the host or on the device, never on both. */
interface Entry {
  readonly dtype: DataType;
  /** Elements; complex64 counts pairs. */
  readonly size: number;
  refCount: number;
  values: Values | undefined;
  buffer: BufferId;
}

/**
 * A TF.js backend over a device. float32 data goes to the device when a kernel first needs it; everything else (int32,
 * bool, strings, complex numbers) stays on the host, for the delegate.
 */
export class VersemiBackend extends KernelBackend implements KernelHost {
  private readonly entries: DataStorage<Entry>;
  /** Asked once: to read the environment takes longer than the smallest kernel. */
  private readonly logsRows = logsDispatch();

  constructor(
    readonly name: string,
    readonly device: Device,
  ) {
    super();
    this.entries = new DataStorage<Entry>(this, engine());
  }

  // --- data ----------------------------------------------------------------------------------------------------------

  override write(values: Values, shape: number[], dtype: DataType): object {
    const dataId = {};
    this.move(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(dataId: object, values: Values, shape: number[], dtype: DataType, refCount: number): void {
    this.entries.set(dataId, { dtype, size: sizeOf(shape), refCount, values, buffer: 0 });
  }

  override refCount(dataId: object): number {
    return this.entries.has(dataId) ? this.entries.get(dataId).refCount : 0;
  }

  override incRef(dataId: object): void {
    this.entries.get(dataId).refCount++;
  }

  override disposeData(dataId: object, force = false): boolean {
    if (!this.entries.has(dataId)) return true;
    const entry = this.entries.get(dataId);
    entry.refCount--;
    if (!force && entry.refCount > 0) return false;
    if (entry.buffer !== 0) this.device.release(entry.buffer);
    this.entries.delete(dataId);
    return true;
  }

  override async read(dataId: object): Promise<Values> {
    const entry = this.entries.get(dataId);
    if (entry.values !== undefined) return hostValues(entry);
    const target = new Float32Array(entry.size);
    await this.device.read(entry.buffer, target);
    return target;
  }

  override readSync(dataId: object): Values {
    const entry = this.entries.get(dataId);
    if (entry.values !== undefined) return hostValues(entry);
    const target = new Float32Array(entry.size);
    this.device.readSync(entry.buffer, target);
    return target;
  }

  override numDataIds(): number {
    return this.entries.numDataIds();
  }

  /** The device buffer of a tensor; uploads what is still on the host. */
  private bufferOf({ dataId }: TensorInfo): BufferId {
    const entry = this.entries.get(dataId);
    if (entry.values === undefined) return entry.buffer;
    const values = entry.values instanceof Float32Array ? entry.values : Float32Array.from(entry.values as Int32Array);
    const buffer = this.device.allocate(values.byteLength);
    try {
      this.device.write(buffer, values);
    } catch (error) {
      // Where memory is taken by the first write, that is what runs out.
      this.device.release(buffer);
      throw error;
    }
    entry.buffer = buffer;
    entry.values = undefined;
    return buffer;
  }

  // --- kernels -------------------------------------------------------------------------------------------------------

  call<Name extends KernelName>(
    row: Name,
    inputs: readonly (TensorInfo | null | undefined)[],
    outputs: readonly OutputSpec[],
    attributes: AttributeValues<Name>,
  ): TensorInfo[] {
    for (const tensor of inputs) if (tensor) requireFloats(tensor.dtype, tensor.shape);
    for (const output of outputs) {
      if (output === null) continue;
      if ('dataId' in output) requireFloats(output.dtype, output.shape);
      else requireFloats('float32', output);
    }
    const packed = packAttributes(row, attributes);
    const reason = this.device.refuses(row, packed);
    if (reason !== null) throw new Refused(`${row}: ${reason}`);
    if (this.logsRows && this.device.rows !== undefined) {
      const first = [...inputs, ...outputs].find((each) => each) as TensorInfo | readonly number[];
      logRow(row, 'dataId' in first ? first.shape : first, this.device.rows(row, packed));
    }

    const buffers: BufferId[] = [];
    const results: TensorInfo[] = [];
    const made: TensorInfo[] = [];
    try {
      for (const tensor of inputs) buffers.push(tensor ? this.bufferOf(tensor) : 0);
      for (const output of outputs) {
        if (output === null) {
          buffers.push(0);
        } else if ('dataId' in output) {
          buffers.push(this.bufferOf(output));
          results.push(output);
        } else {
          const tensor = this.allocate(output);
          buffers.push(this.entries.get(tensor.dataId).buffer);
          results.push(tensor);
          made.push(tensor);
        }
      }
      this.device.run(row, buffers, packed);
    } catch (error) {
      for (const tensor of made) this.disposeData(tensor.dataId);
      throw error;
    }
    return results;
  }

  private allocate(shape: readonly number[]): TensorInfo {
    const size = sizeOf(shape);
    const buffer = this.device.allocate(4 * size);
    const dataId = {};
    this.entries.set(dataId, { dtype: 'float32', size, refCount: 1, values: undefined, buffer });
    return { dataId, shape: shape.slice(), dtype: 'float32' };
  }

  view(tensor: TensorInfo, shape: readonly number[]): TensorInfo {
    this.incRef(tensor.dataId);
    return { dataId: tensor.dataId, shape: shape.slice(), dtype: tensor.dtype };
  }

  release(tensor: TensorInfo): void {
    this.disposeData(tensor.dataId);
  }

  /** Overwrites a tensor's data, for kernels that wrote in place somewhere else. */
  overwrite(tensor: TensorInfo, values: Values): void {
    const entry = this.entries.get(tensor.dataId);
    if (entry.values === undefined) this.device.write(entry.buffer, values as Float32Array);
    else entry.values = values;
  }

  /** Begins to bring values that `commit` then makes those of a tensor; undefined where the device has nothing to gain. */
  prefetch(tensor: TensorInfo, values: Float32Array): Promise<void> | undefined {
    const { buffer } = this.entries.get(tensor.dataId);
    return buffer === 0 ? undefined : this.device.upload?.(buffer, values);
  }

  commit(tensor: TensorInfo): void {
    this.device.commit?.(this.entries.get(tensor.dataId).buffer);
  }

  /** Values of a tensor, read into an array that is there already. */
  readInto(tensor: TensorInfo, target: Float32Array): void {
    this.device.readSync(this.bufferOf(tensor), target);
  }

  /** Overwrites a tensor's data with a copy of `values`. */
  writeInto(tensor: TensorInfo, values: Float32Array): void {
    this.device.write(this.bufferOf(tensor), values);
  }

  /** See `DeviceSums.start`; the device must have joined ranks. */
  startSumOverRanks(tensor: TensorInfo): void {
    this.device.sums!.start(this.bufferOf(tensor), sizeOf(tensor.shape));
  }

  // --- about the backend ---------------------------------------------------------------------------------------------

  override memory() {
    return { unreliable: false, ...this.device.memory() };
  }

  /**
   * Milliseconds from the call of `f` to the end of its last kernel. `f` runs before this returns: tf.profile and the debug
   * mode of TF.js take its results at once. What an asynchronous device had still to do before counts too.
   */
  override time(f: () => void): Promise<{ kernelMs: number }> {
    const start = util.now();
    f();
    return this.device.synchronize().then(() => ({ kernelMs: util.now() - start }));
  }

  override floatPrecision(): 32 {
    return 32;
  }

  override dispose(): void {
    this.device.dispose();
  }
}

/** The device behind TF.js's current backend, where that is one of ours. */
export function currentDevice(): Device | undefined {
  const { backend } = engine();
  return backend instanceof VersemiBackend ? backend.device : undefined;
}

/** For ops that TF.js's own backends do not have in any form. */
export function currentBackend(): VersemiBackend {
  const { backend } = engine();
  if (!(backend instanceof VersemiBackend)) throw new Error('the current backend is none of ours');
  return backend;
}

function hostValues({ values, dtype }: Entry): Values {
  // Complex numbers are kept as pairs, as TF.js hands them out.
  return dtype === 'complex64' ? values! : util.convertBackendValuesAndArrayBuffer(values!, dtype);
}

function requireFloats(dtype: DataType, shape: readonly number[]): void {
  if (dtype !== 'float32') throw new Refused(`${dtype} tensor`);
  if (shape.includes(0)) throw new Refused('empty tensor');
}
