// conv3d_forward and conv3d_grad_input (= transposed convolution) as passes of the engine, and conv3d_norm_relu.
// Attributes 0 to 17: n, inD, inH, inW, inC, outD, outH, outW, outC, kD, kH, kW, sD, sH, sW, padD, padH, padW.

import { attribute, barrier, buffer, endItem, firstItem, integer, lines, part, scratch } from './call';
import { padInput } from './direct';
import {
  mode, MODE_WINOGRAD, packedBytes, paddedBytes, partBytes, patch, planTiles, setGrid, setInput, setKernel, setOutput, setPad, setStride,
  tilesPerSample,
} from './geometry';
import { normalize, statisticsToMoments } from './moments';
import { packBias, packRows, packTransposed } from './pack';
import { runPass } from './pass';
import { setPieces, statisticsBytes } from './tile-statistics';
import { packWinograd, winogradPackedBytes, winogradPartBytes } from './winograd';

/** Plans the forward convolution of the call. */
export function planForward(): void {
  setInput(integer(0), integer(1), integer(2), integer(3), integer(4));
  setKernel(integer(9), integer(10), integer(11), integer(8));
  setStride(integer(12), integer(13), integer(14));
  setPad(integer(15), integer(16), integer(17));
  setGrid(integer(5), integer(6), integer(7));
  setOutput(integer(5), integer(6), integer(7), 0, 0, 0, 1, 1, 1);
  planTiles();
}

// Grad-input with stride s falls into s^3 phases: input voxels i = phase + s * q. Along one axis, gradInput[i] takes
// gradOutput[o] * weight[k] with o * s + k - pad = i. With r = (phase + pad) mod s these are k = r + s * t and
// o = q + (phase + pad - r) / s - t: a convolution of gradOutput with the taps of the phase in reverse order, stride 1.

/** Taps of a phase along axis a (0 = depth), and the pad of its convolution. */
function phaseTaps(axis: i32, phase: i32): i32 {
  const stride = integer(12 + axis);
  const rest = (phase + integer(15 + axis)) % stride;
  const kernel = integer(9 + axis);
  return rest < kernel ? (kernel - rest + stride - 1) / stride : 0;
}

function phasePad(axis: i32, phase: i32): i32 {
  const shifted = phase + integer(15 + axis);
  const stride = integer(12 + axis);
  return phaseTaps(axis, phase) - 1 - shifted / stride;
}

function phaseGrid(axis: i32, phase: i32): i32 {
  const stride = integer(12 + axis);
  return max(0, (integer(1 + axis) - phase + stride - 1) / stride);
}

/** Plans a phase; false where it has no voxels. A phase without taps keeps one tap of weight 0 outside the tensor. */
function planPhase(d: i32, h: i32, w: i32): bool {
  const gridD = phaseGrid(0, d);
  const gridH = phaseGrid(1, h);
  const gridW = phaseGrid(2, w);
  if (gridD == 0 || gridH == 0 || gridW == 0) return false;
  const tapsD = phaseTaps(0, d);
  const tapsH = phaseTaps(1, h);
  const tapsW = phaseTaps(2, w);
  setInput(integer(0), integer(5), integer(6), integer(7), integer(8));
  setStride(1, 1, 1);
  if (tapsD == 0 || tapsH == 0 || tapsW == 0) {
    setKernel(1, 1, 1, integer(4));
    setPad(gridD, 0, 0);
  } else {
    setKernel(tapsD, tapsH, tapsW, integer(4));
    setPad(phasePad(0, d), phasePad(1, h), phasePad(2, w));
  }
  setGrid(gridD, gridH, gridW);
  setOutput(integer(1), integer(2), integer(3), d, h, w, integer(12), integer(13), integer(14));
  planTiles();
  return true;
}

/** Packs this part's share of a phase's weights: reversed taps, [panel of inC][tap][outC][8]. */
function packPhase(weight: usize, d: i32, h: i32, w: i32, packed: usize): void {
  const tapsD = phaseTaps(0, d);
  const tapsH = phaseTaps(1, h);
  const tapsW = phaseTaps(2, w);
  const inC = integer(4);
  const outC = integer(8);
  const rowBytes = <usize>outC << 2;
  const panelCount = (inC + 7) >> 3;
  const tapCount = tapsD * tapsH * tapsW;
  const total = <usize>(tapCount * panelCount);
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const tap = <i32>(item / <usize>panelCount);
    const panel = <i32>(item % <usize>panelCount);
    const kD = tapOf(0, d, tapsD - 1 - tap / (tapsW * tapsH));
    const kH = tapOf(1, h, tapsH - 1 - (tap / tapsW) % tapsH);
    const kW = tapOf(2, w, tapsW - 1 - (tap % tapsW));
    const source = weight + <usize>((kD * integer(10) + kH) * integer(11) + kW) * <usize>inC * rowBytes;
    packTransposed(
      source, rowBytes, inC, outC, packed + ((<usize>tap * <usize>outC) << 5), <usize>patch << 5, panel, panel + 1,
    );
  }
}

function tapOf(axis: i32, phase: i32, t: i32): i32 {
  const stride = integer(12 + axis);
  return ((phase + integer(15 + axis)) % stride) + stride * t;
}

// --- scratch: packed weights of all passes, bias panels, padded input, statistics, then one area per part ----------------

let packedTotal: f64 = 0;
let paddedTotal: f64 = 0;
let partTotal: f64 = 0;
/** Tiles of one sample over all passes. */
let pieces: i32 = 0;

function measure(transposed: bool): void {
  packedTotal = 0;
  paddedTotal = 0;
  partTotal = 0;
  pieces = 0;
  if (!transposed) {
    planForward();
    addPass();
    return;
  }
  for (let d = 0; d < integer(12); d++) {
    for (let h = 0; h < integer(13); h++) {
      for (let w = 0; w < integer(14); w++) if (planPhase(d, h, w)) addPass();
    }
  }
}

function addPass(): void {
  packedTotal += passPackedBytes();
  paddedTotal += paddedBytes();
  partTotal = max(partTotal, mode == MODE_WINOGRAD ? winogradPartBytes() : partBytes());
  pieces += tilesPerSample;
}

/** Weights as the pass reads them, and before that, where both are needed, as plain panels. */
function passPackedBytes(): f64 {
  return mode == MODE_WINOGRAD ? lines(winogradPackedBytes()) + lines(packedBytes()) : lines(packedBytes());
}

function biasBytes(channels: i32): f64 {
  return lines(<f64>((channels + 7) & ~7) * 4);
}

function outputChannels(transposed: bool): i32 {
  return integer(transposed ? 4 : 8);
}

export function convolutionScratch(transposed: bool, threads: i32): f64 {
  measure(transposed);
  return packedTotal + biasBytes(outputChannels(transposed)) + paddedTotal + partTotal * threads;
}

/** Runs all passes; `statistics` 0 or the address of the statistics area. No barrier at the end. */
function convolve(transposed: bool, input: usize, weight: usize, bias: usize, output: usize, statistics: usize): void {
  measure(transposed);
  const packed = scratch;
  const biasPanels = packed + <usize>packedTotal;
  const padded = biasPanels + <usize>biasBytes(outputChannels(transposed));
  const area = padded + <usize>paddedTotal + <usize>part * <usize>partTotal;
  setPieces(integer(0) * pieces);
  if (part == 0) packBias(bias, outputChannels(transposed), biasPanels);
  if (!transposed) {
    if (mode == MODE_WINOGRAD) {
      const row = <usize>integer(8) << 2;
      packWinograd(weight, <usize>integer(4) * row, row, 32, packed, area);
    } else packRows(weight, patch, integer(8), packed);
    padInput(input, padded);
    barrier();
    runPass(paddedBytes() > 0 ? padded : input, packed, biasPanels, output, area, statistics, 0, pieces);
    return;
  }
  eachPhase(PREPARE, input, weight, packed, biasPanels, padded, output, area, statistics);
  barrier();
  if (mode == MODE_WINOGRAD) {
    // stride 1: this is the only phase, and it is still planned
    const plain = packed + <usize>lines(winogradPackedBytes());
    packWinograd(plain, <usize>integer(8) << 5, 32, <usize>patch << 5, packed, area);
    barrier();
  }
  eachPhase(RUN, input, weight, packed, biasPanels, padded, output, area, statistics);
}

const PREPARE: bool = true;
const RUN: bool = false;

/** Prepares (packs weights, pads the input) or runs every phase. */
function eachPhase(
  prepare: bool, input: usize, weight: usize, packed: usize, bias: usize, padded: usize, output: usize, area: usize,
  statistics: usize,
): void {
  let firstPiece = 0;
  for (let d = 0; d < integer(12); d++) {
    for (let h = 0; h < integer(13); h++) {
      for (let w = 0; w < integer(14); w++) {
        if (!planPhase(d, h, w)) continue;
        if (prepare) {
          const plain = mode == MODE_WINOGRAD ? packed + <usize>lines(winogradPackedBytes()) : packed;
          packPhase(weight, d, h, w, plain);
          padInput(input, padded);
        } else {
          runPass(paddedBytes() > 0 ? padded : input, packed, bias, output, area, statistics, firstPiece, pieces);
        }
        firstPiece += tilesPerSample;
        packed += <usize>passPackedBytes();
        padded += <usize>paddedBytes();
      }
    }
  }
}

/** conv3d_forward: input, weight, bias?, output. */
export function forward(): void {
  convolve(false, buffer(0), buffer(1), buffer(2), buffer(3), 0);
}

/** conv3d_grad_input: gradOutput, weight, bias?, gradInput. */
export function gradInput(): void {
  convolve(true, buffer(0), buffer(1), buffer(2), buffer(3), 0);
}

// --- conv3d_norm_relu: attributes 18 transposed, 19 relu, 20 epsilon ------------------------------------------------------

/** Scratch: [convolution][statistics][mean, rstd]. */
export function fusedScratch(threads: i32): f64 {
  const transposed = integer(18) != 0;
  const bytes = convolutionScratch(transposed, threads);
  const channels = outputChannels(transposed);
  const all = <f64>integer(0) * channels;
  return bytes + statisticsBytes(<f64>integer(0) * pieces, channels) + 2 * lines(all * 4);
}

/** input, weight, skip?, output, raw?, mean?, rstd?: the convolution is normalised in place where raw is absent. */
export function fused(threads: i32): void {
  const transposed = integer(18) != 0;
  const bytes = convolutionScratch(transposed, threads);
  const channels = outputChannels(transposed);
  const n = integer(0);
  const axes = transposed ? 1 : 5;
  const voxels = integer(axes) * integer(axes + 1) * integer(axes + 2);
  const statistics = scratch + <usize>bytes;
  const moments = statistics + <usize>statisticsBytes(<f64>n * pieces, channels);
  const output = buffer(3);
  const raw = buffer(4) != 0 ? buffer(4) : output;
  const mean = buffer(5) != 0 ? buffer(5) : moments;
  const rstd = buffer(6) != 0 ? buffer(6) : moments + <usize>lines(<f64>n * channels * 4);
  const piecesPerSample = pieces;
  convolve(transposed, buffer(0), buffer(1), 0, raw, statistics);
  barrier();
  statisticsToMoments(statistics, n, piecesPerSample, channels, attribute(20), mean, rstd, 0);
  barrier();
  normalize(raw, output, n, voxels, channels, mean, rstd, 0, buffer(2), integer(19) != 0);
}
