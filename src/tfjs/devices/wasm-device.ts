import { allowedThreads } from '../../allowed-threads.js';
import { environment } from '../../environment.js';
import { VersemiError } from '../../errors.js';
import { threadsThatFit } from '../../wasm/address-space.js';
import { decodeBase64 } from '../../wasm/decode.js';
import { moduleBase64 } from '../../wasm/generated/kernels.js';
import { controlBytes, type KernelExports } from '../../wasm/kernel-protocol.js';
import { LinearMemory, reserveMemory } from '../../wasm/linear-memory.js';
import { mayWait, ThreadPool } from '../../wasm/thread-pool.js';
import { type BufferNeed, bufferNeeds, CallError, inputCount } from '../table/call-check.js';
import { type KernelName, kernelTable } from '../table/kernel-table.js';
import type { BufferId, Device, DeviceMemory, DeviceSettings, RowAnswer } from './device.js';
import { checkForbiddenRows, forbiddenReason, forbiddenRows, requireFloat32 } from './settings.js';

/** More threads than this do not help: the work is cut into a few dozen items per op. */
const mostThreads = 64;
const defaultThreads = 16;
const defaultSharedWork = 1 << 17;

/** Every kernel has one row; whether a convolution filters is decided inside. */
const onlyRow = 'simd';

/** Bytes of the head of a call block; see assembly/kernels/call.ts. */
const callHeadBytes = 8;

export interface WasmDeviceOptions extends DeviceSettings {
  readonly smallestSharedWork?: number;
}

/**
 * The device wasm: kernels in WebAssembly SIMD over one linear memory, on several threads where SharedArrayBuffer allows.
 * If threads cannot start, it runs on one and `description` says why.
 *
 * @param options.threads default: VERSEMI_THREADS, else the cores this process may use, at most 16
 * @param options.smallestSharedWork calls with less work (elements touched; 16 times that for convolutions, matrix products
 *   and the head) run on the calling thread alone, which gives the same numbers. Default 131072: waking the others costs
 *   about as much.
 * @param options.exact plain sums only, no minimal filtering
 * @throws VERSEMI_DEVICE_UNAVAILABLE for a number of threads that makes no sense, a precision other than float32, or without
 *   WebAssembly SIMD
 */
export async function createWasmDevice(options: WasmDeviceOptions = {}): Promise<Device> {
  const wanted = threadCount(options.threads);
  requireFloat32('wasm', options);
  checkForbiddenRows('wasm', forbiddenRows(), [onlyRow]);
  const exact = options.exact ?? false;
  // This thread is one of them.
  const threads = wanted > 1 ? 1 + threadsThatFit(wanted - 1) : 1;
  let reason =
    threads < wanted ? `${wanted} asked for: the limit of address space, ulimit -v, has room for no more` : null;
  if (threads > 1) {
    try {
      return await startThreaded(threads, options.smallestSharedWork ?? defaultSharedWork, exact, because(reason));
    } catch (error) {
      reason = (error as Error).message;
    }
  }
  return startSingle(reason, exact);
}

function threadCount(asked: number | undefined): number {
  const fromEnvironment = environment('VERSEMI_THREADS');
  const threads = asked ?? (fromEnvironment ? Number(fromEnvironment) : Math.min(defaultThreads, allowedThreads()));
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: asked === undefined ? 'VERSEMI_THREADS' : 'threads',
      expected: 'a whole number from 1 to 1024',
      found: `${asked ?? fromEnvironment}`,
    });
  return Math.min(threads, mostThreads);
}

function because(reason: string | null): string {
  return reason === null ? '' : ` (${reason})`;
}

async function startSingle(reason: string | null, exact: boolean): Promise<Device> {
  const reserved = reserveMemory(false);
  const kernels = await instantiate(await compile(moduleBase64), reserved.memory);
  return new WasmDevice(kernels, new LinearMemory(reserved, kernels.heapBase()), 1, 0, exact, because(reason));
}

async function startThreaded(
  threads: number,
  smallestSharedWork: number,
  exact: boolean,
  why: string,
): Promise<Device> {
  if (typeof SharedArrayBuffer === 'undefined')
    throw new Error('no threads: SharedArrayBuffer is missing; a page needs cross-origin isolation for it');
  // Only now, so that a page without threads need not load it.
  const { moduleBase64: threadedBase64 } = await import('../../wasm/generated/kernels-threads.js');
  const module = await compile(threadedBase64);
  const reserved = reserveMemory(true);
  const kernels = await instantiate(module, reserved.memory);
  const linear = new LinearMemory(reserved, kernels.heapBase());
  const device = new WasmDevice(kernels, linear, threads, smallestSharedWork, exact, why);
  await device.startWorkers(module);
  return device;
}

async function compile(base64: string): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(decodeBase64(base64));
  } catch (error) {
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: 'wasm',
      expected: 'WebAssembly with SIMD',
      found: (error as Error).message,
      remedy: 'Use a newer browser or Node 20 or newer.',
    });
  }
}

async function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Promise<KernelExports> {
  return (await WebAssembly.instantiate(module, { env: { memory } })).exports as unknown as KernelExports;
}

interface Buffer {
  readonly address: number;
  readonly bytes: number;
}

class WasmDevice implements Device {
  readonly name = 'wasm';
  private readonly buffers = new Map<BufferId, Buffer>();
  private nextId = 1;
  private bytesInUse = 0;
  private bytesPeak = 0;
  private readonly control: number;
  /** Block that every call is written to; grows to the longest call. */
  private call: Buffer;
  private pool: ThreadPool | null = null;
  private disposed = false;
  /** The call that `refuses` was asked about last: the backend runs it next, with the same array of attributes. */
  private checked:
    | { readonly kernel: KernelName; readonly attributes: ArrayLike<number>; readonly needs: readonly BufferNeed[] }
    | undefined;
  private readonly poison = environment('VERSEMI_POISON') === '1';
  private readonly forbidden = forbiddenRows().includes(onlyRow);
  private wanted = '';

  constructor(
    private readonly kernels: KernelExports,
    private readonly linear: LinearMemory,
    private readonly threadsWanted: number,
    private readonly smallestSharedWork: number,
    private readonly exact: boolean,
    private readonly why: string,
  ) {
    this.control = linear.allocate(controlBytes);
    linear.uint8(this.control, controlBytes).fill(0);
    this.call = { address: linear.allocate(4096), bytes: 4096 };
    kernels.bind(this.control, mayWait() ? 1 : 0, exact ? 1 : 0);
  }

  async startWorkers(module: WebAssembly.Module): Promise<void> {
    const { memory } = this.linear;
    const start = { module, memory, control: this.control, exact: this.exact };
    this.pool = await ThreadPool.start(start, this.threadsWanted - 1);
  }

  get threads(): number {
    return this.pool === null ? 1 : this.threadsWanted;
  }

  get description(): string {
    const { threads } = this;
    const kind = `WebAssembly SIMD${this.exact ? ', plain sums' : ''}`;
    return `${kind}, ${threads} ${threads === 1 ? 'thread' : 'threads'}${this.why}`;
  }

  allocate(bytes: number): BufferId {
    this.live('allocate');
    if (!(Number.isInteger(bytes) && bytes >= 0))
      throw new VersemiError('DEVICE_OUT_OF_MEMORY', {
        field: 'wasm',
        expected: 'a number of bytes',
        found: String(bytes),
      });
    const address = this.linear.allocate(bytes);
    if (this.poison) this.linear.uint8(address, bytes).fill(0xff);
    const id = this.nextId++;
    this.buffers.set(id, { address, bytes });
    this.bytesInUse += bytes;
    this.bytesPeak = Math.max(this.bytesPeak, this.bytesInUse);
    return id;
  }

  release(buffer: BufferId): void {
    const { address, bytes } = this.find('release', buffer);
    this.buffers.delete(buffer);
    this.bytesInUse -= bytes;
    this.linear.release(address);
  }

  write(buffer: BufferId, source: ArrayBufferView): void {
    this.view('write', buffer, source.byteLength).set(bytesOf(source));
  }

  readSync(buffer: BufferId, target: ArrayBufferView): void {
    bytesOf(target).set(this.view('read', buffer, target.byteLength));
  }

  async read(buffer: BufferId, target: ArrayBufferView): Promise<void> {
    this.readSync(buffer, target);
  }

  refuses(kernel: KernelName, attributes: ArrayLike<number>): string | null {
    if (this.forbidden) return `${onlyRow}: ${forbiddenReason}`;
    if (this.wanted !== '' && this.wanted !== onlyRow) return `${onlyRow}: another row was asked for`;
    try {
      this.checked = { kernel, attributes, needs: bufferNeeds(kernel, attributes) };
      return null;
    } catch (error) {
      if (error instanceof CallError) return error.message;
      throw error;
    }
  }

  rows(kernel: KernelName, attributes: ArrayLike<number>): RowAnswer[] {
    return [{ name: onlyRow, reason: this.refuses(kernel, attributes) }];
  }

  useRow(name: string): void {
    this.wanted = name;
  }

  run(kernel: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void {
    this.live(kernel);
    const needs = this.needs(kernel, attributes);
    if (buffers.length !== needs.length)
      throw failed(kernel, 'buffers', `${needs.length}`, `${buffers.length} in the call`);
    let work = 0;
    const addresses = buffers.map((id, i) => {
      const { name, elements, optional } = needs[i]!;
      if (id === 0 && optional) return 0;
      if (id === 0) throw failed(kernel, `buffer ${name}`, 'a buffer: it must not be absent', 'none');
      const { address, bytes } = this.find(kernel, id, name);
      if (bytes < elements * 4) throw failed(kernel, `buffer ${name}`, `${elements * 4} bytes`, `${bytes}`);
      work += elements;
      return address;
    });
    if (!hasWork(kernel, needs)) return;
    if (kernel === 'matmul' && attributes[2] === 0) {
      // a sum of no products
      this.linear.float32(addresses[2]!, needs[2]!.elements).fill(0);
      return;
    }
    if (isDense(kernel)) work *= 16;
    this.execute(
      kernel,
      addresses,
      attributes,
      this.pool !== null && work >= this.smallestSharedWork ? this.threads : 1,
    );
  }

  async synchronize(): Promise<void> {}

  memory(): DeviceMemory {
    return {
      buffers: this.buffers.size,
      bytesInUse: this.bytesInUse,
      bytesPooled: this.linear.bytesFree,
      bytesPeak: this.bytesPeak,
    };
  }

  /** A WebAssembly memory cannot shrink: what was freed stays for reuse until `dispose`. */
  trim(): void {
    this.live('trim');
    this.bytesPeak = this.bytesInUse;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.pool?.dispose();
    this.pool = null;
    this.buffers.clear();
    this.bytesInUse = 0;
  }

  private needs(kernel: KernelName, attributes: ArrayLike<number>): readonly BufferNeed[] {
    const { checked } = this;
    this.checked = undefined;
    if (checked?.kernel === kernel && checked.attributes === attributes) return checked.needs;
    try {
      return bufferNeeds(kernel, attributes);
    } catch (error) {
      if (error instanceof CallError) throw failed(kernel, error.field, error.expected, error.found);
      throw error;
    }
  }

  private execute(
    kernel: KernelName,
    addresses: readonly number[],
    attributes: ArrayLike<number>,
    parts: number,
  ): void {
    const { code } = kernelTable[kernel];
    const block = this.writeCall(addresses, attributes);
    const scratchBytes = this.kernels.scratchBytes(code, block, parts);
    const scratch = scratchBytes > 0 ? this.linear.allocate(scratchBytes) : 0;
    if (scratch !== 0) new Uint32Array(this.linear.memory.buffer, block, 2)[1] = scratch;
    try {
      this.kernels.run(code, block, parts);
    } catch (error) {
      const reason = this.pool?.failure ?? (error as Error).message;
      if (parts > 1) this.abandonWorkers(reason);
      throw failed(kernel, 'WebAssembly', 'a kernel that ends', reason, error);
    } finally {
      if (scratch !== 0) this.linear.release(scratch);
    }
  }

  /** Threads wait for one that failed: they cannot be used any more, this thread can. */
  private abandonWorkers(reason: string): void {
    if (this.pool === null) return;
    this.pool.failure ??= reason;
    this.pool.dispose();
    this.pool = null;
  }

  private writeCall(addresses: readonly number[], attributes: ArrayLike<number>): number {
    const bytes = callHeadBytes + 8 * attributes.length + 4 * addresses.length;
    if (bytes > this.call.bytes) {
      this.linear.release(this.call.address);
      this.call = { address: this.linear.allocate(2 * bytes), bytes: 2 * bytes };
    }
    const { address } = this.call;
    const { buffer } = this.linear.memory;
    const head = new Uint32Array(buffer, address, 2);
    head[0] = attributes.length;
    head[1] = 0;
    const numbers = new Float64Array(buffer, address + callHeadBytes, attributes.length);
    for (let i = 0; i < attributes.length; i++) numbers[i] = attributes[i]!;
    const list = new Uint32Array(buffer, address + callHeadBytes + 8 * attributes.length, addresses.length);
    for (let i = 0; i < addresses.length; i++) list[i] = addresses[i]!;
    return address;
  }

  private view(action: string, buffer: BufferId, bytes: number): Uint8Array {
    const found = this.find(action, buffer);
    if (bytes > found.bytes)
      throw failed(action, `buffer ${buffer}`, `at most its ${found.bytes} bytes`, `${bytes} bytes`);
    return this.linear.uint8(found.address, bytes);
  }

  private find(action: string, buffer: BufferId, name = String(buffer)): Buffer {
    this.live(action);
    const found = this.buffers.get(buffer);
    if (found === undefined) throw failed(action, `buffer ${name}`, 'a live buffer', `id ${buffer}, which is not live`);
    return found;
  }

  private live(action: string): void {
    if (this.disposed) throw failed(action, 'device', 'a live device', 'a disposed one');
  }
}

function failed(action: string, field: string, expected: string, found: string, cause?: unknown): VersemiError {
  return new VersemiError('KERNEL_FAILED', { field: `${action}, ${field}`, expected, found }, cause);
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Kernels that do far more than touch each element once. */
function isDense(kernel: KernelName): boolean {
  return kernel.startsWith('conv3d') || kernel.startsWith('dynamic_head') || kernel === 'matmul';
}

/** False where every output is empty: kernels may count on sizes that are not 0. */
function hasWork(kernel: KernelName, needs: readonly BufferNeed[]): boolean {
  return needs.slice(inputCount(kernel, needs.length)).some(({ elements }) => elements > 0);
}
