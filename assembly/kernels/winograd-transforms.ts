// The three linear maps of minimal filtering F(2, 3) along three axes (Winograd 1980; Lavin and Gray, "Fast algorithms for
// convolutional neural networks", CVPR 2016): along one axis, two outputs y of a filter g of three taps over four inputs d
//   y = A [(G g) * (B d)],   B d = (d0 - d2, d1 + d2, d2 - d1, d1 - d3),
//   G g = (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2),   A m = (m0 + m1 + m2, m1 - m2 - m3).
// Applied along depth, height and width: 64 products for eight outputs where the direct sum takes 216.

/** Bytes of working space that the maps of outputs and weights need: 64 vectors. */
export const WORK_BYTES: usize = 1024;

/** One line of a 4 x 4 matrix of inputs through B: what lies in d0 .. d3 goes out as four vectors `step` apart. */
// @ts-ignore: decorator
@inline
function storeLine(target: usize, step: usize, d0: v128, d1: v128, d2: v128, d3: v128): void {
  v128.store(target, f32x4.sub(d0, d2));
  v128.store(target + step, f32x4.add(d1, d2));
  v128.store(target + 2 * step, f32x4.sub(d2, d1));
  v128.store(target + 3 * step, f32x4.sub(d1, d3));
}

/**
 * B along depth and height for one column of 4 x 4 voxels and four channels.
 * @param rows 16 x u32: address of each (depth, height) row; `offset` leads from there to the column's channels
 * @param target value (depth, height) goes to target + (4 * depth + height) * step
 */
export function transformColumn(rows: usize, offset: usize, target: usize, step: usize): void {
  for (let y: usize = 0; y < 16; y += 4) {
    const d0 = v128.load(<usize>load<u32>(rows + y) + offset);
    const d1 = v128.load(<usize>load<u32>(rows + y, 16) + offset);
    const d2 = v128.load(<usize>load<u32>(rows + y, 32) + offset);
    const d3 = v128.load(<usize>load<u32>(rows + y, 48) + offset);
    storeLine(target + (y >> 2) * step, step << 2, d0, d1, d2, d3);
  }
  for (let z: usize = 0; z < 4; z++) {
    const d0 = v128.load(target);
    const d1 = v128.load(target + step);
    const d2 = v128.load(target + 2 * step);
    const d3 = v128.load(target + 3 * step);
    storeLine(target, step, d0, d1, d2, d3);
    target += step << 2;
  }
}

/**
 * B along width for `blocks` neighbouring blocks.
 * @param source columns of one (depth, height), one vector each
 * @param target value x of block b goes to target + x * step + b * blockStep
 */
export function transformRow(source: usize, blocks: i32, target: usize, step: usize, blockStep: usize): void {
  let d0 = v128.load(source);
  let d1 = v128.load(source, 16);
  for (let b = 0; b < blocks; b++) {
    const d2 = v128.load(source, 32);
    const d3 = v128.load(source, 48);
    storeLine(target, step, d0, d1, d2, d3);
    d0 = d2;
    d1 = d3;
    source += 32;
    target += blockStep;
  }
}

// @ts-ignore: decorator
@inline
function outputPair(source: usize, step: usize, target: usize, targetStep: usize): void {
  const m0 = v128.load(source);
  const m1 = v128.load(source + step);
  const m2 = v128.load(source + 2 * step);
  const m3 = v128.load(source + 3 * step);
  v128.store(target, f32x4.add(f32x4.add(m0, m1), m2));
  v128.store(target + targetStep, f32x4.sub(f32x4.sub(m1, m2), m3));
}

/**
 * A along all axes for one block and four channels, plus bias.
 * @param source product t at source + t * step
 * @param addresses 8 x u32: where the output voxels go (depth slowest); those outside the tensor point at waste
 * @param channel byte offset added to every address
 */
export function transformOutput(source: usize, step: usize, addresses: usize, channel: usize, bias: v128, work: usize): void {
  for (let i: usize = 0; i < 16; i++) outputPair(source + i * step, step << 4, work + (i << 4), 256);
  for (let z: usize = work; z < work + 512; z += 256) {
    outputPair(z, 64, z, 64);
    outputPair(z + 16, 64, z + 16, 64);
    outputPair(z + 32, 64, z + 32, 64);
    outputPair(z + 48, 64, z + 48, 64);
  }
  for (let i: usize = 0; i < 4; i++) {
    const from = work + ((i >> 1) << 8) + ((i & 1) << 6);
    const m0 = v128.load(from);
    const m1 = v128.load(from, 16);
    const m2 = v128.load(from, 32);
    const m3 = v128.load(from, 48);
    const to = addresses + (i << 3);
    v128.store(<usize>load<u32>(to) + channel, f32x4.add(f32x4.add(f32x4.add(m0, m1), m2), bias));
    v128.store(<usize>load<u32>(to, 4) + channel, f32x4.add(f32x4.sub(f32x4.sub(m1, m2), m3), bias));
  }
}

// @ts-ignore: decorator
@inline
function weightLine(source: usize, step: usize, target: usize, targetStep: usize): void {
  const half = f32x4.splat(0.5);
  const g0 = v128.load(source);
  const g1 = f32x4.mul(v128.load(source + step), half);
  const g2 = v128.load(source + 2 * step);
  const even = f32x4.mul(f32x4.add(g0, g2), half);
  v128.store(target, g0);
  v128.store(target + targetStep, f32x4.add(even, g1));
  v128.store(target + 2 * targetStep, f32x4.sub(even, g1));
  v128.store(target + 3 * targetStep, g2);
}

/** G along all axes for four output channels: tap k at source + k * tapStep, value t at target + t * step. */
export function transformWeights(source: usize, tapStep: usize, target: usize, step: usize, work: usize): void {
  // width: 9 lines of 3 -> 4, then height: 3 x 4 lines, then depth: 16 lines; [depth][height][width] in `work`
  for (let z: usize = 0; z < 3; z++) {
    const to = work + (z << 8);
    for (let y: usize = 0; y < 3; y++) weightLine(source + (z * 9 + y * 3) * tapStep, tapStep, to + (y << 6), 16);
    for (let x: usize = 0; x < 64; x += 16) weightLine(to + x, 64, to + x, 64);
  }
  for (let i: usize = 0; i < 16; i++) weightLine(work + (i << 4), 256, target + i * step, step << 4);
}

// --- gradient of the weights -----------------------------------------------------------------------------------------
// y = A [(G g) * (B d)] is linear in g: its gradient is G' [(A' dy) * (B d)], with the transposes
//   A' y = (y0, y0 + y1, y0 - y1, -y1),   G' u = (u0 + (u1 + u2) / 2, (u1 - u2) / 2, (u1 + u2) / 2 + u3).

// @ts-ignore: decorator
@inline
function gradientLine(y0: v128, y1: v128, target: usize, step: usize): void {
  v128.store(target, y0);
  v128.store(target + step, f32x4.add(y0, y1));
  v128.store(target + 2 * step, f32x4.sub(y0, y1));
  v128.store(target + 3 * step, f32x4.neg(y1));
}

/**
 * A' along all axes for one block and four channels: value t goes to target + t * step.
 * @param addresses 8 x u32: where the gradients of the block's outputs are; `channel` leads from there to the channels
 */
export function transformGradient(addresses: usize, channel: usize, target: usize, step: usize, work: usize): void {
  for (let i: usize = 0; i < 4; i++) {
    const y0 = v128.load(<usize>load<u32>(addresses + (i << 3)) + channel);
    const y1 = v128.load(<usize>load<u32>(addresses + (i << 3), 4) + channel);
    gradientLine(y0, y1, work + ((i >> 1) << 8) + ((i & 1) << 6), 16);
  }
  for (let z: usize = 0; z < 512; z += 256) {
    for (let x: usize = 0; x < 64; x += 16) {
      const at = work + z + x;
      gradientLine(v128.load(at), v128.load(at, 64), at, 64);
    }
  }
  for (let i: usize = 0; i < 16; i++) {
    const at = work + (i << 4);
    gradientLine(v128.load(at), v128.load(at, 256), target + i * step, step << 4);
  }
}

// @ts-ignore: decorator
@inline
function gatherLine(source: usize, step: usize, target: usize, targetStep: usize): void {
  const half = f32x4.splat(0.5);
  const u1 = v128.load(source + step);
  const u2 = v128.load(source + 2 * step);
  const even = f32x4.mul(f32x4.add(u1, u2), half);
  const last = f32x4.add(even, v128.load(source + 3 * step));
  v128.store(target, f32x4.add(v128.load(source), even));
  v128.store(target + targetStep, f32x4.mul(f32x4.sub(u1, u2), half));
  v128.store(target + 2 * targetStep, last);
}

/** G' along all axes for four output channels: 64 vectors in `work` become 27 taps, tapStep apart. */
export function gatherTaps(work: usize, target: usize, tapStep: usize): void {
  for (let i: usize = 0; i < 16; i++) gatherLine(work + (i << 4), 256, work + (i << 4), 256);
  for (let z: usize = 0; z < 3; z++) {
    const plane = work + (z << 8);
    for (let x: usize = 0; x < 64; x += 16) gatherLine(plane + x, 64, plane + x, 64);
    for (let y: usize = 0; y < 3; y++) gatherLine(plane + (y << 6), 16, target + (z * 9 + y * 3) * tapStep, tapStep);
  }
}
