// Axis permutation and reversal as one strided copy.

/** Edge of the square tiles of a transposing copy: source and output tile stay in the first-level cache. */
const tile: i32 = 32;

// @ts-ignore: decorator
@inline
function copyRow<T>(source: usize, stride: isize, output: usize, count: i32): void {
  const step = stride * <isize>sizeof<T>();
  for (let i = 0; i < count; i++) {
    store<T>(output, load<T>(source));
    source += step;
    output += sizeof<T>();
  }
}

// @ts-ignore: decorator
@inline
function copyAll<T>(
  source: usize,
  output: usize,
  sizeX: i32,
  sizeY: i32,
  sizeZ: i32,
  strideX: isize,
  strideY: isize,
  strideZ: isize,
): void {
  const bytes = <isize>sizeof<T>();
  const rowBytes = <isize>sizeX * bytes;
  if (strideX == 1 || strideX == -1) {
    for (let z = 0; z < sizeZ; z++) {
      for (let y = 0; y < sizeY; y++) {
        const from = source + (<isize>z * strideZ + <isize>y * strideY) * bytes;
        if (strideX == 1) memory.copy(output, from, rowBytes);
        else copyRow<T>(from, -1, output, sizeX);
        output += rowBytes;
      }
    }
    return;
  }
  // x of the output crosses the source rows: go in tiles over x and the output axis that runs along the source rows.
  const alongY = strideY == 1 || strideY == -1;
  const inner = alongY ? sizeY : sizeZ;
  const outer = alongY ? sizeZ : sizeY;
  const innerStride = alongY ? strideY : strideZ;
  const outerStride = alongY ? strideZ : strideY;
  const innerRow = alongY ? rowBytes : rowBytes * <isize>sizeY;
  const outerRow = alongY ? rowBytes * <isize>sizeY : rowBytes;
  for (let o = 0; o < outer; o++) {
    for (let i0 = 0; i0 < inner; i0 += tile) {
      const i1 = min(i0 + tile, inner);
      for (let x0 = 0; x0 < sizeX; x0 += tile) {
        const count = min(tile, sizeX - x0);
        for (let i = i0; i < i1; i++) {
          copyRow<T>(
            source + (<isize>o * outerStride + <isize>i * innerStride + <isize>x0 * strideX) * bytes,
            strideX,
            output + <isize>o * outerRow + <isize>i * innerRow + <isize>x0 * bytes,
            count,
          );
        }
      }
    }
  }
}

/**
 * output [sizeZ, sizeY, sizeX] (contiguous) = source read with strides in elements, negative where an axis is reversed;
 * `source` addresses the element that becomes output voxel (0, 0, 0). Elements of 1, 2, 4 or 8 bytes.
 */
export function reorient(
  elementBytes: i32,
  source: usize,
  output: usize,
  sizeX: i32,
  sizeY: i32,
  sizeZ: i32,
  strideX: isize,
  strideY: isize,
  strideZ: isize,
): void {
  if (elementBytes == 1) copyAll<u8>(source, output, sizeX, sizeY, sizeZ, strideX, strideY, strideZ);
  else if (elementBytes == 2) copyAll<u16>(source, output, sizeX, sizeY, sizeZ, strideX, strideY, strideZ);
  else if (elementBytes == 4) copyAll<u32>(source, output, sizeX, sizeY, sizeZ, strideX, strideY, strideZ);
  else copyAll<u64>(source, output, sizeX, sizeY, sizeZ, strideX, strideY, strideZ);
}
