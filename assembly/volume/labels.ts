// Counting and finding voxels in label maps and masks (bytes).

/** histogram u32[256] += counts of the byte values. */
export function countLabels(data: usize, count: i32, histogram: usize): void {
  for (let i = 0; i < count; i++) {
    const at = histogram + (<usize>load<u8>(data + i) << 2);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/**
 * Positions of chosen occurrences of a value: `ranks` (i32, ascending; rank 0 = first occurrence) from index
 * `next` on, `seen` occurrences lie before this chunk, `base` = position of its first byte. Writes positions (i32) and
 * returns the index of the first rank that lies beyond.
 */
export function findRanks(
  data: usize,
  count: i32,
  value: i32,
  base: i32,
  seen: i32,
  ranks: usize,
  rankCount: i32,
  next: i32,
  positions: usize,
): i32 {
  if (next >= rankCount) return next;
  let wanted = load<i32>(ranks + (<usize>next << 2));
  for (let i = 0; i < count; i++) {
    if (<i32>load<u8>(data + i) != value) continue;
    while (seen == wanted) {
      store<i32>(positions + (<usize>next << 2), base + i);
      if (++next >= rankCount) return next;
      wanted = load<i32>(ranks + (<usize>next << 2));
    }
    seen++;
  }
  return next;
}

/**
 * One slice [sizeY, sizeX] of two masks (nonzero = inside; pass one mask twice for itself alone). state = i32
 * { both, inA, inB, minX, minY, minZ, maxX, maxY, maxZ }: counts are added, the joint bounding box (inclusive) grows.
 */
export function addMaskSlice(a: usize, b: usize, sizeX: i32, sizeY: i32, z: i32, state: usize): void {
  let both = 0;
  let inA = 0;
  let inB = 0;
  let minX = load<i32>(state, 12);
  let maxX = load<i32>(state, 24);
  let minY = i32.MAX_VALUE;
  let maxY = -1;
  const zero = i8x16.splat(0);
  for (let y = 0; y < sizeY; y++) {
    let x = 0;
    let first = i32.MAX_VALUE;
    let last = -1;
    for (; x + 16 <= sizeX; x += 16) {
      const va = v128.load(a + x);
      const vb = v128.load(b + x);
      if (!v128.any_true(v128.or(va, vb))) continue;
      const bitsA = i8x16.bitmask(i8x16.ne(va, zero));
      const bitsB = i8x16.bitmask(i8x16.ne(vb, zero));
      const bits = bitsA | bitsB;
      both += popcnt(bitsA & bitsB);
      inA += popcnt(bitsA);
      inB += popcnt(bitsB);
      if (last < 0) first = x + ctz(bits);
      last = x + 31 - clz(bits);
    }
    for (; x < sizeX; x++) {
      const isA = i32(load<u8>(a + x) != 0);
      const isB = i32(load<u8>(b + x) != 0);
      if ((isA | isB) == 0) continue;
      both += isA & isB;
      inA += isA;
      inB += isB;
      if (last < 0) first = x;
      last = x;
    }
    if (last >= 0) {
      minX = min(minX, first);
      maxX = max(maxX, last);
      if (maxY < 0) minY = y;
      maxY = y;
    }
    a += sizeX;
    b += sizeX;
  }
  if (maxY < 0) return;
  store<i32>(state, load<i32>(state) + both);
  store<i32>(state, load<i32>(state, 4) + inA, 4);
  store<i32>(state, load<i32>(state, 8) + inB, 8);
  store<i32>(state, minX, 12);
  store<i32>(state, min(load<i32>(state, 16), minY), 16);
  store<i32>(state, min(load<i32>(state, 20), z), 20);
  store<i32>(state, maxX, 24);
  store<i32>(state, max(load<i32>(state, 28), maxY), 28);
  store<i32>(state, max(load<i32>(state, 32), z), 32);
}

/** Copies rows of `count` bytes between two row pitches. */
export function copyRows(source: usize, sourcePitch: i32, output: usize, outputPitch: i32, count: i32, rows: i32): void {
  for (let row = 0; row < rows; row++) {
    memory.copy(output, source, count);
    source += sourcePitch;
    output += outputPitch;
  }
}

/** data u8[i] = table u8[256][data[i]], in place. */
export function translate(data: usize, count: i32, table: usize): void {
  for (let i = 0; i < count; i++) store<u8>(data + i, load<u8>(table + load<u8>(data + i)));
}
