// cut_patches and cut_mix: patches out of volumes and out of one another, line by line. The rows of their tables mean what
// native/include/versemi/patch_table.h says; whatever they hold, nothing outside of the buffers is read.

import { buffer, endItem, firstItem, integer } from './call';
import {
  CUT_MIX_BUFFER_MIXES, CUT_MIX_BUFFER_PATCHES, CUT_MIX_BUFFER_TABLE, CUT_MIX_D, CUT_MIX_H, CUT_MIX_N, CUT_MIX_SOURCES,
  CUT_MIX_W, CUT_PATCHES_BUFFER_LOOKUP, CUT_PATCHES_BUFFER_PATCHES, CUT_PATCHES_BUFFER_TABLE, CUT_PATCHES_BUFFER_VOLUMES,
  CUT_PATCHES_D, CUT_PATCHES_H, CUT_PATCHES_LOOKUPS, CUT_PATCHES_N, CUT_PATCHES_TOTAL, CUT_PATCHES_W, LOOKUP_LENGTH,
  MIX_ROW_LENGTH, PAIR_SHARES, PATCH_ROW_LENGTH,
} from './table';

/** A whole number of a table; NaN and numbers beyond a billion become -1e9, which lies outside of every volume. */
function tableNumber(row: usize, i: usize): i64 {
  const value = load<f32>(row + (i << 2));
  return value >= -1e9 && value <= 1e9 ? <i64>value : -1000000000;
}

function flag(row: usize, i: usize): bool {
  return load<f32>(row + (i << 2)) != 0;
}

function lookedUp(value: f32, lookup: usize, lookups: i64, table: i64): f32 {
  if (table < 0 || table >= lookups || lookup == 0) return value;
  if (!(value >= 0 && value < 16777216)) return 0;
  const entries = lookup + (<usize>(table * LOOKUP_LENGTH) << 2);
  const pair = <i32>value;
  const first = load<f32>(entries + (<usize>(pair & 255) << 2));
  const share = pair >> 16;
  if (share == 0) return first;
  return first + (load<f32>(entries + (<usize>((pair >> 8) & 255) << 2)) - first) * (<f32>share / <f32>PAIR_SHARES);
}

/** cut_patches. */
export function cutPatches(): void {
  const depth = <i64>integer(CUT_PATCHES_D);
  const height = <i64>integer(CUT_PATCHES_H);
  const width = <i64>integer(CUT_PATCHES_W);
  const total = <i64>integer(CUT_PATCHES_TOTAL);
  const lookups = <i64>integer(CUT_PATCHES_LOOKUPS);
  const volumes = buffer(CUT_PATCHES_BUFFER_VOLUMES);
  const lookup = buffer(CUT_PATCHES_BUFFER_LOOKUP);
  const lines = <usize>(<i64>integer(CUT_PATCHES_N) * depth * height);
  const end = endItem(lines);
  for (let line = firstItem(lines); line < end; line++) {
    const y = <i64>line % height;
    const z = (<i64>line / height) % depth;
    const row = buffer(CUT_PATCHES_BUFFER_TABLE) + (<usize>(<i64>line / height / depth) * PATCH_ROW_LENGTH << 2);
    const to = buffer(CUT_PATCHES_BUFFER_PATCHES) + ((line * <usize>width) << 2);
    const offset = tableNumber(row, 0) * (1 << 20) + tableNumber(row, 1);
    const sizeX = tableNumber(row, 2);
    const sizeY = tableNumber(row, 3);
    const sizeZ = tableNumber(row, 4);
    const swapped = flag(row, 8);
    const flipX = flag(row, 9);
    const table = tableNumber(row, 12);
    const alongX = swapped ? sizeY : sizeX;
    const alongY = swapped ? sizeX : sizeY;
    const volumeY = tableNumber(row, swapped ? 5 : 6) + (flag(row, 10) ? height - 1 - y : y);
    const volumeZ = tableNumber(row, 7) + (flag(row, 11) ? depth - 1 - z : z);
    const whole =
      offset >= 0 && sizeX > 0 && sizeY > 0 && sizeZ > 0 && sizeX <= total && sizeY <= total && sizeZ <= total &&
      <f64>sizeX * <f64>sizeY * <f64>sizeZ <= <f64>(total - offset);
    let first: i64 = 0;
    let last: i64 = 0;
    let at: i64 = 0;
    let step: i64 = 0;
    if (whole && volumeY >= 0 && volumeY < alongY && volumeZ >= 0 && volumeZ < sizeZ) {
      const origin = tableNumber(row, swapped ? 6 : 5) + (flipX ? width - 1 : 0);
      first = min(max(flipX ? origin - alongX + 1 : -origin, 0), width);
      last = min(max(flipX ? origin + 1 : alongX - origin, first), width);
      const stride = swapped ? sizeX : 1;
      step = flipX ? -stride : stride;
      at = offset + volumeZ * sizeX * sizeY + volumeY * (swapped ? 1 : sizeX) + origin * stride;
    }
    for (let x: i64 = 0; x < width; x++) {
      const value = x >= first && x < last ? load<f32>(volumes + (<usize>(at + x * step) << 2)) : 0;
      store<f32>(to + (<usize>x << 2), lookedUp(value, lookup, lookups, table));
    }
  }
}

/** cut_mix. */
export function cutMix(): void {
  const depth = <i64>integer(CUT_MIX_D);
  const height = <i64>integer(CUT_MIX_H);
  const width = <i64>integer(CUT_MIX_W);
  const count = <i64>integer(CUT_MIX_SOURCES);
  const voxels = depth * height * width;
  const lines = <usize>(<i64>integer(CUT_MIX_N) * depth * height);
  const end = endItem(lines);
  for (let line = firstItem(lines); line < end; line++) {
    const y = <i64>line % height;
    const z = (<i64>line / height) % depth;
    const row = buffer(CUT_MIX_BUFFER_TABLE) + (<usize>(<i64>line / height / depth) * MIX_ROW_LENGTH << 2);
    const beginY = tableNumber(row, 3);
    const beginZ = tableNumber(row, 4);
    const crosses =
      z >= beginZ && z < beginZ + tableNumber(row, 7) && y >= beginY && y < beginY + tableNumber(row, 6);
    const begin: i64 = crosses ? tableNumber(row, 2) : 0;
    const last: i64 = crosses ? begin + tableNumber(row, 5) : 0;
    for (let x: i64 = 0; x < width; x++) {
      const index = tableNumber(row, x >= begin && x < last ? 1 : 0);
      const from = buffer(CUT_MIX_BUFFER_PATCHES) + (<usize>(index * voxels + (z * height + y) * width + x) << 2);
      const known = index >= 0 && index < count;
      // A source that is not there gives zeros; -2 stands for ones.
      store<f32>(
        buffer(CUT_MIX_BUFFER_MIXES) + ((line * <usize>width + <usize>x) << 2),
        known ? load<f32>(from) : index == -2 ? <f32>1 : <f32>0,
      );
    }
  }
}
