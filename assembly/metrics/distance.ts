// Exact Euclidean distances to the nearest source voxel, separable (Felzenszwalb & Huttenlocher 2012; Maurer et al.
// 2003), for voxels of any spacing. First each voxel gets the offset (dx, dy) to the nearest source of its own slice, packed
// in 32 bits; then a search across the slices compares distances that are computed in double from these whole numbers.

// @ts-ignore: decorator
@inline
function element(base: usize, index: i32): usize {
  return base + (<usize>index << 2);
}

/**
 * Linear indices (u32, ascending) of the surface voxels: those != 0 with a zero among their six neighbours, which is the
 * mask XOR its erosion with a 6-connected element. `mask` u8 [sizeZ, sizeY, sizeX]
 * must carry a border of zeros on all sides. Writes when `output` is not 0; returns their number.
 */
export function listSurface(
  mask: usize,
  sizeX: i32,
  sizeY: i32,
  sizeZ: i32,
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
        const alongX = i8x16.min_u(v128.load(at - 1), v128.load(at, 1));
        const alongY = i8x16.min_u(v128.load(at - sizeX), v128.load(at + sizeX));
        const alongZ = i8x16.min_u(v128.load(at - plane), v128.load(at + plane));
        const lowest = i8x16.min_u(i8x16.min_u(alongX, alongY), alongZ);
        bits &= <u32>i8x16.bitmask(i8x16.eq(lowest, zero));
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
 * Scratch, for as many rows as a slice has: rowY i32[rows], offsets u16[rows, endX - beginX], stack u32[rows + 1], bounds and
 * heights f64[rows + 1]. halves f64[rows + 1]: halves[d] = 1 / (2 d).
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
  heights: usize,
  halves: usize,
  nearest: usize,
): void {
  const rows = nearestInRows(sources, count, sizeX, firstRow, beginX, endX, rowY, offsets);
  const width = endX - beginX;
  // Along y: lower envelope of the parabolas (dx * spacingX)^2 + ((y - rowY) * spacingY)^2, in units of spacingY. An
  // entry of the stack is a parabola dx | rowY << 16, its height dx^2 ratio + rowY^2, and where its part begins.
  const ratio = (spacingX * spacingX) / (spacingY * spacingY);
  for (let x = 0; x < width; x++) {
    let top: usize = 0;
    let topY = load<i32>(rowY);
    let dx = <u32>load<u16>(offsets + (<usize>x << 1));
    let topHeight = <f64>(dx * dx) * ratio + <f64>(topY * topY);
    let topBound = -Infinity;
    store<u32>(stack, dx | (<u32>topY << 16));
    store<f64>(heights, topHeight);
    store<f64>(bounds, topBound);
    let offset = offsets + (<usize>(width + x) << 1);
    for (let row = 1; row < rows; row++) {
      const y = load<i32>(element(rowY, row));
      dx = <u32>load<u16>(offset);
      offset += <usize>width << 1;
      const height = <f64>(dx * dx) * ratio + <f64>(y * y);
      let bound = (height - topHeight) * load<f64>(halves + (<usize>(y - topY) << 3));
      // The first parabola's part begins at -Infinity, so that the stack never becomes empty.
      while (bound <= topBound) {
        top--;
        topY = <i32>(load<u32>(stack + (top << 2)) >> 16);
        topHeight = load<f64>(heights + (top << 3));
        topBound = load<f64>(bounds + (top << 3));
        bound = (height - topHeight) * load<f64>(halves + (<usize>(y - topY) << 3));
      }
      top++;
      topY = y;
      topHeight = height;
      topBound = bound;
      store<u32>(stack + (top << 2), dx | (<u32>y << 16));
      store<f64>(heights + (top << 3), height);
      store<f64>(bounds + (top << 3), bound);
    }
    store<f64>(bounds + (top << 3), Infinity, 8);
    let output = nearest + (<usize>x << 2);
    let entry: usize = 0;
    let y = beginY;
    while (y < endY) {
      const packed = load<u32>(stack + (entry << 2));
      const sourceY = <i32>(packed >> 16);
      const next = load<f64>(bounds + (entry << 3), 8);
      while (y < endY && <f64>y <= next) {
        store<u32>(output, (packed & 0xffff) | (<u32>abs(y - sourceY) << 16));
        output += <usize>width << 2;
        y++;
      }
      entry++;
    }
  }
}

/**
 * Along x: for each row of the slice that has sources, its y (i32, into rowY) and for every column the distance in voxels
 * to the nearest source of the row (u16, into offsets [row, endX - beginX]). Returns the number of such rows.
 */
function nearestInRows(
  sources: usize,
  count: i32,
  sizeX: i32,
  firstRow: i32,
  beginX: i32,
  endX: i32,
  rowY: usize,
  offsets: usize,
): i32 {
  let rows = 0;
  let i = 0;
  while (i < count) {
    const row = <i32>load<u32>(element(sources, i)) / sizeX;
    const start = row * sizeX;
    store<i32>(element(rowY, rows++), row - firstRow);
    // Between two neighbouring sources the distance rises from the left one and falls to the right one.
    let left = -1;
    let x = beginX;
    while (i < count) {
      const right = <i32>load<u32>(element(sources, i)) - start;
      if (right >= sizeX) break;
      const middle = left < 0 ? x : min((left + right + 1) >> 1, endX);
      for (; x < middle; x++) {
        store<u16>(offsets, <u16>(x - left));
        offsets += 2;
      }
      const end = min(right, endX);
      for (; x < end; x++) {
        store<u16>(offsets, <u16>(right - x));
        offsets += 2;
      }
      left = right;
      i++;
    }
    for (; x < endX; x++) {
      store<u16>(offsets, <u16>(x - left));
      offsets += 2;
    }
  }
  return rows;
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
