// Patches, all [sizeZ, sizeY, sizeX] float32: targets, intensity, noise.

import { fourBlocks, normalPair } from '../random';

/**
 * output f32 = 1 where lookup[label] != 0, else 0. `lookup` is u8[256]; when only its first 16 entries are set
 * (`small` != 0), 16 voxels go at once.
 */
export function binaryTarget(labels: usize, output: usize, count: i32, lookup: usize, small: i32): void {
  let i = 0;
  if (small != 0) {
    const table = v128.and(i8x16.ne(v128.load(lookup), i8x16.splat(0)), i8x16.splat(1));
    for (; i + 16 <= count; i += 16) {
      const hits = i8x16.swizzle(table, v128.load(labels + i));
      const low = i16x8.extend_low_i8x16_u(hits);
      const high = i16x8.extend_high_i8x16_u(hits);
      const at = output + (<usize>i << 2);
      v128.store(at, f32x4.convert_i32x4_u(i32x4.extend_low_i16x8_u(low)));
      v128.store(at, f32x4.convert_i32x4_u(i32x4.extend_high_i16x8_u(low)), 16);
      v128.store(at, f32x4.convert_i32x4_u(i32x4.extend_low_i16x8_u(high)), 32);
      v128.store(at, f32x4.convert_i32x4_u(i32x4.extend_high_i16x8_u(high)), 48);
    }
  }
  for (; i < count; i++) {
    store<f32>(output + (<usize>i << 2), <f32>(load<u8>(lookup + load<u8>(labels + i)) != 0));
  }
}

/**
 * output f32 = share of the labels with lookup[label] != 0 in each label pair (see src/wasm/host-resample.ts); `lookup` is
 * u8[256]. `output` may be `pairs`.
 */
export function pairTarget(pairs: usize, output: usize, count: i32, lookup: usize): void {
  for (let i = 0; i < count; i++) {
    const pair = <i32>load<f32>(pairs + (<usize>i << 2));
    const first = <f32>(load<u8>(lookup + (pair & 255)) != 0);
    const share = pair >> 16;
    // The values are 0 and 1: all but the division is exact, and a device that fuses the sum gives the same bits.
    const value =
      share == 0 ? first : first + (<f32>(load<u8>(lookup + ((pair >> 8) & 255)) != 0) - first) * (<f32>share / <f32>510);
    store<f32>(output + (<usize>i << 2), value);
  }
}

/** output u8 = byte `shift` / 8 of each label pair: 0 for the first label, 8 for the second. */
export function pairLabels(pairs: usize, output: usize, count: i32, shift: i32): void {
  for (let i = 0; i < count; i++) store<u8>(output + i, <u8>(<i32>load<f32>(pairs + (<usize>i << 2)) >> shift));
}

/** data = data * scale + shift, in place. */
export function scaleShift(data: usize, count: i32, scale: f32, shift: f32): void {
  const scales = f32x4.splat(scale);
  const shifts = f32x4.splat(shift);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = data + (<usize>i << 2);
    v128.store(at, f32x4.add(f32x4.mul(v128.load(at), scales), shifts));
  }
  for (; i < count; i++) {
    const at = data + (<usize>i << 2);
    store<f32>(at, load<f32>(at) * scale + shift);
  }
}

/**
 * Gamma correction, in place: with [low, high] the range of the data, each value becomes
 * low + (high - low) * ((value - low) / (high - low)) ^ gamma, and then all are brought back linearly to the mean and the
 * standard deviation that they had. Nothing happens to constant data.
 */
export function adjustGamma(data: usize, count: i32, gamma: f32): void {
  let low = load<f32>(data);
  let high = low;
  for (let i = 1; i < count; i++) {
    const value = load<f32>(data + (<usize>i << 2));
    low = min(low, value);
    high = max(high, value);
  }
  if (!(high > low)) return;
  const range = high - low;
  let sum: f64 = 0;
  let squares: f64 = 0;
  let newSum: f64 = 0;
  let newSquares: f64 = 0;
  for (let i = 0; i < count; i++) {
    const at = data + (<usize>i << 2);
    const share = (load<f32>(at) - low) / range;
    const changed = NativeMathf.pow(share, gamma);
    sum += <f64>share;
    squares += <f64>share * <f64>share;
    newSum += <f64>changed;
    newSquares += <f64>changed * <f64>changed;
    store<f32>(at, changed);
  }
  const n = <f64>count;
  const mean = sum / n;
  const newMean = newSum / n;
  const factor = sqrt((squares / n - mean * mean) / (newSquares / n - newMean * newMean)) * <f64>range;
  scaleShift(data, count, <f32>factor, <f32>(<f64>low + mean * <f64>range - newMean * factor));
}

/**
 * data[i] += deviation * n[i], in place; n[0], n[1], ... are what RandomStream.normal gives from block `firstBlock` of
 * the stream on (two numbers per block). scratch: 64 bytes.
 */
export function addNoise(
  data: usize,
  count: i32,
  deviation: f64,
  key0: u32,
  key1: u32,
  firstBlock: u32,
  stream: u32,
  step: u32,
  sample: u32,
  scratch: usize,
): void {
  const deviations = f64x2.splat(deviation);
  for (let i = 0; i < count; i += 8) {
    fourBlocks(scratch, key0, key1, firstBlock + <u32>(i >> 1), stream, step, sample);
    for (let pair = 0; pair < 8; pair += 2) {
      const at = data + (<usize>(i + pair) << 2);
      const left = count - i - pair;
      if (left <= 0) break;
      const noise = f64x2.mul(deviations, normalPair(v128.load(scratch + (<usize>pair << 3))));
      const values = left == 1 ? v128.load32_zero(at) : v128.load64_zero(at);
      const sum = f32x4.demote_f64x2_zero(f64x2.add(f64x2.promote_low_f32x4(values), noise));
      if (left == 1) v128.store32_lane(at, sum, 0);
      else v128.store64_lane(at, sum, 0);
    }
  }
}
