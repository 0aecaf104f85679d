import { VersemiError } from '../errors.js';
import { isNode } from '../node-module.js';
import { freeAddressSpace } from './address-space.js';

const pageBytes = 65536;
const alignment = 64;
/** From 4 GiB to 64 MiB; the last page stays unused, so that no end wraps to 0. */
const mostPages = [65536, 32768, 16384, 8192, 4096, 2048, 1024];
const initialPages = 16;
const fourGibibytes = 65535 * pageBytes;

/** A WebAssembly memory, and the bytes up to which it may grow. */
export interface Reservation {
  readonly memory: WebAssembly.Memory;
  readonly maximumBytes: number;
}

/**
 * Reserves address space for a memory: as much as the engine grants, in steps down from 4 GiB to 64 MiB. Where the address space
 * is limited, a quarter of what is free: there are two memories (device and host), and the engine needs its own.
 * @throws VERSEMI_MEMORY_LIMIT where it grants none
 */
export function reserveMemory(shared: boolean): Reservation {
  const share = freeAddressSpace() / 4;
  const fitting = mostPages.filter((pages) => pages * pageBytes <= share);
  let failure: unknown;
  for (const maximum of fitting.length > 0 ? fitting : mostPages.slice(-1)) {
    try {
      const memory = new WebAssembly.Memory({ initial: initialPages, maximum, shared });
      return { memory, maximumBytes: (maximum - 1) * pageBytes };
    } catch (error) {
      failure = error;
    }
  }
  // Node keeps 10 GiB free around a memory, whatever its size, so that the processor catches each access beyond its end.
  throw new VersemiError(
    'MEMORY_LIMIT',
    {
      field: 'address space',
      expected: isNode() ? 'about 10 GiB for each WebAssembly memory (limits: ulimit -v)' : 'a WebAssembly memory',
      found: (failure as Error).message,
      remedy: isNode()
        ? 'Set NODE_OPTIONS=--disable-wasm-trap-handler, with which a memory takes the space that it uses, or raise the limit.'
        : 'Close other pages.',
    },
    failure,
  );
}

interface Block {
  address: number;
  bytes: number;
}

/**
 * Allocator over a WebAssembly memory that the host owns and the modules import (they have no allocator of their own).
 * Best fit over an address-ordered free list with coalescing; blocks are 64-byte aligned. Addresses are unsigned and may
 * pass 2 GiB.
 */
export class LinearMemory {
  readonly memory: WebAssembly.Memory;
  private free: Block[] = [];
  private readonly used = new Map<number, number>();
  private top: number;
  private inUse = 0;
  private peak = 0;
  private readonly maximum: number;

  /** @param base first free address: the module's static data ends before it */
  constructor({ memory, maximumBytes }: Reservation, base: number) {
    this.memory = memory;
    this.top = Math.ceil(base / alignment) * alignment;
    this.maximum = maximumBytes;
  }

  get bytesInUse(): number {
    return this.inUse;
  }
  get bytesPeak(): number {
    return this.peak;
  }
  get bytesFree(): number {
    return this.free.reduce((sum, block) => sum + block.bytes, 0);
  }
  get blocks(): number {
    return this.used.size;
  }

  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY when the memory cannot grow to hold `bytes` more */
  allocate(bytes: number): number {
    const size = Math.max(alignment, Math.ceil(bytes / alignment) * alignment);
    let best = -1;
    for (let i = 0; i < this.free.length; i++) {
      const block = this.free[i]!;
      if (block.bytes >= size && (best < 0 || block.bytes < this.free[best]!.bytes)) best = i;
    }
    let address: number;
    if (best >= 0) {
      const block = this.free[best]!;
      address = block.address;
      if (block.bytes === size) this.free.splice(best, 1);
      else {
        block.address += size;
        block.bytes -= size;
      }
    } else {
      const last = this.free.at(-1);
      address = last !== undefined && last.address + last.bytes === this.top ? last.address : this.top;
      this.reserve(address + size, bytes);
      if (address !== this.top) this.free.pop();
      this.top = address + size;
    }
    this.used.set(address, size);
    this.inUse += size;
    this.peak = Math.max(this.peak, this.inUse);
    return address;
  }

  release(address: number): void {
    const bytes = this.used.get(address);
    if (bytes === undefined)
      throw new VersemiError('INTERNAL', { field: 'LinearMemory.release', found: `address ${address}` });
    this.used.delete(address);
    this.inUse -= bytes;
    let low = 0;
    let high = this.free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.free[middle]!.address < address) low = middle + 1;
      else high = middle;
    }
    const before = this.free[low - 1];
    const after = this.free[low];
    const joinsBefore = before !== undefined && before.address + before.bytes === address;
    const joinsAfter = after !== undefined && address + bytes === after.address;
    if (joinsBefore && joinsAfter) {
      before.bytes += bytes + after.bytes;
      this.free.splice(low, 1);
    } else if (joinsBefore) before.bytes += bytes;
    else if (joinsAfter) {
      after.address = address;
      after.bytes += bytes;
    } else this.free.splice(low, 0, { address, bytes });
  }

  private reserve(end: number, asked: number): void {
    const have = this.memory.buffer.byteLength;
    if (end <= have) return;
    const failure = () =>
      new VersemiError('DEVICE_OUT_OF_MEMORY', {
        field: 'WebAssembly memory',
        expected: `${mebibytes(asked)} MiB more`,
        found: `${mebibytes(this.inUse)} MiB in use of at most ${mebibytes(this.maximum)} MiB`,
        remedy: `Use a smaller patch or batch size, or the device cpu${this.maximum < fourGibibytes ? ', or raise the limit of address space (ulimit -v)' : ''}.`,
      });
    if (end > this.maximum) throw failure();
    try {
      this.memory.grow(Math.ceil((end - have) / pageBytes));
    } catch {
      throw failure();
    }
  }

  // Views must be taken anew after anything that may grow the memory; `length` counts elements.
  uint8(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }
  int32(address: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, address, length);
  }
  float32(address: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, length);
  }
  float64(address: number, length: number): Float64Array {
    return new Float64Array(this.memory.buffer, address, length);
  }
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
