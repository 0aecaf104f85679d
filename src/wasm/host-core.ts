import { VersemiError } from '../errors.js';
import type { Triple, VoxelArray } from '../volume/volume.js';
import { decodeBase64 } from './decode.js';
import { moduleBase64 } from './generated/host.js';
import { LinearMemory, reserveMemory } from './linear-memory.js';

/** Functions of assembly/host.ts: numbers in, at most one number out; addresses are bytes in the linear memory. */
const exportNames = [
  'heapBase',
  'linearTable', 'interpolate', 'resampleSlice', 'resampleLabelSlice', 'pairSlice',
  'accumulate', 'smoothRows', 'smoothColumns', 'normalizeNonzero',
  'reorient', 'addStatistics', 'countUpper', 'countLower', 'normalize', 'threshold', 'toFloat32',
  'countLabels', 'translate', 'findRanks', 'addMaskSlice', 'copyRows', 'addWindow', 'quantize',
  'packRows', 'unpackRows', 'countBits',
  'binaryTarget', 'pairTarget', 'pairLabels', 'scaleShift', 'adjustGamma', 'addNoise', 'warpLinear', 'warpNearest',
  'countRuns', 'findRuns', 'joinRuns', 'paintComponent',
  'listSurface', 'nearestInSlice', 'queryDistances', 'select', 'smallest', 'summarize',
] as const; // biome-ignore format: one line per folder

export type HostExports = Readonly<Record<(typeof exportNames)[number], (...values: number[]) => number>>;

/** Elements that a streaming operation holds in linear memory at a time: fits the second-level cache. */
export const chunkElements = 1 << 16;

let compiled: WebAssembly.Module | undefined;

/** One instance of the host module with a memory of its own. Not shared between threads: each has its own. */
export class HostCore {
  readonly wasm: HostExports;
  readonly memory: LinearMemory;

  constructor() {
    compiled ??= new WebAssembly.Module(decodeBase64(moduleBase64));
    const reserved = reserveMemory(false);
    const instance = new WebAssembly.Instance(compiled, { env: { memory: reserved.memory, abort: failed } });
    this.wasm = instance.exports as unknown as HostExports;
    this.memory = new LinearMemory(reserved, this.wasm.heapBase());
  }

  /** Runs `body` with a scope whose memory is given back when it ends. */
  readonly run = <R>(body: (scope: Scope) => R): R => {
    const scope = new Scope(this.memory);
    try {
      return body(scope);
    } finally {
      scope.release();
    }
  };
}

function failed(): never {
  throw new VersemiError('INTERNAL', { field: 'WebAssembly host module', found: 'an abort' });
}

/** Memory of one operation. */
export class Scope {
  private readonly blocks: number[] = [];

  constructor(readonly memory: LinearMemory) {}

  allocate(bytes: number): number {
    const address = this.memory.allocate(bytes);
    this.blocks.push(address);
    return address;
  }

  /** Memory filled with zero bytes. */
  zeros(bytes: number): number {
    const address = this.allocate(bytes);
    this.memory.uint8(address, bytes).fill(0);
    return address;
  }

  /** Addresses of copies of arrays. */
  place<A extends readonly VoxelArray[]>(...arrays: A): { [K in keyof A]: number } {
    return arrays.map((array) => {
      const address = this.allocate(array.byteLength);
      this.view(array, address, array.length).set(array);
      return address;
    }) as { [K in keyof A]: number };
  }

  /** Copies the result at `address` to `target`, which it returns. */
  take<T extends VoxelArray>(target: T, address: number): T {
    target.set(this.view(target, address, target.length));
    return target;
  }

  /** A view of the type of `like` on this scope's memory. */
  view<T extends VoxelArray>(like: T, address: number, length: number): T {
    return new (constructorOf(like))(this.memory.memory.buffer, address, length);
  }

  release(): void {
    for (const address of this.blocks) this.memory.release(address);
    this.blocks.length = 0;
  }
}

type VoxelArrayConstructor<T extends VoxelArray> = new (
  ...of: [length: number] | [buffer: ArrayBufferLike, byteOffset: number, length: number]
) => T;

function constructorOf<T extends VoxelArray>(array: T): VoxelArrayConstructor<T> {
  return array.constructor as unknown as VoxelArrayConstructor<T>;
}

/** The place in this list is the number of an element type for toFloat32 in assembly/volume/intensity.ts. */
const kinds = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Float64Array];

/** Place of an array's element type among `kinds`. */
export function voxelKind(data: VoxelArray): number {
  return kinds.findIndex((type) => data instanceof type);
}

export function uint32View(memory: LinearMemory, address: number, length: number): Uint32Array {
  return new Uint32Array(memory.memory.buffer, address, length);
}

export function bytesOf(array: VoxelArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A new array of the same type. */
export function sameType<T extends VoxelArray>(array: T, length: number): T {
  return new (constructorOf(array))(length);
}

/** @throws VERSEMI_VOLUME_INVALID unless the array has as many elements as the size says */
export function checkLength(array: VoxelArray, sizeVoxels: Triple, field: string): void {
  const [x, y, z] = sizeVoxels;
  if (array.length === x * y * z && x > 0 && y > 0 && z > 0) return;
  throw new VersemiError('VOLUME_INVALID', {
    field,
    expected: `${x} x ${y} x ${z} voxels`,
    found: `${array.length} voxels`,
  });
}

/** @throws VERSEMI_VOLUME_INVALID unless both arrays have the same number of elements */
export function checkSameLength(a: VoxelArray, b: VoxelArray, field: string): void {
  if (a.length === b.length) return;
  throw new VersemiError('VOLUME_INVALID', {
    field,
    expected: `${a.length} elements`,
    found: `${b.length} elements`,
  });
}
