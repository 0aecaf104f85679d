// The two register blocks that nearly all arithmetic goes through: 4 x 8 accumulators in eight registers, four numbers
// spread over the lanes and two vectors of eight. Both are exported so that the optimiser does not inline them: V8 then
// compiles them on their own, early, and keeps all accumulators in registers. V8 moves loads of one basic block before its
// arithmetic, so that an unrolled body would need more than the 15 registers there are; the early `break` in the middle of
// the body splits it into blocks that fit (../NOTES.md has the figures).

/** sum + a * b with two roundings, which gives the same number on every engine. */
// @ts-ignore: decorator
@inline
function multiplyAdd(sum: v128, a: v128, b: v128): v128 {
  return f32x4.add(sum, f32x4.mul(a, b));
}

/**
 * Four voxels x eight output channels of a convolution:
 *   output[v][c] = start[c] (or output[v][c] where start = 0) + sum over taps and run of input[v][tap + j] * weight[tap][j][c]
 * @param voxels four pairs of u32: byte offset from `input`, byte offset from `output`
 * @param taps pairs of u32: byte offset of a tap's run from a voxel's input, byte offset of its weights
 * @param run bytes of the contiguous run of input under one tap (kernel width * channels * 4), not 0
 */
export function convolutionBlock(
  input: usize,
  output: usize,
  voxels: usize,
  weights: usize,
  taps: usize,
  tapsEnd: usize,
  run: usize,
  start: usize,
): void {
  const o0 = output + <usize>load<u32>(voxels, 4);
  const o1 = output + <usize>load<u32>(voxels, 12);
  const o2 = output + <usize>load<u32>(voxels, 20);
  const o3 = output + <usize>load<u32>(voxels, 28);
  let a0: v128, a1: v128, b0: v128, b1: v128, c0: v128, c1: v128, d0: v128, d1: v128;
  if (start != 0) {
    a0 = v128.load(start);
    a1 = v128.load(start, 16);
    b0 = a0;
    b1 = a1;
    c0 = a0;
    c1 = a1;
    d0 = a0;
    d1 = a1;
  } else {
    a0 = v128.load(o0);
    a1 = v128.load(o0, 16);
    b0 = v128.load(o1);
    b1 = v128.load(o1, 16);
    c0 = v128.load(o2);
    c1 = v128.load(o2, 16);
    d0 = v128.load(o3);
    d1 = v128.load(o3, 16);
  }
  for (let tap = taps; tap < tapsEnd; tap += 8) {
    const base = input + <usize>load<u32>(tap);
    let w = weights + <usize>load<u32>(tap, 4);
    let pa = base + <usize>load<u32>(voxels);
    let pb = base + <usize>load<u32>(voxels, 8);
    let pc = base + <usize>load<u32>(voxels, 16);
    let pd = base + <usize>load<u32>(voxels, 24);
    const end = pa + run;
    const odd = end - 4;
    while (true) {
      const w0 = v128.load(w);
      const w1 = v128.load(w, 16);
      const xa = v128.load32_splat(pa);
      a0 = multiplyAdd(a0, xa, w0);
      a1 = multiplyAdd(a1, xa, w1);
      const xb = v128.load32_splat(pb);
      b0 = multiplyAdd(b0, xb, w0);
      b1 = multiplyAdd(b1, xb, w1);
      const xc = v128.load32_splat(pc);
      c0 = multiplyAdd(c0, xc, w0);
      c1 = multiplyAdd(c1, xc, w1);
      const xd = v128.load32_splat(pd);
      d0 = multiplyAdd(d0, xd, w0);
      d1 = multiplyAdd(d1, xd, w1);
      if (pa == odd) break;
      const v0 = v128.load(w, 32);
      const v1 = v128.load(w, 48);
      const ya = v128.load32_splat(pa, 4);
      a0 = multiplyAdd(a0, ya, v0);
      a1 = multiplyAdd(a1, ya, v1);
      const yb = v128.load32_splat(pb, 4);
      b0 = multiplyAdd(b0, yb, v0);
      b1 = multiplyAdd(b1, yb, v1);
      const yc = v128.load32_splat(pc, 4);
      c0 = multiplyAdd(c0, yc, v0);
      c1 = multiplyAdd(c1, yc, v1);
      const yd = v128.load32_splat(pd, 4);
      d0 = multiplyAdd(d0, yd, v0);
      d1 = multiplyAdd(d1, yd, v1);
      pa += 8;
      pb += 8;
      pc += 8;
      pd += 8;
      w += 64;
      if (pa == end) break;
    }
  }
  v128.store(o0, a0);
  v128.store(o0, a1, 16);
  v128.store(o1, b0);
  v128.store(o1, b1, 16);
  v128.store(o2, c0);
  v128.store(o2, c1, 16);
  v128.store(o3, d0);
  v128.store(o3, d1, 16);
}

/**
 * Sum of outer products over rows x columns of voxels, four numbers x eight:
 *   target[i][c] = (fresh ? 0 : target[i][c]) + sum over voxels of scalar_i[voxel] * vector[voxel][c]
 * @param pa pa, pb, pc, pd: addresses of the four numbers at the first voxel
 * @param step bytes from a voxel's numbers to the next one's, `rowStep` from a row's first to the next row's
 * @param vectors contiguous over rows and columns: `vectorStep` bytes from voxel to voxel
 */
export function outerBlock(
  pa: usize,
  pb: usize,
  pc: usize,
  pd: usize,
  step: usize,
  rowStep: usize,
  rows: i32,
  columns: i32,
  vectors: usize,
  vectorStep: usize,
  target: usize,
  targetStep: usize,
  fresh: bool,
): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  let d0 = a0;
  let d1 = a0;
  const skip = rowStep - <usize>columns * step;
  for (let row = 0; row < rows; row++) {
    const end = vectors + <usize>columns * vectorStep;
    while (true) {
      const w0 = v128.load(vectors);
      const w1 = v128.load(vectors, 16);
      const xa = v128.load32_splat(pa);
      a0 = multiplyAdd(a0, xa, w0);
      a1 = multiplyAdd(a1, xa, w1);
      const xb = v128.load32_splat(pb);
      b0 = multiplyAdd(b0, xb, w0);
      b1 = multiplyAdd(b1, xb, w1);
      const xc = v128.load32_splat(pc);
      c0 = multiplyAdd(c0, xc, w0);
      c1 = multiplyAdd(c1, xc, w1);
      const xd = v128.load32_splat(pd);
      d0 = multiplyAdd(d0, xd, w0);
      d1 = multiplyAdd(d1, xd, w1);
      pa += step;
      pb += step;
      pc += step;
      pd += step;
      vectors += vectorStep;
      if (vectors == end) break;
    }
    pa += skip;
    pb += skip;
    pc += skip;
    pd += skip;
  }
  if (fresh) {
    v128.store(target, a0);
    v128.store(target, a1, 16);
    target += targetStep;
    v128.store(target, b0);
    v128.store(target, b1, 16);
    target += targetStep;
    v128.store(target, c0);
    v128.store(target, c1, 16);
    target += targetStep;
    v128.store(target, d0);
    v128.store(target, d1, 16);
    return;
  }
  v128.store(target, f32x4.add(v128.load(target), a0));
  v128.store(target, f32x4.add(v128.load(target, 16), a1), 16);
  target += targetStep;
  v128.store(target, f32x4.add(v128.load(target), b0));
  v128.store(target, f32x4.add(v128.load(target, 16), b1), 16);
  target += targetStep;
  v128.store(target, f32x4.add(v128.load(target), c0));
  v128.store(target, f32x4.add(v128.load(target, 16), c1), 16);
  target += targetStep;
  v128.store(target, f32x4.add(v128.load(target), d0));
  v128.store(target, f32x4.add(v128.load(target, 16), d1), 16);
}

/** Dot products of four rows with two rows over `length` bytes (a multiple of 16), rows `length` apart: output[4][2]. */
export function dotBlock(left: usize, right: usize, length: usize, output: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = a0;
  let b0 = a0;
  let b1 = a0;
  let c0 = a0;
  let c1 = a0;
  let d0 = a0;
  let d1 = a0;
  let pa = left;
  let pb = pa + length;
  let pc = pb + length;
  let pd = pc + length;
  let second = right + length;
  const end = second;
  while (right < end) {
    const r0 = v128.load(right);
    const r1 = v128.load(second);
    const xa = v128.load(pa);
    a0 = multiplyAdd(a0, xa, r0);
    a1 = multiplyAdd(a1, xa, r1);
    const xb = v128.load(pb);
    b0 = multiplyAdd(b0, xb, r0);
    b1 = multiplyAdd(b1, xb, r1);
    const xc = v128.load(pc);
    c0 = multiplyAdd(c0, xc, r0);
    c1 = multiplyAdd(c1, xc, r1);
    const xd = v128.load(pd);
    d0 = multiplyAdd(d0, xd, r0);
    d1 = multiplyAdd(d1, xd, r1);
    pa += 16;
    pb += 16;
    pc += 16;
    pd += 16;
    right += 16;
    second += 16;
  }
  v128.store(output, fourSums(a0, a1, b0, b1));
  v128.store(output, fourSums(c0, c1, d0, d1), 16);
}

/** Lane sums of four vectors. */
function fourSums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(i32x4.shuffle(a, b, 0, 1, 4, 5), i32x4.shuffle(a, b, 2, 3, 6, 7));
  const cd = f32x4.add(i32x4.shuffle(c, d, 0, 1, 4, 5), i32x4.shuffle(c, d, 2, 3, 6, 7));
  return f32x4.add(i32x4.shuffle(ab, cd, 0, 2, 4, 6), i32x4.shuffle(ab, cd, 1, 3, 5, 7));
}
