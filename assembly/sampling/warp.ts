// A patch cut from a volume by an affine map: rotated and scaled in one pass over its voxels.

// @ts-ignore: decorator
@inline
function entry(map: usize, index: usize): f64 {
  return load<f64>(map + (index << 3));
}

/**
 * output f32 [sizeZ, sizeY, sizeX]: voxel (x, y, z) is the trilinear value of the box f32 [boxZ, boxY, boxX] at
 * map * (x, y, z, 1); `fill` where one of the eight voxels around that place lies outside the box.
 * map: f64[12], row by row (x, y, z of the box from x, y, z, 1 of the output).
 */
export function warpLinear(
  box: usize,
  boxX: i32,
  boxY: i32,
  boxZ: i32,
  output: usize,
  sizeX: i32,
  sizeY: i32,
  sizeZ: i32,
  map: usize,
  fill: f32,
): void {
  const stepX = entry(map, 0);
  const stepY = entry(map, 4);
  const stepZ = entry(map, 8);
  const lastX = <f64>(boxX - 1);
  const lastY = <f64>(boxY - 1);
  const lastZ = <f64>(boxZ - 1);
  const rowBytes = <usize>boxX << 2;
  const sliceBytes = rowBytes * <usize>boxY;
  for (let z = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      const beginX = entry(map, 1) * <f64>y + entry(map, 2) * <f64>z + entry(map, 3);
      const beginY = entry(map, 5) * <f64>y + entry(map, 6) * <f64>z + entry(map, 7);
      const beginZ = entry(map, 9) * <f64>y + entry(map, 10) * <f64>z + entry(map, 11);
      for (let x = 0; x < sizeX; x++) {
        const atX = beginX + stepX * <f64>x;
        const atY = beginY + stepY * <f64>x;
        const atZ = beginZ + stepZ * <f64>x;
        let value = fill;
        if (atX >= 0 && atX < lastX && atY >= 0 && atY < lastY && atZ >= 0 && atZ < lastZ) {
          const lowX = <i32>atX;
          const lowY = <i32>atY;
          const lowZ = <i32>atZ;
          const at = box + <usize>lowZ * sliceBytes + <usize>lowY * rowBytes + (<usize>lowX << 2);
          const weightX = <f32>(atX - <f64>lowX);
          const weightY = <f32>(atY - <f64>lowY);
          const weightZ = <f32>(atZ - <f64>lowZ);
          const a = mixed(load<f32>(at), load<f32>(at, 4), weightX);
          const b = mixed(load<f32>(at + rowBytes), load<f32>(at + rowBytes, 4), weightX);
          const next = at + sliceBytes;
          const c = mixed(load<f32>(next), load<f32>(next, 4), weightX);
          const d = mixed(load<f32>(next + rowBytes), load<f32>(next + rowBytes, 4), weightX);
          value = mixed(mixed(a, b, weightY), mixed(c, d, weightY), weightZ);
        }
        store<f32>(output, value);
        output += 4;
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function mixed(low: f32, high: f32, weight: f32): f32 {
  return low + (high - low) * weight;
}

/** As warpLinear for u8 (labels): the nearest voxel, half-way places go up; `fill` where it lies outside the box. */
export function warpNearest(
  box: usize,
  boxX: i32,
  boxY: i32,
  boxZ: i32,
  output: usize,
  sizeX: i32,
  sizeY: i32,
  sizeZ: i32,
  map: usize,
  fill: u32,
): void {
  const endX = <f64>boxX;
  const endY = <f64>boxY;
  const endZ = <f64>boxZ;
  const stepX = entry(map, 0);
  const stepY = entry(map, 4);
  const stepZ = entry(map, 8);
  for (let z = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      const beginX = entry(map, 1) * <f64>y + entry(map, 2) * <f64>z + entry(map, 3) + 0.5;
      const beginY = entry(map, 5) * <f64>y + entry(map, 6) * <f64>z + entry(map, 7) + 0.5;
      const beginZ = entry(map, 9) * <f64>y + entry(map, 10) * <f64>z + entry(map, 11) + 0.5;
      for (let x = 0; x < sizeX; x++) {
        const atX = beginX + stepX * <f64>x;
        const atY = beginY + stepY * <f64>x;
        const atZ = beginZ + stepZ * <f64>x;
        let label = <u8>fill;
        if (atX >= 0 && atX < endX && atY >= 0 && atY < endY && atZ >= 0 && atZ < endZ)
          label = load<u8>(box + (<usize><i32>atZ * <usize>boxY + <usize><i32>atY) * <usize>boxX + <usize><i32>atX);
        store<u8>(output, label);
        output++;
      }
    }
  }
}
