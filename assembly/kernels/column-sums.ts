// Sums over the rows of a tensor [rows, channels], in pieces of rows: single precision inside a piece of at most 256 rows,
// double precision over the pieces.

import { endItem, firstItem } from './call';
import { piecesOf, rowsPerPiece } from './moments';

/** Bytes of the pieces' sums: f64 [pieces, channels]. */
export function columnSumBytes(rows: i32, channels: i32): f64 {
  return ceil((<f64>piecesOf(rows, channels) * channels * 8) / 64) * 64;
}

/** Sums of this part's pieces. */
export function sumPieces(input: usize, rows: i32, channels: i32, sums: usize): void {
  const size = rowsPerPiece(channels);
  const pieces = <usize>piecesOf(rows, channels);
  const rowBytes = <usize>channels << 2;
  const end = endItem(pieces);
  for (let piece = firstItem(pieces); piece < end; piece++) {
    const first = <usize>size * piece;
    const from = input + first * rowBytes;
    const to = from + min(<usize>size, <usize>rows - first) * rowBytes;
    let target = sums + piece * (<usize>channels << 3);
    let c: usize = 0;
    for (; c + 16 <= rowBytes; c += 16) {
      let sum = f32x4.splat(0);
      for (let p = from + c; p < to; p += rowBytes) sum = f32x4.add(sum, v128.load(p));
      v128.store(target, f64x2.promote_low_f32x4(sum));
      v128.store(target, f64x2.promote_low_f32x4(i32x4.shuffle(sum, sum, 2, 3, 2, 3)), 16);
      target += 32;
    }
    for (; c < rowBytes; c += 4) {
      let sum: f64 = 0;
      for (let p = from + c; p < to; p += rowBytes) sum += <f64>load<f32>(p);
      store<f64>(target, sum);
      target += 8;
    }
  }
}

/** Adds the pieces of this part's channels, in order, into floats. */
export function addPieces(sums: usize, rows: i32, channels: i32, output: usize): void {
  const pieces = piecesOf(rows, channels);
  const end = endItem(<usize>channels);
  for (let c = firstItem(<usize>channels); c < end; c++) {
    let sum: f64 = 0;
    for (let p = 0; p < pieces; p++) sum += load<f64>(sums + (<usize>p * <usize>channels + c) * 8);
    store<f32>(output + (c << 2), <f32>sum);
  }
}
