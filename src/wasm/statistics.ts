import { VersemiError } from '../errors.js';
import { type HostCore, uint32View } from './host-core.js';

/** Statistics over the finite voxels; the standard deviation is that of the population (divided by count). */
export interface Statistics {
  /** NaN when no voxel counts, as are max, mean and standardDeviation. */
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly standardDeviation: number;
  readonly count: number;
  /** Voxels that are NaN or infinite. */
  readonly nonFinite: number;
}

/** Calls `body` for each chunk of a volume in linear memory: address of float32 voxels and their number. */
export type EachChunk = (body: (voxels: number, count: number) => void) => void;

/** One pass. */
export function statisticsOf({ wasm, memory, run }: HostCore, eachChunk: EachChunk): Statistics {
  return run((scope) => {
    const state = scope.allocate(48);
    memory.float64(state, 6).set([0, 0, 0, Infinity, -Infinity, 0]);
    eachChunk((voxels, count) => wasm.addStatistics(voxels, count, state));
    const [count, mean, squares, min, max, nonFinite] = memory.float64(state, 6) as unknown as number[];
    const spread = { min: min!, max: max!, mean: mean!, standardDeviation: Math.sqrt(squares! / count!) };
    const none = { min: NaN, max: NaN, mean: NaN, standardDeviation: NaN };
    return { ...(count! > 0 ? spread : none), count: count!, nonFinite: nonFinite! };
  });
}

const bins = 65536;
/** A slot is one byte and a histogram 256 KiB: at most so many bins (16 MiB) per pass. */
const binsPerPass = 64;

/**
 * Exact quantiles of the finite voxels, interpolated linearly as numpy.percentile does; NaN when there are none.
 * Two passes: the upper 16 bits of each value, then the lower 16 bits within the bins that hold a wanted rank.
 * @param fractions in [0, 1]
 */
export function percentilesOf(core: HostCore, fractions: readonly number[], eachChunk: EachChunk): number[] {
  const { wasm, memory, run } = core;
  const upper = run((scope) => {
    const histogram = scope.zeros(bins * 4);
    eachChunk((voxels, count) => wasm.countUpper(voxels, count, histogram));
    return uint32View(memory, histogram, bins).slice();
  });
  const total = upper.reduce((sum, count) => sum + count, 0);
  if (total === 0) return fractions.map(() => NaN);
  const positions = fractions.map((fraction) => (total - 1) * Math.min(Math.max(fraction, 0), 1));
  const ranks = [...new Set(positions.flatMap((p) => [Math.floor(p), Math.min(Math.floor(p) + 1, total - 1)]))];
  const places = new Map(ranks.map((rank) => [rank, findBin(upper, rank)]));
  const wanted = [...new Set([...places.values()].map((place) => place.bin))];
  const values = new Map<number, number>();
  for (let first = 0; first < wanted.length; first += binsPerPass) {
    const group = wanted.slice(first, first + binsPerPass);
    run((scope) => {
      const slots = scope.zeros(bins);
      group.forEach((bin, i) => {
        memory.uint8(slots, bins)[bin] = i + 1;
      });
      const histograms = scope.zeros(group.length * bins * 4);
      eachChunk((voxels, count) => wasm.countLower(voxels, count, slots, histograms));
      for (const [rank, { bin, before }] of places) {
        const slot = group.indexOf(bin);
        if (slot < 0) continue;
        const lower = uint32View(memory, histograms + slot * bins * 4, bins);
        values.set(rank, orderedToNumber(bin * bins + findBin(lower, rank - before).bin));
      }
    });
  }
  return positions.map((position) => {
    const low = values.get(Math.floor(position))!;
    const high = values.get(Math.min(Math.floor(position) + 1, total - 1))!;
    return interpolateLikeNumpy(low, high, position - Math.floor(position));
  });
}

/** The histogram bin that holds the element of a rank, and how many elements lie before the bin. */
function findBin(histogram: Uint32Array, rank: number): { bin: number; before: number } {
  let before = 0;
  for (let bin = 0; bin < histogram.length; bin++) {
    if (rank < before + histogram[bin]!) return { bin, before };
    before += histogram[bin]!;
  }
  throw new VersemiError('INTERNAL', { field: 'percentiles', found: `rank ${rank} of ${before}` });
}

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

/** The float32 whose bits, made comparable as unsigned integers, are `key` (assembly/volume/intensity.ts). */
function orderedToNumber(key: number): number {
  word[0] = key >= 0x80000000 ? key - 0x80000000 : ~key;
  return real[0]!;
}

/** a + (b - a) * t, from the nearer end, so that the result is monotonic: numpy's percentile, method linear. */
export function interpolateLikeNumpy(a: number, b: number, t: number): number {
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}
