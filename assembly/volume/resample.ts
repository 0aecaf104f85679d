// Resampling on an axis-aligned grid: source index = output index * scale + offset along each axis, clamped to the volume.
// Slice by slice: the host keeps the two source slices that an output slice needs.

/** For each output index the lower source index (i32) and the weight (f32) of the source index after it. */
export function linearTable(indices: usize, weights: usize, count: i32, size: i32, scale: f64, offset: f64): void {
  const last = <f64>(size - 1);
  for (let i = 0; i < count; i++) {
    const position = min(max(<f64>i * scale + offset, 0.0), last);
    const lower = <i32>position;
    store<i32>(indices + (<usize>i << 2), lower);
    store<f32>(weights + (<usize>i << 2), <f32>(position - <f64>lower));
  }
}

/** output[i] = a[i] + (b[i] - a[i]) * weight, float32. */
export function interpolate(a: usize, b: usize, weight: f32, output: usize, count: i32): void {
  const w = f32x4.splat(weight);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 2;
    const low = v128.load(a + at);
    v128.store(output + at, f32x4.add(low, f32x4.mul(f32x4.sub(v128.load(b + at), low), w)));
  }
  for (; i < count; i++) {
    const at = <usize>i << 2;
    const low = load<f32>(a + at);
    store<f32>(output + at, low + (load<f32>(b + at) - low) * weight);
  }
}

/** One slice [sizeY, sizeX] -> [countY, countX], bilinear. `row` holds sizeX + 1 float32. */
export function resampleSlice(
  source: usize,
  sizeX: i32,
  sizeY: i32,
  output: usize,
  countX: i32,
  countY: i32,
  indicesX: usize,
  weightsX: usize,
  indicesY: usize,
  weightsY: usize,
  row: usize,
): void {
  const rowBytes = <usize>sizeX << 2;
  let filled: usize = 0; // source row that `row` holds unmixed
  for (let y = 0; y < countY; y++) {
    const lower = load<i32>(indicesY + (<usize>y << 2));
    const weight = load<f32>(weightsY + (<usize>y << 2));
    const first = source + <usize>lower * rowBytes;
    if (weight > 0) {
      interpolate(first, first + rowBytes, weight, row, sizeX);
      filled = 0;
    } else if (filled != first) {
      memory.copy(row, first, rowBytes);
      filled = first;
    }
    // One more element, so that the last one may be mixed (with weight 0) with its neighbour.
    store<f32>(row + rowBytes, load<f32>(row + rowBytes - 4));
    for (let x = 0; x < countX; x++) {
      const at = row + (<usize>load<i32>(indicesX + (<usize>x << 2)) << 2);
      const low = load<f32>(at);
      store<f32>(output, low + (load<f32>(at, 4) - low) * load<f32>(weightsX + (<usize>x << 2)));
      output += 4;
    }
  }
}

// @ts-ignore: decorator
@inline
function vote(votes: usize, label: u32, weight: f32): void {
  const at = votes + (<usize>label << 2);
  store<f32>(at, load<f32>(at) + weight);
}

/**
 * same[x] = 255 only where the eight source voxels around x (columns x and x + 1 of four rows) have one label. (The last
 * column has no neighbour: what is compared with it may hide that it is uniform, never feign it.) The rows may be read, and
 * `same` written, up to 16 bytes beyond sizeX. Returns whether the whole of the rows has one label.
 */
function findUniform(a: usize, b: usize, c: usize, d: usize, sizeX: i32, same: usize): bool {
  const label = i8x16.splat(load<i8>(a));
  let one = i8x16.splat(-1);
  for (let x = 0; x < sizeX; x += 16) {
    const values = v128.load(a + x);
    const rows = v128.and(
      v128.and(i8x16.eq(values, v128.load(b + x)), i8x16.eq(values, v128.load(c + x))),
      i8x16.eq(values, v128.load(d + x)),
    );
    const after = v128.load(a + x, 1);
    const rowsAfter = v128.and(
      v128.and(i8x16.eq(after, v128.load(b + x, 1)), i8x16.eq(after, v128.load(c + x, 1))),
      i8x16.eq(after, v128.load(d + x, 1)),
    );
    v128.store(same + x, v128.and(v128.and(rows, rowsAfter), i8x16.eq(values, after)));
    const alike = v128.and(rows, i8x16.eq(values, label));
    if (x + 16 <= sizeX) one = v128.and(one, alike);
    else {
      const wanted = (1 << (sizeX - x)) - 1;
      if ((i8x16.bitmask(alike) & wanted) != wanted) one = i8x16.splat(0);
    }
  }
  return i8x16.all_true(one);
}

/**
 * One output slice of a label map: each label's trilinear weight, the largest wins, the smaller label where equal: the
 * argmax of the resampled one-hot map without making it. `low`, `high`: the two source slices, readable 32 bytes beyond
 * their end; `votes`: 256 zeroed float32; `same`: sizeX + 16 bytes.
 */
export function resampleLabelSlice(
  low: usize,
  high: usize,
  weightZ: f32,
  sizeX: i32,
  sizeY: i32,
  output: usize,
  countX: i32,
  countY: i32,
  indicesX: usize,
  weightsX: usize,
  indicesY: usize,
  weightsY: usize,
  votes: usize,
  same: usize,
): void {
  for (let y = 0; y < countY; y++) {
    const lowerY = load<i32>(indicesY + (<usize>y << 2));
    const offset0 = <usize>lowerY * <usize>sizeX;
    const offset1 = <usize>min(lowerY + 1, sizeY - 1) * <usize>sizeX;
    const weightY = load<f32>(weightsY + (<usize>y << 2));
    if (findUniform(low + offset0, low + offset1, high + offset0, high + offset1, sizeX, same)) {
      memory.fill(output, load<u8>(low + offset0), countX);
      output += countX;
      continue;
    }
    const low0 = (<f32>1 - weightZ) * (<f32>1 - weightY);
    const low1 = (<f32>1 - weightZ) * weightY;
    const high0 = weightZ * (<f32>1 - weightY);
    const high1 = weightZ * weightY;
    for (let x = 0; x < countX; x++) {
      const x0 = load<i32>(indicesX + (<usize>x << 2));
      const a0 = <u32>load<u8>(low + offset0 + x0);
      if (load<u8>(same + x0) != 0) {
        store<u8>(output++, <u8>a0);
        continue;
      }
      const x1 = <usize>min(x0 + 1, sizeX - 1);
      const a1 = <u32>load<u8>(low + offset0 + x1);
      const b0 = <u32>load<u8>(low + offset1 + x0);
      const b1 = <u32>load<u8>(low + offset1 + x1);
      const c0 = <u32>load<u8>(high + offset0 + x0);
      const c1 = <u32>load<u8>(high + offset0 + x1);
      const d0 = <u32>load<u8>(high + offset1 + x0);
      const d1 = <u32>load<u8>(high + offset1 + x1);
      const weightX = load<f32>(weightsX + (<usize>x << 2));
      const rest = <f32>1 - weightX;
      vote(votes, a0, low0 * rest);
      vote(votes, a1, low0 * weightX);
      vote(votes, b0, low1 * rest);
      vote(votes, b1, low1 * weightX);
      vote(votes, c0, high0 * rest);
      vote(votes, c1, high0 * weightX);
      vote(votes, d0, high1 * rest);
      vote(votes, d1, high1 * weightX);
      let best = better(votes, a0, a1);
      best = better(votes, best, b0);
      best = better(votes, best, b1);
      best = better(votes, best, c0);
      best = better(votes, best, c1);
      best = better(votes, best, d0);
      best = better(votes, best, d1);
      store<u8>(output++, <u8>best);
      store<f32>(votes + (<usize>a0 << 2), 0);
      store<f32>(votes + (<usize>a1 << 2), 0);
      store<f32>(votes + (<usize>b0 << 2), 0);
      store<f32>(votes + (<usize>b1 << 2), 0);
      store<f32>(votes + (<usize>c0 << 2), 0);
      store<f32>(votes + (<usize>c1 << 2), 0);
      store<f32>(votes + (<usize>d0 << 2), 0);
      store<f32>(votes + (<usize>d1 << 2), 0);
    }
  }
}

// @ts-ignore: decorator
@inline
function better(votes: usize, best: u32, label: u32): u32 {
  const champion = load<f32>(votes + (<usize>best << 2));
  const challenger = load<f32>(votes + (<usize>label << 2));
  return challenger > champion || (challenger == champion && label < best) ? label : best;
}

/**
 * One output slice of label pairs (see src/wasm/host-resample.ts): each label's share of the source voxels under an output
 * voxel, with weights per axis; the largest share and the next. Output voxel (x, y) takes tapsX columns from firstX[x] on with
 * weights weightsX[x * tapsX ...], likewise along y; `slices`: addresses of tapsZ source slices, `weightsZ` their weights.
 * Voxels of the label `ignored` (-1: none) are left out, as if they were not there. The slices are readable 8 bytes beyond their
 * end; `votes`: 256 zeroed float32; `found`: 256 bytes.
 */
export function pairSlice(
  slices: usize, weightsZ: usize, tapsZ: i32, sizeX: i32, output: usize, countX: i32, countY: i32, firstX: usize,
  weightsX: usize, tapsX: i32, firstY: usize, weightsY: usize, tapsY: i32, ignored: i32, votes: usize, found: usize,
): void {
  for (let y = 0; y < countY; y++) {
    const rows = <usize>load<i32>(firstY + (<usize>y << 2)) * <usize>sizeX;
    const rowWeights = weightsY + (<usize>(y * tapsY) << 2);
    for (let x = 0; x < countX; x++) {
      const column = rows + <usize>load<i32>(firstX + (<usize>x << 2));
      const one = <i32>load<u8>(load<usize>(slices) + column);
      if (oneLabel(slices, tapsZ, column, tapsY, tapsX, sizeX, one)) {
        store<f32>(output, one == ignored ? 0 : <f32>one);
        output += 4;
        continue;
      }
      const weights = weightsX + (<usize>(x * tapsX) << 2);
      let count = 0;
      // Neighbours mostly have one label: its weights are summed up before the label is looked for among the others.
      let label = one;
      let sum: f32 = 0;
      for (let tapZ = 0; tapZ < tapsZ; tapZ++) {
        const weightZ = load<f32>(weightsZ + (<usize>tapZ << 2));
        if (weightZ == 0) continue;
        let row = load<usize>(slices + (<usize>tapZ * sizeof<usize>())) + column;
        for (let tapY = 0; tapY < tapsY; tapY++, row += sizeX) {
          const weightZY = weightZ * load<f32>(rowWeights + (<usize>tapY << 2));
          if (weightZY == 0) continue;
          for (let tapX = 0; tapX < tapsX; tapX++) {
            const next = <i32>load<u8>(row + tapX);
            if (next != label) {
              count = addShare(votes, found, count, label, ignored, sum);
              label = next;
              sum = 0;
            }
            sum += weightZY * load<f32>(weights + (<usize>tapX << 2));
          }
        }
      }
      count = addShare(votes, found, count, label, ignored, sum);
      store<f32>(output, <f32>pairOf(votes, found, count));
      output += 4;
    }
  }
}

/** Whether all source voxels under an output voxel have one label; up to eight of a row are compared at once. */
// @ts-ignore: decorator
@inline
function oneLabel(slices: usize, tapsZ: i32, column: usize, tapsY: i32, tapsX: i32, sizeX: i32, label: i32): bool {
  if (tapsX > 8) return false;
  const mask: u64 = ~(<u64>0) >> (64 - (tapsX << 3));
  const wanted = (<u64>label * 0x0101010101010101) & mask;
  for (let tapZ = 0; tapZ < tapsZ; tapZ++) {
    let row = load<usize>(slices + (<usize>tapZ * sizeof<usize>())) + column;
    for (let tapY = 0; tapY < tapsY; tapY++, row += sizeX) if ((load<u64>(row) & mask) != wanted) return false;
  }
  return true;
}

/** @returns the number of labels found, `count` or one more */
// @ts-ignore: decorator
@inline
function addShare(votes: usize, found: usize, count: i32, label: i32, ignored: i32, share: f32): i32 {
  if (share == 0 || label == ignored) return count;
  const at = votes + (<usize>label << 2);
  const before = load<f32>(at);
  store<f32>(at, before + share);
  if (before > 0) return count;
  store<u8>(found + count, <u8>label);
  return count + 1;
}

/** The pair of the labels found; 0 where there are none. Leaves the votes at zero. */
// @ts-ignore: decorator
@inline
function pairOf(votes: usize, found: usize, count: i32): i32 {
  if (count == 0) return 0;
  let first = <i32>load<u8>(found);
  let most = load<f32>(votes + (<usize>first << 2));
  store<f32>(votes + (<usize>first << 2), 0);
  let second = 0;
  let next: f32 = 0;
  for (let i = 1; i < count; i++) {
    const label = <i32>load<u8>(found + i);
    const share = load<f32>(votes + (<usize>label << 2));
    store<f32>(votes + (<usize>label << 2), 0);
    if (share > most || (share == most && label < first)) {
      second = first;
      next = most;
      first = label;
      most = share;
    } else if (share > next || (share == next && label < second)) {
      second = label;
      next = share;
    }
  }
  const share = <i32>floor(<f32>510 * (next / (most + next)) + <f32>0.5);
  return share == 0 ? first : first | (second << 8) | (share << 16);
}
