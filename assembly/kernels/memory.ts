// Copying and filling runs of floats. Explicit loops: V8's memory.copy takes a slow path on shared memory and a call on any.

/** Copies `count` floats; the areas do not overlap. */
export function copyFloats(target: usize, source: usize, count: usize): void {
  let left = count;
  while (left >= 16) {
    const a = v128.load(source);
    const b = v128.load(source, 16);
    const c = v128.load(source, 32);
    const d = v128.load(source, 48);
    v128.store(target, a);
    v128.store(target, b, 16);
    v128.store(target, c, 32);
    v128.store(target, d, 48);
    source += 64;
    target += 64;
    left -= 16;
  }
  while (left >= 4) {
    v128.store(target, v128.load(source));
    source += 16;
    target += 16;
    left -= 4;
  }
  while (left > 0) {
    store<u32>(target, load<u32>(source));
    source += 4;
    target += 4;
    left--;
  }
}

/** Sets `count` floats to `value`. */
export function fillFloats(target: usize, count: usize, value: f32): void {
  const splat = f32x4.splat(value);
  let left = count;
  while (left >= 4) {
    v128.store(target, splat);
    target += 16;
    left -= 4;
  }
  while (left > 0) {
    store<f32>(target, value);
    target += 4;
    left--;
  }
}

/** The first `count` (1 to 3) floats at an address, zeros above: reads nothing beyond them. */
export function loadPartial(source: usize, count: usize): v128 {
  let value = v128.load32_zero(source);
  if (count > 1) value = f32x4.replace_lane(value, 1, load<f32>(source, 4));
  if (count > 2) value = f32x4.replace_lane(value, 2, load<f32>(source, 8));
  return value;
}

/** Stores the first `count` (1 to 3) lanes and nothing beyond them. */
export function storePartial(target: usize, value: v128, count: usize): void {
  store<f32>(target, f32x4.extract_lane(value, 0));
  if (count > 1) store<f32>(target, f32x4.extract_lane(value, 1), 4);
  if (count > 2) store<f32>(target, f32x4.extract_lane(value, 2), 8);
}

/** The first floats at an address, at most four of `count`, zeros above. */
// @ts-ignore: decorator
@inline
export function loadFirst(source: usize, count: usize): v128 {
  return count >= 4 ? v128.load(source) : loadPartial(source, count);
}

/** Stores the first lanes, at most four of `count`. */
// @ts-ignore: decorator
@inline
export function storeFirst(target: usize, value: v128, count: usize): void {
  if (count >= 4) v128.store(target, value);
  else storePartial(target, value, count);
}

/** Sum of the four lanes, pairwise. */
// @ts-ignore: decorator
@inline
export function sumLanes(value: v128): f64 {
  return (
    <f64>f32x4.extract_lane(value, 0) +
    <f64>f32x4.extract_lane(value, 1) +
    (<f64>f32x4.extract_lane(value, 2) + <f64>f32x4.extract_lane(value, 3))
  );
}

/** Lanes 2 and 3 as lanes 0 and 1 (for f64x2.promote_low). */
// @ts-ignore: decorator
@inline
export function upperHalf(value: v128): v128 {
  return i32x4.shuffle(value, value, 2, 3, 2, 3);
}

// @ts-ignore: decorator
@inline
export function sumDoubles(value: v128): f64 {
  return f64x2.extract_lane(value, 0) + f64x2.extract_lane(value, 1);
}
