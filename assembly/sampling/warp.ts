// A patch cut from a volume by an affine map: rotated and scaled in one pass over its voxels.

// @ts-ignore: decorator
@inline
function entry(map: usize, index: usize): f64 {
  return load<f64>(map + (index << 3));
}

// @ts-ignore: decorator
@inline
function mixed(low: f32, high: f32, weight: f32): f32 {
  return low + (high - low) * weight;
}

/** The trilinear value at (x, y, z), whose eight voxels lie inside the box. */
// @ts-ignore: decorator
@inline
function trilinear(box: usize, rowBytes: usize, sliceBytes: usize, x: f64, y: f64, z: f64): f32 {
  const lowX = <i32>x;
  const lowY = <i32>y;
  const lowZ = <i32>z;
  const at = box + <usize>lowZ * sliceBytes + <usize>lowY * rowBytes + (<usize>lowX << 2);
  const weightX = <f32>(x - <f64>lowX);
  const weightY = <f32>(y - <f64>lowY);
  const weightZ = <f32>(z - <f64>lowZ);
  const a = mixed(load<f32>(at), load<f32>(at, 4), weightX);
  const b = mixed(load<f32>(at + rowBytes), load<f32>(at + rowBytes, 4), weightX);
  const next = at + sliceBytes;
  const c = mixed(load<f32>(next), load<f32>(next, 4), weightX);
  const d = mixed(load<f32>(next + rowBytes), load<f32>(next + rowBytes, 4), weightX);
  return mixed(mixed(a, b, weightY), mixed(c, d, weightY), weightZ);
}

/** Both warps: f32 reads trilinearly, u8 the nearest voxel. The types are known when this is inlined. */
// @ts-ignore: decorator
@inline
function warp<T>(
  box: usize, boxX: i32, boxY: i32, boxZ: i32, output: usize, sizeX: i32, sizeY: i32, sizeZ: i32, map: usize, fill: T,
): void {
  const stepX = entry(map, 0);
  const stepY = entry(map, 4);
  const stepZ = entry(map, 8);
  // What a place must stay below: the last voxel, which has no neighbour to mix with, or the end of the box.
  const endX = <f64>(isFloat<T>() ? boxX - 1 : boxX);
  const endY = <f64>(isFloat<T>() ? boxY - 1 : boxY);
  const endZ = <f64>(isFloat<T>() ? boxZ - 1 : boxZ);
  const rowBytes = <usize>boxX * sizeof<T>();
  const sliceBytes = rowBytes * <usize>boxY;
  for (let z = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      let beginX = entry(map, 1) * <f64>y + entry(map, 2) * <f64>z + entry(map, 3);
      let beginY = entry(map, 5) * <f64>y + entry(map, 6) * <f64>z + entry(map, 7);
      let beginZ = entry(map, 9) * <f64>y + entry(map, 10) * <f64>z + entry(map, 11);
      if (!isFloat<T>()) {
        beginX += 0.5;
        beginY += 0.5;
        beginZ += 0.5;
      }
      for (let x = 0; x < sizeX; x++) {
        const atX = beginX + stepX * <f64>x;
        const atY = beginY + stepY * <f64>x;
        const atZ = beginZ + stepZ * <f64>x;
        let value = fill;
        if (atX >= 0 && atX < endX && atY >= 0 && atY < endY && atZ >= 0 && atZ < endZ) {
          if (isFloat<T>()) value = <T>trilinear(box, rowBytes, sliceBytes, atX, atY, atZ);
          else value = load<T>(box + <usize><i32>atZ * sliceBytes + <usize><i32>atY * rowBytes + <usize><i32>atX);
        }
        store<T>(output, value);
        output += sizeof<T>();
      }
    }
  }
}

/**
 * output f32 [sizeZ, sizeY, sizeX]: voxel (x, y, z) is the trilinear value of the box f32 [boxZ, boxY, boxX] at
 * map * (x, y, z, 1); `fill` where one of the eight voxels around that place lies outside the box.
 * map: f64[12], row by row (x, y, z of the box from x, y, z, 1 of the output).
 */
export function warpLinear(
  box: usize, boxX: i32, boxY: i32, boxZ: i32, output: usize, sizeX: i32, sizeY: i32, sizeZ: i32, map: usize, fill: f32,
): void {
  warp<f32>(box, boxX, boxY, boxZ, output, sizeX, sizeY, sizeZ, map, fill);
}

/** As warpLinear for u8 (labels): the nearest voxel, half-way places go up; `fill` where it lies outside the box. */
export function warpNearest(
  box: usize, boxX: i32, boxY: i32, boxZ: i32, output: usize, sizeX: i32, sizeY: i32, sizeZ: i32, map: usize, fill: u32,
): void {
  warp<u8>(box, boxX, boxY, boxZ, output, sizeX, sizeY, sizeZ, map, <u8>fill);
}
