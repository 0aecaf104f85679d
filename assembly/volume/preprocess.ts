// Loops of preprocessing: smoothing with a short symmetric kernel (edges replicated; weights: f32[radius + 1], the
// middle one first), normalisation that leaves a zero background alone.

/** output += weight * a, or with `first` output = weight * a. */
export function accumulate(a: usize, weight: f32, output: usize, count: i32, first: i32): void {
  const w = f32x4.splat(weight);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 2;
    const product = f32x4.mul(v128.load(a + at), w);
    v128.store(output + at, first != 0 ? product : f32x4.add(v128.load(output + at), product));
  }
  for (; i < count; i++) {
    const at = <usize>i << 2;
    const product = load<f32>(a + at) * weight;
    store<f32>(output + at, first != 0 ? product : load<f32>(output + at) + product);
  }
}

/** One slice [sizeY, sizeX] along x; `row` holds sizeX + 2 * radius float32. May be in place. */
export function smoothRows(
  source: usize,
  output: usize,
  sizeX: i32,
  sizeY: i32,
  weights: usize,
  radius: i32,
  row: usize,
): void {
  const rowBytes = <usize>sizeX << 2;
  const middle = row + (<usize>radius << 2);
  for (let y = 0; y < sizeY; y++) {
    memory.copy(middle, source, rowBytes);
    for (let i = 1; i <= radius; i++) {
      store<f32>(middle - (<usize>i << 2), load<f32>(middle));
      store<f32>(middle + rowBytes + (<usize>(i - 1) << 2), load<f32>(middle + rowBytes - 4));
    }
    accumulate(middle, load<f32>(weights), output, sizeX, 1);
    for (let i = 1; i <= radius; i++) {
      const weight = load<f32>(weights + (<usize>i << 2));
      accumulate(middle - (<usize>i << 2), weight, output, sizeX, 0);
      accumulate(middle + (<usize>i << 2), weight, output, sizeX, 0);
    }
    source += rowBytes;
    output += rowBytes;
  }
}

/** One slice [sizeY, sizeX] along y; not in place. */
export function smoothColumns(
  source: usize,
  output: usize,
  sizeX: i32,
  sizeY: i32,
  weights: usize,
  radius: i32,
): void {
  const rowBytes = <usize>sizeX << 2;
  for (let y = 0; y < sizeY; y++) {
    const target = output + <usize>y * rowBytes;
    accumulate(source + <usize>y * rowBytes, load<f32>(weights), target, sizeX, 1);
    for (let i = 1; i <= radius; i++) {
      const weight = load<f32>(weights + (<usize>i << 2));
      accumulate(source + <usize>max(y - i, 0) * rowBytes, weight, target, sizeX, 0);
      accumulate(source + <usize>min(y + i, sizeY - 1) * rowBytes, weight, target, sizeX, 0);
    }
  }
}

/** data = (data - mean) * scale where data is not 0; zeros stay. In place. */
export function normalizeNonzero(data: usize, count: i32, mean: f32, scale: f32): void {
  const means = f32x4.splat(mean);
  const scales = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = data + (<usize>i << 2);
    const values = v128.load(at);
    const kept = f32x4.ne(values, f32x4.splat(0));
    v128.store(at, v128.and(f32x4.mul(f32x4.sub(values, means), scales), kept));
  }
  for (; i < count; i++) {
    const at = data + (<usize>i << 2);
    const value = load<f32>(at);
    store<f32>(at, value != 0 ? (value - mean) * scale : 0);
  }
}
