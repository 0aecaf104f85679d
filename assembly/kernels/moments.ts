// From statistics of pieces to mean and 1 / standard deviation, and the normalising pass.

import { endItem, firstItem } from './call';
import { loadPartial, storePartial } from './memory';
import { quadOfRows, recordAddress, setPieces, singleOfRows } from './tile-statistics';

/** Rows per piece of a tensor [rows, channels]: at most 256, and at most about half of the level-1 cache. */
export function rowsPerPiece(channels: i32): i32 {
  return max(8, min(256, 4096 / channels));
}

export function piecesOf(rows: i32, channels: i32): i32 {
  const size = rowsPerPiece(channels);
  return (rows + size - 1) / size;
}

/** Statistics of this part's pieces of `input` [n, rows, channels]; pieces do not cross samples. */
export function gatherStatistics(input: usize, n: i32, rows: i32, channels: i32, statistics: usize): void {
  const size = rowsPerPiece(channels);
  const perSample = piecesOf(rows, channels);
  const pieces = n * perSample;
  const rowBytes = <usize>channels << 2;
  const toSquares = <usize>channels << 3;
  setPieces(pieces);
  const end = <i32>endItem(<usize>pieces);
  for (let piece = <i32>firstItem(<usize>pieces); piece < end; piece++) {
    const first = (piece % perSample) * size;
    const count = min(size, rows - first);
    const data = input + (<usize>(piece / perSample) * <usize>rows + <usize>first) * rowBytes;
    store<f64>(statistics + (<usize>piece << 3), <f64>count);
    const target = recordAddress(statistics, pieces, piece, channels, 0);
    let c: usize = 0;
    for (; c + 4 <= <usize>channels; c += 4) quadOfRows(data + (c << 2), count, rowBytes, target + (c << 3), toSquares);
    for (; c < <usize>channels; c++) singleOfRows(data + (c << 2), count, rowBytes, target + (c << 3), toSquares);
  }
}

/**
 * Combines the pieces of every (sample, channel) of this part's share: mean [n, channels] and, where the address is
 * given, rstd = 1 / sqrt(variance + epsilon) and the biased variance.
 */
export function statisticsToMoments(
  statistics: usize, n: i32, perSample: i32, channels: i32, epsilon: f64, mean: usize, rstd: usize, variance: usize,
): void {
  const pieces = n * perSample;
  const total = <usize>n * <usize>channels;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const first = <i32>(item / <usize>channels) * perSample;
    const channel = <i32>(item % <usize>channels);
    let sum: f64 = 0;
    let count: f64 = 0;
    for (let p = first; p < first + perSample; p++) {
      const values = load<f64>(statistics + (<usize>p << 3));
      sum += values * load<f64>(recordAddress(statistics, pieces, p, channels, channel));
      count += values;
    }
    const average = sum / count;
    let squares: f64 = 0;
    for (let p = first; p < first + perSample; p++) {
      const record = recordAddress(statistics, pieces, p, channels, channel);
      const d = load<f64>(record) - average;
      squares += load<f64>(record + (<usize>channels << 3)) + load<f64>(statistics + (<usize>p << 3)) * d * d;
    }
    store<f32>(mean + (item << 2), <f32>average);
    if (rstd != 0) store<f32>(rstd + (item << 2), <f32>(1 / sqrt(squares / count + epsilon)));
    if (variance != 0) store<f32>(variance + (item << 2), <f32>(squares / count));
  }
}

/**
 * output = relu((input - mean) * scale + shift) + skip for this part's rows of [n, rows, channels]; mean and scale
 * [n, channels], shift [channels] or 0, skip a tensor or 0. In place where input = output.
 */
export function normalize(
  input: usize, output: usize, n: i32, rows: i32, channels: i32, mean: usize, scale: usize, shift: usize, skip: usize,
  relu: bool,
): void {
  const total = <usize>n * <usize>rows;
  const end = endItem(total);
  const rowBytes = <usize>channels << 2;
  const whole = rowBytes & ~15;
  const tail = <usize>(channels & 3);
  // relu as a lower bound: -infinity keeps everything, NaN too (pmax keeps its first operand where it is not smaller)
  const floor = f32x4.splat(relu ? 0 : -Infinity);
  const none = f32x4.splat(0);
  let row = firstItem(total);
  while (row < end) {
    const sample = row / <usize>rows;
    const last = min(end, (sample + 1) * <usize>rows);
    const m = mean + sample * rowBytes;
    const s = scale + sample * rowBytes;
    for (; row < last; row++) {
      const offset = row * rowBytes;
      for (let c: usize = 0; c < whole; c += 16) {
        let value = f32x4.mul(f32x4.sub(v128.load(input + offset + c), v128.load(m + c)), v128.load(s + c));
        if (shift != 0) value = f32x4.add(value, v128.load(shift + c));
        value = f32x4.pmax(value, floor);
        if (skip != 0) value = f32x4.add(value, v128.load(skip + offset + c));
        v128.store(output + offset + c, value);
      }
      if (tail != 0) {
        let value = f32x4.mul(
          f32x4.sub(loadPartial(input + offset + whole, tail), loadPartial(m + whole, tail)),
          loadPartial(s + whole, tail),
        );
        value = f32x4.add(value, shift != 0 ? loadPartial(shift + whole, tail) : none);
        value = f32x4.pmax(value, floor);
        if (skip != 0) value = f32x4.add(value, loadPartial(skip + offset + whole, tail));
        storePartial(output + offset + whole, value, tail);
      }
    }
  }
}
