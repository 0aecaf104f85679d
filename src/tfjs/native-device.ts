import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { VersemiError } from '../errors.js';
import { packageRoot } from '../root.js';
import type { BufferId, Device, DeviceMemory, DeviceSettings, Precision } from './device.js';
import { type KernelName, kernelTable } from './kernel-table.js';

/** Status codes of native/include/versemi/kernel_table.h. */
const outOfMemory = 3;

/** An object of the addon; see native/addon/addon.cpp. Methods that return a number return a status code, 0 = done. */
interface AddonDevice {
  allocate(bytes: number): BufferId;
  release(buffer: BufferId): number;
  write(buffer: BufferId, source: ArrayBufferView): number;
  read(buffer: BufferId, target: ArrayBufferView): number;
  /** `call` starts with the buffer ids, followed by the attributes. */
  run(op: number, bufferCount: number, attributeCount: number, call: Float64Array): number;
  refuses(op: number, bufferCount: 0, attributeCount: number, attributes: Float64Array): string | null;
  memory(): [number, number, number, number];
  trim(): number;
  describe(): { isa: string; threads: number; description: string };
  message(): string;
  dispose(): void;
}

interface Addon {
  /** Throws where the device cannot be made as asked. */
  createDevice(options: {
    threads: number;
    memoryLimitBytes: number;
    poison: boolean;
    exact: boolean;
    precision: Precision;
  }): AddonDevice;
  readonly versions: { readonly napi: number; readonly compiler: string };
}

const addonFile = `${packageRoot}build/Release/versemi.node`;
let loaded: Addon | { reason: string } | undefined;

function loadAddon(): Addon | { reason: string } {
  if (loaded === undefined) {
    try {
      loaded = createRequire(import.meta.url)(addonFile) as Addon;
    } catch (error) {
      loaded = { reason: explain(error as NodeJS.ErrnoException) };
    }
  }
  return loaded;
}

/** What the loader said, and every remedy that applies to it. */
function explain(error: NodeJS.ErrnoException): string {
  const remedies = [
    'Run `npm rebuild versemi` (in a clone of the repository: `npm run install`) and read what it prints.',
    'It needs a C++17 compiler and CMake; `npm install --ignore-scripts` and VERSEMI_SKIP_ADDON leave the addon out.',
  ];
  let what = `the native addon cannot be loaded: ${error.message.split('\n')[0]}`;
  if (error.code === 'MODULE_NOT_FOUND') {
    what = `the native addon is not built (${addonFile} does not exist)`;
  } else if (/invalid ELF|wrong architecture|not a valid Win32|Module did not self-register/.test(error.message)) {
    remedies.push(`It was built for another system: this is ${process.platform} ${process.arch}.`);
  } else if (/GLIBC|version `/.test(error.message)) {
    remedies.push('It was built against a newer C library: build it on this machine.');
  }
  remedies.push('The device wasm works without it.');
  return `${what}. ${remedies.join(' ')}`;
}

/** null if the addon can be loaded, else why not and what to do about it, as one message. */
export function nativeUnavailableReason(): string | null {
  const addon = loadAddon();
  return 'reason' in addon ? addon.reason : null;
}

/**
 * The CPU device of the native addon. Each call gives a device with threads and memory of its own; `dispose` frees them.
 *
 * @throws VERSEMI_DEVICE_UNAVAILABLE when the addon is not built, does not load or has no such precision
 */
export function loadNativeDevice({ threads, exact = false, precision = 'float32' }: DeviceSettings = {}): Device {
  const addon = loadAddon();
  if ('reason' in addon) throw new VersemiError('DEVICE_UNAVAILABLE', { field: 'cpu', found: addon.reason });
  const options = {
    threads: threadCount(threads),
    memoryLimitBytes: memoryLimitBytes(),
    poison: process.env.VERSEMI_POISON === '1',
    exact,
    precision,
  };
  try {
    return new NativeDevice(addon.createDevice(options));
  } catch (error) {
    throw new VersemiError('DEVICE_UNAVAILABLE', { field: 'cpu', found: (error as Error).message });
  }
}

function threadCount(asked: number | undefined): number {
  const fromEnvironment = process.env.VERSEMI_THREADS;
  const threads = asked ?? (fromEnvironment ? Number(fromEnvironment) : availableParallelism());
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: asked === undefined ? 'VERSEMI_THREADS' : 'threads',
      expected: 'a whole number from 1 to 1024',
      found: `${asked ?? fromEnvironment}`,
    });
  }
  return threads;
}

/** Physical memory, or what a container allows: beyond it the system would kill the process instead of refusing. */
function memoryLimitBytes(): number {
  const constrained = process.constrainedMemory?.() ?? 0;
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

class NativeDevice implements Device {
  readonly name = 'cpu';
  readonly threads: number;
  readonly description: string;
  /** Ids and attributes of the call being made; grows to the longest call. */
  private call = new Float64Array(256);

  constructor(private readonly device: AddonDevice) {
    const { threads, description } = device.describe();
    this.threads = threads;
    this.description = description;
  }

  allocate(bytes: number): BufferId {
    const buffer = this.device.allocate(bytes);
    if (buffer === 0) {
      throw new VersemiError('DEVICE_OUT_OF_MEMORY', {
        field: 'cpu',
        found: `a request for ${this.device.message()}`,
        remedy: 'Use a smaller patch or batch size.',
      });
    }
    return buffer;
  }

  release(buffer: BufferId): void {
    this.check('release', this.device.release(buffer));
  }

  write(buffer: BufferId, source: ArrayBufferView): void {
    this.check('write', this.device.write(buffer, source));
  }

  async read(buffer: BufferId, target: ArrayBufferView): Promise<void> {
    this.readSync(buffer, target);
  }

  readSync(buffer: BufferId, target: ArrayBufferView): void {
    this.check('read', this.device.read(buffer, target));
  }

  refuses(kernel: KernelName, attributes: ArrayLike<number>): string | null {
    const { code } = kernelTable[kernel];
    return this.device.refuses(code, 0, attributes.length, Float64Array.from(attributes));
  }

  run(kernel: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void {
    const bufferCount = buffers.length;
    const attributeCount = attributes.length;
    if (this.call.length < bufferCount + attributeCount) {
      this.call = new Float64Array(2 * (bufferCount + attributeCount));
    }
    // Plain loops: TypedArray.set from a plain array costs three times as much at these lengths.
    const call = this.call;
    for (let i = 0; i < bufferCount; i++) call[i] = buffers[i]!;
    for (let i = 0; i < attributeCount; i++) call[bufferCount + i] = attributes[i]!;
    const status = this.device.run(kernelTable[kernel].code, bufferCount, attributeCount, call);
    if (status !== 0) this.check(kernel, status);
  }

  async synchronize(): Promise<void> {}

  memory(): DeviceMemory {
    const [buffers, bytesInUse, bytesPooled, bytesPeak] = this.device.memory();
    return { buffers, bytesInUse, bytesPooled, bytesPeak };
  }

  trim(): void {
    this.check('trim', this.device.trim());
  }

  dispose(): void {
    this.device.dispose();
  }

  private check(field: string, status: number): void {
    if (status === 0) return;
    const found = this.device.message();
    throw new VersemiError(status === outOfMemory ? 'DEVICE_OUT_OF_MEMORY' : 'KERNEL_FAILED', { field, found });
  }
}
