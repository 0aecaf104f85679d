// Weights in the order in which convolutionBlock reads them: panels of eight output channels,
// packed[panel][tap][channel][8], zeros behind the last channel.

import { endItem, firstItem } from './call';
import { copyFloats, fillFloats } from './memory';

/** Packs rows [patch, outChannels] (weights as TF.js stores them, or a matrix [k, n]); this part's share of the rows. */
export function packRows(source: usize, patch: i32, outChannels: i32, packed: usize): void {
  const panels = outChannels >> 3;
  const tail = <usize>(outChannels & 7);
  const panelBytes = <usize>patch << 5;
  const end = endItem(<usize>patch);
  for (let j = firstItem(<usize>patch); j < end; j++) {
    let from = source + j * (<usize>outChannels << 2);
    let to = packed + (j << 5);
    for (let p = 0; p < panels; p++) {
      v128.store(to, v128.load(from));
      v128.store(to, v128.load(from, 16), 16);
      from += 32;
      to += panelBytes;
    }
    if (tail != 0) {
      copyFloats(to, from, tail);
      fillFloats(to + (tail << 2), 8 - tail, 0);
    }
  }
}

/**
 * Packs the transpose of a matrix [outChannels, length] (row `rowBytes` apart) as one tap of `length` channels:
 * packed[panel][length][8], `panelBytes` from panel to panel; panels [first, last).
 */
export function packTransposed(
  source: usize, rowBytes: usize, outChannels: i32, length: i32, packed: usize, panelBytes: usize, first: i32, last: i32,
): void {
  for (let p = first; p < last; p++) {
    const width = min(8, outChannels - p * 8);
    const from = source + <usize>(p * 8) * rowBytes;
    const to = packed + <usize>p * panelBytes;
    if (width < 8) {
      for (let j = 0; j < length; j++) {
        for (let c = 0; c < 8; c++) {
          const value: f32 = c < width ? load<f32>(from + <usize>c * rowBytes + (<usize>j << 2)) : 0;
          store<f32>(to + (<usize>j << 5) + (<usize>c << 2), value);
        }
      }
      continue;
    }
    let j = 0;
    for (; j + 4 <= length; j += 4) {
      transposeQuad(from + (<usize>j << 2), rowBytes, to + (<usize>j << 5), 32);
      transposeQuad(from + 4 * rowBytes + (<usize>j << 2), rowBytes, to + (<usize>j << 5) + 16, 32);
    }
    for (; j < length; j++) {
      for (let c: usize = 0; c < 8; c++) {
        store<f32>(to + (<usize>j << 5) + (c << 2), load<f32>(from + c * rowBytes + (<usize>j << 2)));
      }
    }
  }
}

/** Transposes a 4 x 4 block. */
// @ts-ignore: decorator
@inline
export function transposeQuad(source: usize, sourceStep: usize, target: usize, targetStep: usize): void {
  const a = v128.load(source);
  const b = v128.load(source + sourceStep);
  const c = v128.load(source + 2 * sourceStep);
  const d = v128.load(source + 3 * sourceStep);
  const ab0 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab1 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd0 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd1 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(target, i32x4.shuffle(ab0, cd0, 0, 1, 4, 5));
  v128.store(target + targetStep, i32x4.shuffle(ab0, cd0, 2, 3, 6, 7));
  v128.store(target + 2 * targetStep, i32x4.shuffle(ab1, cd1, 0, 1, 4, 5));
  v128.store(target + 3 * targetStep, i32x4.shuffle(ab1, cd1, 2, 3, 6, 7));
}

/** Bias as whole panels: `channels` floats (zeros where bias = 0) and zeros up to a multiple of eight. */
export function packBias(bias: usize, channels: i32, packed: usize): void {
  const padded = <usize>((channels + 7) & ~7);
  if (bias == 0) {
    fillFloats(packed, padded, 0);
    return;
  }
  copyFloats(packed, bias, <usize>channels);
  fillFloats(packed + (<usize>channels << 2), padded - <usize>channels, 0);
}
