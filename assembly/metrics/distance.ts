// Exact Euclidean distances to the nearest source voxel, separable (Felzenszwalb & Huttenlocher 2012; Maurer et al.
// 2003), anisotropic. The volume keeps, per voxel, the offset (dx, dy) to the nearest source of its slice packed in 32
// bits, so that distances are computed from whole numbers, in double, once.


// @ts-ignore: decorator
@inline
function element(base: usize, index: i32): usize {
  return base + (<usize>index << 2);
}

/**
 * Voxels != 0 as linear indices (u32, ascending): all of them, or (surfaceOnly) those with a zero among their six
 * neighbours, outside counting as zero: mask XOR erosion with a 6-connected element. `mask` u8 [sizeZ, sizeY, sizeX]
 * must carry a border of zeros on all sides. Writes when `output` is not 0; returns their number.
 */
export function listVoxels(
  mask: usize,
  sizeX: i32,
  sizeY: i32,
  sizeZ: i32,
  surfaceOnly: i32,
  output: usize,
): i32 {
  const plane = <usize>sizeX * <usize>sizeY;
  const zero = i8x16.splat(0);
  let found = 0;
  for (let z = 1; z < sizeZ - 1; z++) {
    for (let y = 1; y < sizeY - 1; y++) {
      const row = (z * sizeY + y) * sizeX;
      let x = 1;
      for (; x + 16 < sizeX; x += 16) {
        const at = mask + <usize>(row + x);
        const center = v128.load(at);
        if (!v128.any_true(center)) continue;
        let bits = <u32>i8x16.bitmask(i8x16.ne(center, zero));
        if (surfaceOnly != 0) {
          const alongX = i8x16.min_u(v128.load(at - 1), v128.load(at, 1));
          const alongY = i8x16.min_u(v128.load(at - sizeX), v128.load(at + sizeX));
          const alongZ = i8x16.min_u(v128.load(at - plane), v128.load(at + plane));
          const lowest = i8x16.min_u(i8x16.min_u(alongX, alongY), alongZ);
          bits &= <u32>i8x16.bitmask(i8x16.eq(lowest, zero));
        }
        if (output == 0) {
          found += popcnt(bits);
          continue;
        }
        while (bits != 0) {
          store<u32>(element(output, found++), row + x + ctz(bits));
          bits &= bits - 1;
        }
      }
      for (; x < sizeX - 1; x++) {
        const at = mask + <usize>(row + x);
        if (load<u8>(at) == 0) continue;
        if (
          surfaceOnly != 0 &&
          load<u8>(at - 1) != 0 &&
          load<u8>(at, 1) != 0 &&
          load<u8>(at - sizeX) != 0 &&
          load<u8>(at + sizeX) != 0 &&
          load<u8>(at - plane) != 0 &&
          load<u8>(at + plane) != 0
        )
          continue;
        if (output != 0) store<u32>(element(output, found), row + x);
        found++;
      }
    }
  }
  return found;
}

/**
 * One slice: for every voxel of columns [beginX, endX), rows [beginY, endY), the offset to the nearest source of this
 * slice, packed dx | dy << 16, into nearest u32 [endY - beginY, endX - beginX]. `sources` (u32, `count` > 0 of them,
 * ascending) are linear indices of a volume with rows of sizeX; `firstRow` = linear row number of the slice's row 0.
 * Scratch: rowY i32 and dx u16[endX - beginX] per row with sources; stack i32 and f64 per row with sources, + 1.
 */
export function nearestInSlice(
  sources: usize,
  count: i32,
  sizeX: i32,
  firstRow: i32,
  beginX: i32,
  endX: i32,
  beginY: i32,
  endY: i32,
  spacingX: f64,
  spacingY: f64,
  rowY: usize,
  offsets: usize,
  stack: usize,
  bounds: usize,
  nearest: usize,
): void {
  const width = endX - beginX;
  // Along x: distance in voxels to the nearest source of each row that has one.
  let rows = 0;
  let i = 0;
  while (i < count) {
    const row = <i32>load<u32>(element(sources, i)) / sizeX;
    const start = row * sizeX;
    store<i32>(element(rowY, rows), row - firstRow);
    const offset = offsets + ((<usize>rows * <usize>width) << 1);
    let left = -1;
    let right = <i32>load<u32>(element(sources, i)) - start;
    for (let x = beginX; x < endX; x++) {
      while (right >= 0 && right < x) {
        left = right;
        i++;
        right = i < count ? <i32>load<u32>(element(sources, i)) - start : -1;
        if (right >= sizeX) right = -1;
      }
      const before = left >= 0 ? x - left : i32.MAX_VALUE;
      const after = right >= 0 ? right - x : i32.MAX_VALUE;
      store<u16>(offset + (<usize>(x - beginX) << 1), <u16>min(before, after));
    }
    while (i < count && <i32>load<u32>(element(sources, i)) - start < sizeX) i++;
    rows++;
  }
  // Along y: lower envelope of the parabolas (dx * spacingX)^2 + ((y - rowY) * spacingY)^2.
  const ratio = (spacingX * spacingX) / (spacingY * spacingY);
  for (let x = 0; x < width; x++) {
    let top = -1;
    for (let row = 0; row < rows; row++) {
      const y = <f64>load<i32>(element(rowY, row));
      const dx = <f64>load<u16>(offsets + ((<usize>row * <usize>width + <usize>x) << 1));
      const height = dx * dx * ratio + y * y;
      let bound = -Infinity;
      while (top >= 0) {
        const other = load<i32>(element(stack, top));
        const otherY = <f64>load<i32>(element(rowY, other));
        const otherDx = <f64>load<u16>(offsets + ((<usize>other * <usize>width + <usize>x) << 1));
        bound = (height - (otherDx * otherDx * ratio + otherY * otherY)) / (2 * (y - otherY));
        if (bound > load<f64>(bounds + (<usize>top << 3))) break;
        top--;
        bound = -Infinity;
      }
      top++;
      store<i32>(element(stack, top), row);
      store<f64>(bounds + (<usize>top << 3), bound);
    }
    store<f64>(bounds + (<usize>(top + 1) << 3), Infinity);
    let k = 0;
    for (let y = beginY; y < endY; y++) {
      while (load<f64>(bounds + (<usize>(k + 1) << 3)) < <f64>y) k++;
      const row = load<i32>(element(stack, k));
      const dy = <u32>abs(y - load<i32>(element(rowY, row)));
      const dx = <u32>load<u16>(offsets + ((<usize>row * <usize>width + <usize>x) << 1));
      store<u32>(element(nearest, (y - beginY) * width + x), dx | (dy << 16));
    }
  }
}

// @ts-ignore: decorator
@inline
function planeDistance(packed: u32, spacingX: f64, spacingY: f64): f64 {
  const x = <f64>(packed & 0xffff) * spacingX;
  const y = <f64>(packed >> 16) * spacingY;
  return x * x + y * y;
}

/**
 * Distance (mm) of each query voxel to the nearest source: f64 per query. Queries are linear indices of the volume
 * [., sizeY, sizeX]; nearest u32 [endZ - beginZ, endY - beginY, endX - beginX] as nearestInSlice wrote it, over the slices
 * that hold sources (present u8 per slice) and a box in x and y that holds all queries. The search along z goes outwards
 * and ends where the slices alone are further than the best.
 */
export function queryDistances(
  queries: usize,
  count: i32,
  sizeX: i32,
  sizeY: i32,
  nearest: usize,
  present: usize,
  beginX: i32,
  endX: i32,
  beginY: i32,
  endY: i32,
  beginZ: i32,
  endZ: i32,
  spacingX: f64,
  spacingY: f64,
  spacingZ: f64,
  output: usize,
): void {
  const width = endX - beginX;
  const plane = <usize>width * <usize>(endY - beginY);
  for (let i = 0; i < count; i++) {
    const index = <i32>load<u32>(element(queries, i));
    const row = index / sizeX;
    const z = row / sizeY;
    const base = nearest + (<usize>((row - z * sizeY - beginY) * width + index - row * sizeX - beginX) << 2);
    let best = Infinity;
    for (let step = max(0, max(beginZ - z, z - endZ + 1)); ; step++) {
      const dz = <f64>step * spacingZ;
      const squared = dz * dz;
      if (squared >= best) break;
      const below = z - step;
      const above = z + step;
      if (below < beginZ && above >= endZ) break;
      if (below >= beginZ && below < endZ && load<u8>(present + (below - beginZ)) != 0) {
        const packed = load<u32>(base + ((<usize>(below - beginZ) * plane) << 2));
        best = min(best, planeDistance(packed, spacingX, spacingY) + squared);
      }
      if (above < endZ && above >= beginZ && load<u8>(present + (above - beginZ)) != 0) {
        const packed = load<u32>(base + ((<usize>(above - beginZ) * plane) << 2));
        best = min(best, planeDistance(packed, spacingX, spacingY) + squared);
      }
    }
    store<f64>(output + (<usize>i << 3), sqrt(best));
  }
}

/**
 * Squared distances (mm^2) of row y of all slices of a volume: output f64 [countZ, sizeX]. nearest u32 [slices, sizeY,
 * sizeX] and present u8[slices] (at least one nonzero) are what nearestInSlice gave; slice 0 of them is slice -firstZ of
 * the volume. Lower envelope along z. Scratch, slices + 1 elements each: stack i32, bounds f64, heights f64.
 */
export function distanceRow(
  nearest: usize,
  present: usize,
  sizeX: i32,
  sizeY: i32,
  slices: i32,
  y: i32,
  firstZ: i32,
  countZ: i32,
  spacingX: f64,
  spacingY: f64,
  spacingZ: f64,
  stack: usize,
  bounds: usize,
  heights: usize,
  output: usize,
): void {
  const plane = <usize>sizeX * <usize>sizeY;
  for (let x = 0; x < sizeX; x++) {
    let top = -1;
    for (let z = 0; z < slices; z++) {
      if (load<u8>(present + z) == 0) continue;
      const packed = load<u32>(nearest + ((<usize>z * plane + <usize>y * <usize>sizeX + <usize>x) << 2));
      const height = planeDistance(packed, spacingX, spacingY);
      store<f64>(heights + (<usize>z << 3), height);
      const at = <f64>z * spacingZ;
      let bound = -Infinity;
      while (top >= 0) {
        const other = load<i32>(element(stack, top));
        const otherAt = <f64>other * spacingZ;
        bound =
          (height + at * at - load<f64>(heights + (<usize>other << 3)) - otherAt * otherAt) / (2 * (at - otherAt));
        if (bound > load<f64>(bounds + (<usize>top << 3))) break;
        top--;
        bound = -Infinity;
      }
      top++;
      store<i32>(element(stack, top), z);
      store<f64>(bounds + (<usize>top << 3), bound);
    }
    store<f64>(bounds + (<usize>(top + 1) << 3), Infinity);
    let k = 0;
    for (let i = 0; i < countZ; i++) {
      const z = i + firstZ;
      const at = <f64>z * spacingZ;
      while (load<f64>(bounds + (<usize>(k + 1) << 3)) < at) k++;
      const source = load<i32>(element(stack, k));
      const dz = <f64>(z - source) * spacingZ;
      const distance = load<f64>(heights + (<usize>source << 3)) + dz * dz;
      store<f64>(output + ((<usize>i * <usize>sizeX + <usize>x) << 3), distance);
    }
  }
}
