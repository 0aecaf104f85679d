// Masks as bits, eight voxels per byte, the first voxel in the lowest bit; each row begins a byte.

/** Bits of `rows` rows of `sizeX` bytes, nonzero = 1; the bits beyond sizeX are 0. */
export function packRows(source: usize, sizeX: i32, rows: i32, bits: usize): void {
  for (let y = 0; y < rows; y++) {
    let x = 0;
    for (; x + 16 <= sizeX; x += 16) {
      store<u16>(bits, <u16>i8x16.bitmask(i8x16.ne(v128.load(source + x), i8x16.splat(0))));
      bits += 2;
    }
    for (; x < sizeX; x += 8) {
      let byte = 0;
      for (let i = 0; i < min(8, sizeX - x); i++) byte |= <i32>(load<u8>(source + x + i) != 0) << i;
      store<u8>(bits++, <u8>byte);
    }
    source += sizeX;
  }
}

/** The way back: bytes 0 or 1. */
export function unpackRows(bits: usize, sizeX: i32, rows: i32, output: usize): void {
  const places = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  for (let y = 0; y < rows; y++) {
    let x = 0;
    for (; x + 16 <= sizeX; x += 16) {
      const pair = v128.load16_splat(bits);
      const bytes = v128.swizzle(pair, i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
      const set = i8x16.eq(v128.and(bytes, places), places);
      v128.store(output + x, v128.and(set, i8x16.splat(1)));
      bits += 2;
    }
    for (; x < sizeX; x += 8) {
      const byte = <i32>load<u8>(bits++);
      for (let i = 0; i < min(8, sizeX - x); i++) store<u8>(output + x + i, <u8>((byte >> i) & 1));
    }
    output += sizeX;
  }
}

/** Number of bits that are set. */
export function countBits(bits: usize, bytes: i32): i32 {
  let count = 0;
  let i = 0;
  for (; i + 8 <= bytes; i += 8) count += <i32>popcnt(load<u64>(bits + i));
  for (; i < bytes; i++) count += <i32>popcnt(<u32>load<u8>(bits + i));
  return count;
}
