// Mean and sum of squared deviations of pieces of a tensor, combined later in double precision and in fixed order.
//
// Per piece (a tile of a convolution, or a chunk of rows) and channel: mean m and M2 = sum (x - m)^2. The piece has at most
// a few hundred values and is read twice while it is hot: sums of deviations in single precision lose nothing that matters,
// whatever the mean is. Layout of the statistics area: f64 counts[pieces], then per piece f64 mean[channels], M2[channels].
// Combination (Chan, Golub, LeVeque 1983): mean = sum n_i m_i / N, M2 = sum M2_i + n_i (m_i - mean)^2.

/** Address of the mean of (piece, channel); its M2 lies `channels` doubles further. */
// @ts-ignore: decorator
@inline
export function recordAddress(statistics: usize, pieces: i32, piece: i32, channels: i32, channel: i32): usize {
  return statistics + ((<usize>pieces + <usize>piece * (<usize>channels << 1) + <usize>channel) << 3);
}

/** Number of pieces in the statistics area now being filled. */
let pieceCount: i32 = 0;

export function setPieces(pieces: i32): void {
  pieceCount = pieces;
}

/** Bytes of a statistics area. */
export function statisticsBytes(pieces: f64, channels: i32): f64 {
  return ceil((pieces * (1 + 2 * <f64>channels) * 8) / 64) * 64;
}

/**
 * Statistics of `width` <= 8 channels over the voxels of a table (byte offsets from `data` in every second u32), written
 * as channels [channel, channel + width) of piece `piece`.
 */
export function tileStatistics(
  data: usize, table: usize, voxels: i32, width: i32, statistics: usize, piece: i32, channels: i32, channel: i32,
): void {
  store<f64>(statistics + (<usize>piece << 3), <f64>voxels);
  const target = recordAddress(statistics, pieceCount, piece, channels, channel);
  if (width == 8) {
    quadOfTable(data, table, voxels, target, <usize>channels << 3);
    quadOfTable(data + 16, table, voxels, target + 32, <usize>channels << 3);
    return;
  }
  for (let c = 0; c < width; c++) {
    let sum: f64 = 0;
    for (let v = 0; v < voxels; v++) sum += <f64>load<f32>(data + (<usize>c << 2) + <usize>load<u32>(table + (<usize>v << 3), 4));
    const mean = sum / <f64>voxels;
    let squares: f64 = 0;
    for (let v = 0; v < voxels; v++) {
      const d = <f64>load<f32>(data + (<usize>c << 2) + <usize>load<u32>(table + (<usize>v << 3), 4)) - mean;
      squares += d * d;
    }
    store<f64>(target + (<usize>c << 3), mean);
    store<f64>(target + (<usize>(channels + c) << 3), squares);
  }
}

function quadOfTable(data: usize, table: usize, voxels: i32, target: usize, toSquares: usize): void {
  const end = table + (<usize>voxels << 3);
  let sum = f32x4.splat(0);
  for (let entry = table; entry < end; entry += 8) sum = f32x4.add(sum, v128.load(data + <usize>load<u32>(entry, 4)));
  const shift = f32x4.mul(sum, f32x4.splat(<f32>(1 / <f64>voxels)));
  let rest = f32x4.splat(0);
  let squares = rest;
  for (let entry = table; entry < end; entry += 8) {
    const d = f32x4.sub(v128.load(data + <usize>load<u32>(entry, 4)), shift);
    rest = f32x4.add(rest, d);
    squares = f32x4.add(squares, f32x4.mul(d, d));
  }
  storeQuad(shift, rest, squares, <f64>voxels, target, toSquares);
}

/** Statistics of four channels over `rows` rows, `rowBytes` apart. */
export function quadOfRows(data: usize, rows: i32, rowBytes: usize, target: usize, toSquares: usize): void {
  let sum = f32x4.splat(0);
  const end = data + <usize>rows * rowBytes;
  for (let p = data; p < end; p += rowBytes) sum = f32x4.add(sum, v128.load(p));
  const shift = f32x4.mul(sum, f32x4.splat(<f32>(1 / <f64>rows)));
  let rest = f32x4.splat(0);
  let squares = rest;
  for (let p = data; p < end; p += rowBytes) {
    const d = f32x4.sub(v128.load(p), shift);
    rest = f32x4.add(rest, d);
    squares = f32x4.add(squares, f32x4.mul(d, d));
  }
  storeQuad(shift, rest, squares, <f64>rows, target, toSquares);
}

/** Statistics of one channel over `rows` rows, `rowBytes` apart. */
export function singleOfRows(data: usize, rows: i32, rowBytes: usize, target: usize, toSquares: usize): void {
  const end = data + <usize>rows * rowBytes;
  let sum: f64 = 0;
  for (let p = data; p < end; p += rowBytes) sum += <f64>load<f32>(p);
  const mean = sum / <f64>rows;
  let squares: f64 = 0;
  for (let p = data; p < end; p += rowBytes) {
    const d = <f64>load<f32>(p) - mean;
    squares += d * d;
  }
  store<f64>(target, mean);
  store<f64>(target + toSquares, squares);
}

/** From `rest` and `sum`, the sums of differences to m (close to the mean) and of their squares, to mean and M2, in double. */
function storeQuad(m: v128, rest: v128, sum: v128, count: f64, to: usize, toSquares: usize): void {
  storeLane(f32x4.extract_lane(m, 0), f32x4.extract_lane(rest, 0), f32x4.extract_lane(sum, 0), count, to, toSquares);
  storeLane(f32x4.extract_lane(m, 1), f32x4.extract_lane(rest, 1), f32x4.extract_lane(sum, 1), count, to + 8, toSquares);
  storeLane(f32x4.extract_lane(m, 2), f32x4.extract_lane(rest, 2), f32x4.extract_lane(sum, 2), count, to + 16, toSquares);
  storeLane(f32x4.extract_lane(m, 3), f32x4.extract_lane(rest, 3), f32x4.extract_lane(sum, 3), count, to + 24, toSquares);
}

function storeLane(shift: f32, rest: f32, squares: f32, count: f64, target: usize, toSquares: usize): void {
  const offset = <f64>rest / count;
  store<f64>(target, <f64>shift + offset);
  store<f64>(target + toSquares, max(0, <f64>squares - <f64>rest * offset));
}
