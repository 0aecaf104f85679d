// Sliding-window accumulation into a ring of slices: sums of weight * sigmoid(logit), and of weight.

const log2e: f32 = 1.44269504088896341;

/** 1 / (1 + exp(-x)), four lanes, relative error below 2e-7 (exp by range reduction and a degree-6 polynomial). */
// @ts-ignore: decorator
@inline
function sigmoid4(x: v128): v128 {
  // Beyond +-87 exp(-x) leaves the normal range; the sigmoid is 0 or 1 to float32 there.
  const t = f32x4.neg(f32x4.min(f32x4.max(x, f32x4.splat(-87)), f32x4.splat(87)));
  const n = f32x4.nearest(f32x4.mul(t, f32x4.splat(log2e)));
  // ln 2 in two parts, so that n * ln 2 loses nothing.
  let r = f32x4.sub(t, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.12194440e-4)));
  let p = f32x4.splat(1.0 / 720.0);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0 / 120.0));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0 / 24.0));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0 / 6.0));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(0.5));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.div(f32x4.splat(1), f32x4.add(f32x4.mul(p, power), f32x4.splat(1)));
}

/** Reverses the four lanes. */
// @ts-ignore: decorator
@inline
function reversed(a: v128): v128 {
  return v128.shuffle<i32>(a, a, 3, 2, 1, 0);
}

/**
 * sums[i] += weight[i] * sigmoid(logit[i]) along a row; with step -1 `logits` addresses the last element of its row and
 * is read backwards (a mirrored window). `weight` is read forwards.
 */
export function addWeightedRow(logits: usize, step: i32, weight: usize, sums: usize, count: i32): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 2;
    const values = step > 0 ? v128.load(logits + at) : reversed(v128.load(logits - at - 12));
    v128.store(
      sums + at,
      f32x4.add(v128.load(sums + at), f32x4.mul(sigmoid4(values), v128.load(weight + at))),
    );
  }
  for (; i < count; i++) {
    const at = <usize>i << 2;
    const value = v128.load32_splat(step > 0 ? logits + at : logits - at);
    const p = f32x4.extract_lane(sigmoid4(value), 0);
    store<f32>(sums + at, load<f32>(sums + at) + p * load<f32>(weight + at));
  }
}

/**
 * Adds planes [beginZ, endZ) of a window to the ring. logits [tasks, windowZ, windowY, windowX], weights [windowZ,
 * windowY, windowX]; voxel (x, y, z) of the window lies at (positionX + x, ...) of the volume, only begin <= . < end are
 * used. `mirror` bits 1, 2, 4: the logits are mirrored along x, y, z. ring [tasks, depth, sizeY, sizeX], ringWeights
 * [depth, sizeY, sizeX]; slice z of the volume lies at z % depth.
 */
export function addWindow(
  logits: usize,
  weights: usize,
  ring: usize,
  ringWeights: usize,
  tasks: i32,
  windowX: i32,
  windowY: i32,
  windowZ: i32,
  sizeX: i32,
  sizeY: i32,
  depth: i32,
  positionX: i32,
  positionY: i32,
  positionZ: i32,
  beginX: i32,
  endX: i32,
  beginY: i32,
  endY: i32,
  beginZ: i32,
  endZ: i32,
  mirror: i32,
): void {
  const count = endX - beginX;
  const plane = <usize>sizeX * <usize>sizeY;
  const step = (mirror & 1) != 0 ? -1 : 1;
  for (let z = beginZ; z < endZ; z++) {
    const slot = <usize>((positionZ + z) % depth);
    const fromZ = (mirror & 4) != 0 ? windowZ - 1 - z : z;
    for (let y = beginY; y < endY; y++) {
      const fromY = (mirror & 2) != 0 ? windowY - 1 - y : y;
      const weightRow = weights + (<usize>((z * windowY + y) * windowX + beginX) << 2);
      const inPlane = <usize>(positionY + y) * <usize>sizeX + <usize>(positionX + beginX);
      const sumRow = ringWeights + ((slot * plane + inPlane) << 2);
      for (let i = 0; i < count; i++) {
        const at = <usize>i << 2;
        store<f32>(sumRow + at, load<f32>(sumRow + at) + load<f32>(weightRow + at));
      }
      for (let task = 0; task < tasks; task++) {
        const fromX = step > 0 ? beginX : windowX - 1 - beginX;
        const row = logits + (<usize>(((task * windowZ + fromZ) * windowY + fromY) * windowX + fromX) << 2);
        const target = ring + (((<usize>task * <usize>depth + slot) * plane + inPlane) << 2);
        addWeightedRow(row, step, weightRow, target, count);
      }
    }
  }
}

/**
 * output u8 = the probability sums / weights in steps of 1/256, rounded so that a value above 127 means a probability above
 * one half, exactly (0 where no window has been).
 */
export function quantize(sums: usize, weights: usize, output: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    const at = <usize>i << 2;
    const weight = load<f32>(weights + at);
    const steps: f32 = weight > 0 ? ceil<f32>((load<f32>(sums + at) / weight) * 256) - 1 : 0;
    store<u8>(output + i, <u8>max<f32>(0, min<f32>(255, steps)));
  }
}
