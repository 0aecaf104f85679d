import { allowedThreads } from '../../allowed-threads.js';
import { environment } from '../../environment.js';
import { isVersemiError, VersemiError } from '../../errors.js';
import { allowedMemoryBytes } from '../../memory-limit.js';
import { nodeModule } from '../../node-module.js';
import { packageRoot } from '../../root.js';
import { type KernelName, kernelTable } from '../table/kernel-table.js';
import {
  type BufferId,
  type Device,
  type DeviceMemory,
  type DeviceSettings,
  type DeviceSums,
  NotRecordable,
  type Precision,
  type Recording,
  type RowAnswer,
} from './device.js';
import { type AddonSums, NativeSums, type Outcome } from './native-sums.js';
import { checkForbiddenRows, forbiddenRows, requireFloat32 } from './settings.js';

// Not imported: a bundler for browsers follows select.ts to this file.
const { existsSync } = nodeModule('node:fs');
const { createRequire } = nodeModule('node:module');

/** Status codes of native/include/versemi/kernel_table.h. */
const outOfMemory = 3;
const unsupported = 2;

export type NativeDeviceName = 'cpu' | 'cuda';

/** An object of the addon; see native/addon/addon.cpp. Methods that return a number return a status code, 0 = done. */
interface AddonDevice extends AddonSums {
  allocate(bytes: number): BufferId;
  release(buffer: BufferId): number;
  write(buffer: BufferId, source: ArrayBufferView): number;
  read(buffer: BufferId, target: ArrayBufferView): number;
  /** `call` starts with the buffer ids, followed by the attributes. */
  run(op: number, bufferCount: number, attributeCount: number, call: Float64Array): number;
  refuses(op: number, bufferCount: 0, attributeCount: number, attributes: Float64Array): string | null;
  rows(op: number, bufferCount: 0, attributeCount: number, attributes: Float64Array): RowAnswer[];
  useRow(name: string): number;
  memory(): [number, number, number, number];
  trim(): number;
  describe(): {
    isa: string;
    threads: number;
    description: string;
    asynchronous: boolean;
    precision: Precision;
    /** Names of all rows. */
    rows: string[];
  };
  dispose(): void;
  readLater(buffer: BufferId, target: ArrayBufferView): Promise<Outcome>;
  upload(buffer: BufferId, source: ArrayBufferView): Promise<Outcome>;
  commit(buffer: BufferId): number;
  wait(): Promise<Outcome>;
  beginCapture(): number;
  /** The graph, 0 = none. */
  endCapture(): number;
  replay(graph: number): number;
  dropGraph(graph: number): void;
}

interface Addon {
  /** Throws where the device cannot be made as asked. */
  createDevice(options: {
    device: NativeDeviceName;
    threads: number;
    /** 0: what the GPU has. */
    memoryLimitBytes: number;
    poison: boolean;
    exact: boolean;
    /** '': the device's own. */
    precision: Precision | '';
    /** Waits after each kernel, so that a fault is reported by the op that caused it (cuda). */
    blocking: boolean;
    /** Names of rows that may not be taken, separated by commas. */
    forbiddenRows: string;
  }): AddonDevice;
  /** null, or why there is no device cuda and what to do. */
  cudaUnavailable(): string | null;
  /** cuda: architectures that its kernels were compiled for, `emulated`, or `none`. */
  readonly versions: { readonly napi: number; readonly compiler: string; readonly cuda: string };
}

/** The addon that was built from source on this machine, then the one that the package brings. */
const addonFiles = [
  `${packageRoot}build/Release/versemi.node`,
  `${packageRoot}prebuilds/${process.platform}-${process.arch}/versemi.node`,
];
let loaded: Addon | { reason: string } | undefined;

/** VERSEMI_ADDON names another build of the addon, for tests. */
function loadAddon(): Addon | { reason: string } {
  const named = environment('VERSEMI_ADDON');
  loaded ??= named ? tryAddon(named) : firstAddon();
  return loaded;
}

/** The first that is there and loads; else why the first that is there does not, or that none is there. */
function firstAddon(): Addon | { reason: string } {
  const results = addonFiles.filter((file) => existsSync(file)).map(tryAddon);
  return results.find((result) => !('reason' in result)) ?? results[0] ?? tryAddon(addonFiles[0]!);
}

function tryAddon(file: string): Addon | { reason: string } {
  try {
    return createRequire(import.meta.url)(file) as Addon;
  } catch (error) {
    return { reason: explain(error as NodeJS.ErrnoException, file) };
  }
}

/** What the loader said, and every remedy that applies to it. */
function explain(error: NodeJS.ErrnoException, file: string): string {
  const remedies = [
    `Run \`node ${packageRoot}native/install.mjs\` and read what it prints.`,
    'It needs a C++17 compiler and CMake; `npm install --ignore-scripts` and VERSEMI_SKIP_ADDON leave the addon out.',
  ];
  let what = `the native addon cannot be loaded: ${error.message.split(/\r?\n/)[0]}`;
  if (error.code === 'MODULE_NOT_FOUND') {
    what = `the native addon is not built (${file} does not exist), and the package brings none for ${process.platform} ${process.arch}`;
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

/** null if the addon has a CUDA device that this machine can use, else why not and what to do about it. */
export function cudaUnavailableReason(): string | null {
  const addon = loadAddon();
  return 'reason' in addon ? addon.reason : addon.cudaUnavailable();
}

/**
 * A device of the native addon. Each call gives a device with threads and memory of its own; `dispose` frees them.
 *
 * @throws VERSEMI_DEVICE_UNAVAILABLE when the addon is not built, does not load or has no such device or precision, for
 *   `exact` with a precision below float32, where VERSEMI_ROWS forbids a row that the device does not have, and where VERSEMI_ISA
 *   is no name of an instruction set
 */
export function loadNativeDevice(settings: DeviceSettings = {}, name: NativeDeviceName = 'cpu'): Device {
  const addon = loadAddon();
  if ('reason' in addon) throw new VersemiError('DEVICE_UNAVAILABLE', { field: name, found: addon.reason });
  if (name === 'cpu') {
    requireFloat32(name, settings);
    checkInstructionSet();
  } else checkContradiction(settings, name);
  const forbidden = forbiddenRows();
  const options = {
    device: name,
    threads: threadCount(settings.threads),
    memoryLimitBytes: name === 'cpu' ? allowedMemoryBytes() : gpuMemoryLimitBytes(),
    poison: environment('VERSEMI_POISON') === '1',
    exact: settings.exact ?? false,
    precision: settings.precision ?? '',
    blocking: environment('VERSEMI_CUDA_BLOCKING') === '1',
    forbiddenRows: forbidden.join(','),
  } as const;
  let device: AddonDevice;
  try {
    device = addon.createDevice(options);
  } catch (error) {
    throw new VersemiError('DEVICE_UNAVAILABLE', { field: name, found: (error as Error).message });
  }
  try {
    checkForbiddenRows(name, forbidden, device.describe().rows);
  } catch (error) {
    device.dispose();
    throw error;
  }
  return new NativeDevice(device, name);
}

/** Names of native/cpu/dispatch.cpp. The addon takes the best set up to the one that VERSEMI_ISA names. */
const instructionSets = ['avx512', 'avx2', 'baseline'];

function checkInstructionSet(): void {
  const wanted = environment('VERSEMI_ISA');
  if (wanted === undefined || instructionSets.includes(wanted)) return;
  throw new VersemiError('DEVICE_UNAVAILABLE', {
    field: 'VERSEMI_ISA',
    expected: instructionSets.join(', '),
    found: wanted,
    remedy:
      'Set it to one of these names, in small letters, or unset it: the best set of the processor is taken by itself.',
  });
}

function checkContradiction({ exact, precision = 'float32' }: DeviceSettings, name: NativeDeviceName): void {
  if (!exact || precision === 'float32') return;
  throw new VersemiError('DEVICE_UNAVAILABLE', {
    field: `${name}, exact and precision`,
    expected: 'float32 where sums are to be exact, or a lower precision without exact',
    found: `exact with ${precision}`,
    remedy: 'Leave one of the two out.',
  });
}

function threadCount(asked: number | undefined): number {
  const fromEnvironment = environment('VERSEMI_THREADS');
  const threads = asked ?? (fromEnvironment ? Number(fromEnvironment) : allowedThreads());
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: asked === undefined ? 'VERSEMI_THREADS' : 'threads',
      expected: 'a whole number from 1 to 1024',
      found: `${asked ?? fromEnvironment}`,
    });
  }
  return threads;
}

/** VERSEMI_CUDA_MEMORY_MIB: how much of the GPU to use at most, where others share it. */
function gpuMemoryLimitBytes(): number {
  const text = environment('VERSEMI_CUDA_MEMORY_MIB');
  if (!text) return 0;
  const mebibytes = Number(text);
  if (Number.isFinite(mebibytes) && mebibytes >= 1) return mebibytes * 2 ** 20;
  throw new VersemiError('DEVICE_UNAVAILABLE', {
    field: 'VERSEMI_CUDA_MEMORY_MIB',
    expected: 'a number of at least 1',
    found: text,
  });
}

/** Attributes as the addon takes them: the backend packs them already. */
function packed(attributes: ArrayLike<number>): Float64Array {
  return attributes instanceof Float64Array ? attributes : Float64Array.from(attributes);
}

class NativeDevice implements Device {
  readonly threads: number;
  readonly description: string;
  readonly precision: Precision;
  /** Ids and attributes of the call being made; grows to the longest call. */
  private call = new Float64Array(256);

  /** Only where calls go on after they return: see Device. */
  readonly record?: (work: () => void) => Recording;
  readonly upload?: (buffer: BufferId, source: ArrayBufferView) => Promise<void>;
  readonly commit?: (buffer: BufferId) => void;
  readonly sums?: DeviceSums;
  private readonly asynchronous: boolean;

  constructor(
    private readonly device: AddonDevice,
    readonly name: NativeDeviceName,
  ) {
    const { threads, description, asynchronous, precision } = device.describe();
    this.threads = threads;
    this.description = description;
    this.precision = precision;
    this.asynchronous = asynchronous;
    if (name === 'cuda') this.sums = new NativeSums(device);
    if (!asynchronous) return;
    this.record = (work) => this.capture(work);
    this.upload = async (buffer, source) => this.settle('upload', await device.upload(buffer, source));
    this.commit = (buffer) => this.check('commit', device.commit(buffer));
  }

  allocate(bytes: number): BufferId {
    const buffer = this.device.allocate(bytes);
    if (buffer === 0) this.check(this.name, outOfMemory);
    return buffer;
  }

  release(buffer: BufferId): void {
    this.check('release', this.device.release(buffer));
  }

  write(buffer: BufferId, source: ArrayBufferView): void {
    this.check('write', this.device.write(buffer, source));
  }

  async read(buffer: BufferId, target: ArrayBufferView): Promise<void> {
    if (this.asynchronous) this.settle('read', await this.device.readLater(buffer, target));
    else this.readSync(buffer, target);
  }

  readSync(buffer: BufferId, target: ArrayBufferView): void {
    this.check('read', this.device.read(buffer, target));
  }

  refuses(kernel: KernelName, attributes: ArrayLike<number>): string | null {
    const { code } = kernelTable[kernel];
    return this.device.refuses(code, 0, attributes.length, packed(attributes));
  }

  rows(kernel: KernelName, attributes: ArrayLike<number>): RowAnswer[] {
    const { code } = kernelTable[kernel];
    return this.device.rows(code, 0, attributes.length, packed(attributes));
  }

  useRow(name: string): void {
    this.check('useRow', this.device.useRow(name));
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

  async synchronize(): Promise<void> {
    if (this.asynchronous) this.settle('synchronize', await this.device.wait());
  }

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

  private capture(work: () => void): Recording {
    if (this.device.beginCapture() !== 0) throw new NotRecordable(this.device.message());
    let failure: { readonly error: unknown } | undefined;
    try {
      work();
    } catch (error) {
      failure = { error };
    }
    const graph = this.device.endCapture();
    if (graph === 0) throw new NotRecordable(this.device.message());
    if (failure === undefined) return new Graph(this.device, graph);
    this.device.dropGraph(graph);
    // Calls that are run one by one need no memory of their own for each.
    if (isVersemiError(failure.error) && failure.error.code === 'VERSEMI_DEVICE_OUT_OF_MEMORY')
      throw new NotRecordable(failure.error.message);
    throw failure.error;
  }

  private settle(field: string, outcome: Outcome): void {
    if (outcome !== null) throw this.error(field, ...outcome);
  }

  private check(field: string, status: number): void {
    if (status !== 0) throw this.error(field, status, this.device.message());
  }

  private error(field: string, status: number, message: string): VersemiError {
    if (status !== outOfMemory) return new VersemiError('KERNEL_FAILED', { field, found: message });
    return new VersemiError('DEVICE_OUT_OF_MEMORY', {
      field: this.name === field ? field : `${this.name}, ${field}`,
      found: `a request for ${message}`,
      remedy:
        'In training raise training.recomputedLevels, or lower training.labeledBatchSize, training.unlabeledBatchSize or ' +
        `patchSizeVoxels${this.name === 'cuda' ? '; or end what else uses the GPU' : ''}.`,
    });
  }
}

class Graph implements Recording {
  constructor(
    private readonly device: AddonDevice,
    private readonly graph: number,
  ) {}

  replay(): boolean {
    const status = this.device.replay(this.graph);
    if (status === 0) return true;
    if (status === unsupported) return false;
    throw new VersemiError('KERNEL_FAILED', { field: 'replay', found: this.device.message() });
  }

  dispose(): void {
    this.device.dropGraph(this.graph);
  }
}
