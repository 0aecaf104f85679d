// Intensity statistics and normalisation, in chunks that the host streams through.

/**
 * Adds `count` float32 to the running statistics
 * state = f64 { count, mean, sum of squared deviations, min, max, not finite }.
 * Each chunk is measured in two passes, then joined (Chan, Golub, LeVeque 1983): exact enough for any offset.
 */
export function addStatistics(data: usize, count: i32, state: usize): void {
  let sum = f64x2.splat(0);
  let low = f32x4.splat(f32.MAX_VALUE);
  let high = f32x4.splat(-f32.MAX_VALUE);
  let counts = i32x4.splat(0);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const values = v128.load(data + (<usize>i << 2));
    // x - x is 0 for finite x and NaN otherwise.
    const use = f32x4.eq(f32x4.sub(values, values), f32x4.splat(0));
    const used = v128.and(values, use);
    counts = i32x4.sub(counts, use);
    low = f32x4.min(low, v128.bitselect(values, f32x4.splat(f32.MAX_VALUE), use));
    high = f32x4.max(high, v128.bitselect(values, f32x4.splat(-f32.MAX_VALUE), use));
    sum = f64x2.add(sum, f64x2.promote_low_f32x4(used));
    sum = f64x2.add(sum, f64x2.promote_low_f32x4(v128.shuffle<i32>(used, used, 2, 3, 2, 3)));
  }
  let total = f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
  let minimum = min(
    min(f32x4.extract_lane(low, 0), f32x4.extract_lane(low, 1)),
    min(f32x4.extract_lane(low, 2), f32x4.extract_lane(low, 3)),
  );
  let maximum = max(
    max(f32x4.extract_lane(high, 0), f32x4.extract_lane(high, 1)),
    max(f32x4.extract_lane(high, 2), f32x4.extract_lane(high, 3)),
  );
  let n =
    i32x4.extract_lane(counts, 0) +
    i32x4.extract_lane(counts, 1) +
    i32x4.extract_lane(counts, 2) +
    i32x4.extract_lane(counts, 3);
  const tail = i;
  for (; i < count; i++) {
    const value = load<f32>(data + (<usize>i << 2));
    if (value - value != 0) continue;
    n++;
    total += <f64>value;
    minimum = min(minimum, value);
    maximum = max(maximum, value);
  }
  store<f64>(state, load<f64>(state, 40) + <f64>(count - n), 40);
  if (n == 0) return;

  const mean = total / <f64>n;
  const center = f64x2.splat(mean);
  let squares = f64x2.splat(0);
  for (i = 0; i < tail; i += 4) {
    const values = v128.load(data + (<usize>i << 2));
    const use = f32x4.eq(f32x4.sub(values, values), f32x4.splat(0));
    const low2 = f64x2.sub(f64x2.promote_low_f32x4(values), center);
    const high2 = f64x2.sub(f64x2.promote_low_f32x4(v128.shuffle<i32>(values, values, 2, 3, 2, 3)), center);
    squares = f64x2.add(squares, v128.and(f64x2.mul(low2, low2), v128.shuffle<i32>(use, use, 0, 0, 1, 1)));
    squares = f64x2.add(squares, v128.and(f64x2.mul(high2, high2), v128.shuffle<i32>(use, use, 2, 2, 3, 3)));
  }
  let squared = f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1);
  for (; i < count; i++) {
    const value = load<f32>(data + (<usize>i << 2));
    if (value - value != 0) continue;
    squared += (<f64>value - mean) * (<f64>value - mean);
  }

  const before = load<f64>(state);
  const after = before + <f64>n;
  const difference = mean - load<f64>(state, 8);
  store<f64>(state, after);
  store<f64>(state, load<f64>(state, 8) + (difference * <f64>n) / after, 8);
  store<f64>(state, load<f64>(state, 16) + squared + (difference * difference * before * <f64>n) / after, 16);
  store<f64>(state, min(load<f64>(state, 24), <f64>minimum), 24);
  store<f64>(state, max(load<f64>(state, 32), <f64>maximum), 32);
}

/** Bits of a float32 in an order in which unsigned comparison is float comparison (-0 just below +0). */
// @ts-ignore: decorator
@inline
function ordered(bits: u32): u32 {
  return bits ^ (<u32>(<i32>bits >> 31) | 0x80000000);
}

/** First pass of exact order statistics: histogram u32[65536] of the upper 16 ordered bits of the finite values. */
export function countUpper(data: usize, count: i32, histogram: usize): void {
  for (let i = 0; i < count; i++) {
    const bits = load<u32>(data + (<usize>i << 2));
    if ((bits & 0x7f800000) == 0x7f800000) continue;
    const at = histogram + (<usize>(ordered(bits) >> 16) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/** Second pass: where slot[upper] = s > 0, histogram s - 1 (u32[65536] each) counts the lower 16 bits. slot: u8[65536] */
export function countLower(data: usize, count: i32, slots: usize, histograms: usize): void {
  for (let i = 0; i < count; i++) {
    const bits = load<u32>(data + (<usize>i << 2));
    if ((bits & 0x7f800000) == 0x7f800000) continue;
    const key = ordered(bits);
    const slot = load<u8>(slots + (key >> 16));
    if (slot == 0) continue;
    const at = histograms + ((<usize>(slot - 1) << 16) << 2) + (<usize>(key & 0xffff) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/** output = (clip(input, low, high) - mean) * scale; may be in place. NaN becomes low's value. */
export function normalize(input: usize, output: usize, count: i32, low: f32, high: f32, mean: f32, scale: f32): void {
  const lows = f32x4.splat(low);
  const highs = f32x4.splat(high);
  const means = f32x4.splat(mean);
  const scales = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    // pmax(a, b) = a < b ? b : a; a NaN in the second place loses.
    const clipped = f32x4.pmin(highs, f32x4.pmax(lows, v128.load(input + (<usize>i << 2))));
    v128.store(output + (<usize>i << 2), f32x4.mul(f32x4.sub(clipped, means), scales));
  }
  for (; i < count; i++) {
    const value = load<f32>(input + (<usize>i << 2));
    const above = value > low ? value : low;
    store<f32>(output + (<usize>i << 2), ((above < high ? above : high) - mean) * scale);
  }
}

/** output u8 = 1 where low <= input <= high, else 0. */
export function threshold(input: usize, output: usize, count: i32, low: f32, high: f32): void {
  const lows = f32x4.splat(low);
  const highs = f32x4.splat(high);
  const one = i8x16.splat(1);
  let i = 0;
  for (; i + 16 <= count; i += 16) {
    const at = input + (<usize>i << 2);
    const a = within(v128.load(at), lows, highs);
    const b = within(v128.load(at, 16), lows, highs);
    const c = within(v128.load(at, 32), lows, highs);
    const d = within(v128.load(at, 48), lows, highs);
    const bytes = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
    v128.store(output + i, v128.and(bytes, one));
  }
  for (; i < count; i++) {
    const value = load<f32>(input + (<usize>i << 2));
    store<u8>(output + i, <u8>(value >= low && value <= high));
  }
}

// @ts-ignore: decorator
@inline
function within(values: v128, low: v128, high: v128): v128 {
  return v128.and(f32x4.ge(values, low), f32x4.le(values, high));
}

// @ts-ignore: decorator
@inline
function convert<T>(input: usize, output: usize, count: i32, slope: f64, intercept: f64): void {
  for (let i = 0; i < count; i++) {
    store<f32>(output, <f32>(<f64>load<T>(input) * slope + intercept));
    input += sizeof<T>();
    output += 4;
  }
}

/** output f32 = input * slope + intercept in double; kind: 0 u8, 1 i8, 2 u16, 3 i16, 4 u32, 5 i32, 6 f32, 7 f64. */
export function toFloat32(kind: i32, input: usize, output: usize, count: i32, slope: f64, intercept: f64): void {
  if (kind == 0) convert<u8>(input, output, count, slope, intercept);
  else if (kind == 1) convert<i8>(input, output, count, slope, intercept);
  else if (kind == 2) convert<u16>(input, output, count, slope, intercept);
  else if (kind == 3) convert<i16>(input, output, count, slope, intercept);
  else if (kind == 4) convert<u32>(input, output, count, slope, intercept);
  else if (kind == 5) convert<i32>(input, output, count, slope, intercept);
  else if (kind == 6) convert<f32>(input, output, count, slope, intercept);
  else convert<f64>(input, output, count, slope, intercept);
}
