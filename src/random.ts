/**
 * Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). A number is a pure function of (seed, stream, step, sample, index), so that a run is reproducible
 * whatever the number of workers, and a resumed run draws what the uninterrupted one would have drawn. The WebAssembly
 * and C++ definitions (assembly/random.ts, native/include/versemi/philox.h) give the same numbers.
 */

/** What a stream of random numbers is used for; part of the counter, so never renumber. */
export const streams = {
  initialization: 0,
  cases: 1,
  patches: 2,
  cutmix: 3,
  augmentation: 4,
  phantom: 5,
  split: 6,
  test: 7,
  noise: 8,
  validation: 9,
  bootstrap: 10,
  ownAugmentations: 11,
} as const;

const multiplier0 = 0xd2511f53;
const multiplier1 = 0xcd9e8d57;
const weyl0 = 0x9e3779b9;
const weyl1 = 0xbb67ae85;

/** Upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const middleLow = (middle & 0xffff) + aLow * bHigh;
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(middleLow / 0x10000)) >>> 0;
}

/** One block of Philox 4x32-10: four unsigned 32-bit numbers from a 64-bit key and a 128-bit counter. */
export function philox4x32(
  key: readonly [number, number],
  counter: readonly [number, number, number, number],
): [number, number, number, number] {
  let [k0, k1] = key;
  let [c0, c1, c2, c3] = counter;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(multiplier0, c0);
    const low0 = Math.imul(multiplier0, c0) >>> 0;
    const high1 = multiplyHigh(multiplier1, c2);
    const low1 = Math.imul(multiplier1, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + weyl0) >>> 0;
    k1 = (k1 + weyl1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** A sequence of random numbers for one (seed, stream, step, sample). */
export class RandomStream {
  private readonly key: readonly [number, number];
  private block: [number, number, number, number] = [0, 0, 0, 0];
  private used = 4;
  private blockIndex = 0;

  /**
   * @param seed any safe integer >= 0 (the low 64 bits become the key)
   * @param stream one of {@link streams}
   * @param step training step, or any index below 2^32
   * @param sample sample in the batch, or any index below 2^32
   */
  constructor(
    seed: number,
    private readonly stream: number,
    private readonly step = 0,
    private readonly sample = 0,
  ) {
    this.key = [seed >>> 0, Math.floor(seed / 0x100000000) >>> 0];
  }

  /** Next unsigned 32-bit integer. */
  uint32(): number {
    if (this.used === 4) {
      this.block = philox4x32(this.key, [this.blockIndex++, this.stream, this.step, this.sample]);
      this.used = 0;
    }
    return this.block[this.used++]!;
  }

  /** Uniform in [0, 1), 24 random bits: exactly representable as float32. */
  uniform(): number {
    return (this.uint32() >>> 8) / 0x1000000;
  }

  /** Uniform in [low, high). */
  uniformBetween(low: number, high: number): number {
    return low + (high - low) * this.uniform();
  }

  /** Uniform integer in [0, bound), without bias; 1 <= bound <= 2^32. */
  integer(bound: number): number {
    // No number is below 0 or below none: the search for one would not end.
    if (!(bound >= 1 && bound <= 0x100000000)) throw new RangeError(`no integer in [0, ${bound})`);
    const limit = 0x100000000 - (0x100000000 % bound);
    for (;;) {
      const value = this.uint32();
      if (value < limit) return value % bound;
    }
  }

  /** Standard normal number (Box-Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A new array with the elements in random order (Fisher-Yates). */
  shuffled<T>(items: readonly T[]): T[] {
    const result = items.slice();
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }
}
