// conv3d_forward and conv3d_grad_input (= transposed convolution) as passes of the engine, and conv3d_norm_relu.

import { attribute, barrier, buffer, bufferOr, endItem, firstItem, integer, lines, part, scratch } from './call';
import { padInput } from './direct';
import {
  mode, MODE_WINOGRAD, packedBytes, paddedBytes, partBytes, patch, planTiles, setGrid, setInput, setKernel, setOutput, setPad,
  setStride, tilesPerSample,
} from './geometry';
import { normalize, statisticsToMoments } from './moments';
import { packBias, packRows, packTransposed } from './pack';
import { runPass } from './pass';
import {
  CONV3D_FORWARD_BUFFER_BIAS, CONV3D_FORWARD_BUFFER_INPUT, CONV3D_FORWARD_BUFFER_OUTPUT, CONV3D_FORWARD_BUFFER_WEIGHT,
  CONV3D_GRAD_INPUT_BUFFER_BIAS, CONV3D_GRAD_INPUT_BUFFER_GRAD_INPUT, CONV3D_GRAD_INPUT_BUFFER_GRAD_OUTPUT,
  CONV3D_GRAD_INPUT_BUFFER_WEIGHT, CONV3D_NORM_RELU_BUFFER_INPUT, CONV3D_NORM_RELU_BUFFER_MEAN,
  CONV3D_NORM_RELU_BUFFER_OUTPUT, CONV3D_NORM_RELU_BUFFER_RAW, CONV3D_NORM_RELU_BUFFER_RSTD, CONV3D_NORM_RELU_BUFFER_SKIP,
  CONV3D_NORM_RELU_BUFFER_WEIGHT, CONV3D_NORM_RELU_EPSILON, CONV3D_NORM_RELU_RELU, CONV3D_NORM_RELU_TRANSPOSED,
  CONVOLUTION_IN_C, CONVOLUTION_IN_D, CONVOLUTION_IN_H, CONVOLUTION_IN_W, CONVOLUTION_K_D, CONVOLUTION_K_H, CONVOLUTION_K_W,
  CONVOLUTION_N, CONVOLUTION_OUT_C, CONVOLUTION_OUT_D, CONVOLUTION_OUT_H, CONVOLUTION_OUT_W, CONVOLUTION_PAD_D,
  CONVOLUTION_PAD_H, CONVOLUTION_PAD_W, CONVOLUTION_S_D, CONVOLUTION_S_H, CONVOLUTION_S_W,
} from './table';
import { setPieces, statisticsBytes } from './tile-statistics';
import { packWinograd, winogradPackedBytes, winogradPartBytes } from './winograd';

/** Whether any tap of the planned pass can lie inside the tensor: else the weights are not read. */
let hasTaps: bool = true;

/** Plans the forward convolution of the call. */
export function planForward(): void {
  hasTaps = true;
  setInput(
    integer(CONVOLUTION_N), integer(CONVOLUTION_IN_D), integer(CONVOLUTION_IN_H), integer(CONVOLUTION_IN_W),
    integer(CONVOLUTION_IN_C),
  );
  setKernel(
    integer(CONVOLUTION_K_D), integer(CONVOLUTION_K_H), integer(CONVOLUTION_K_W), integer(CONVOLUTION_OUT_C),
  );
  setStride(integer(CONVOLUTION_S_D), integer(CONVOLUTION_S_H), integer(CONVOLUTION_S_W));
  setPad(integer(CONVOLUTION_PAD_D), integer(CONVOLUTION_PAD_H), integer(CONVOLUTION_PAD_W));
  const depth = integer(CONVOLUTION_OUT_D);
  const height = integer(CONVOLUTION_OUT_H);
  const width = integer(CONVOLUTION_OUT_W);
  setGrid(depth, height, width);
  setOutput(depth, height, width, 0, 0, 0, 1, 1, 1);
  planTiles();
}

// Grad-input with stride s falls into s^3 phases: input voxels i = phase + s * q. Along one axis, gradInput[i] takes
// gradOutput[o] * weight[k] with o * s + k - pad = i. With r = (phase + pad) mod s these are k = r + s * t and
// o = q + (phase + pad - r) / s - t: a convolution of gradOutput with the taps of the phase in reverse order, stride 1.

//
// Where the stride is larger than the kernel, phases without taps lie between those with taps, and each is filled with the
// bias alone. Where they are many, what is filled is cut by windows in their place: gap j, written as phase -1 - j, is all
// voxels behind window j. So the number of passes does not grow with the stride.

/** Phases with taps among the first and among the last ones of an axis whose stride is larger than its kernel. */
function firstPhases(axis: i32): i32 {
  return min(integer(CONVOLUTION_IN_D + axis), integer(CONVOLUTION_K_D + axis) - integer(CONVOLUTION_PAD_D + axis));
}
function lastPhases(axis: i32): i32 {
  const stride = integer(CONVOLUTION_S_D + axis);
  return max(0, min(stride, integer(CONVOLUTION_IN_D + axis)) - (stride - integer(CONVOLUTION_PAD_D + axis)));
}

/** Windows along an axis with voxels behind them that no window covers. */
function gaps(axis: i32): i32 {
  const stride = integer(CONVOLUTION_S_D + axis);
  const behind = integer(CONVOLUTION_IN_D + axis) + integer(CONVOLUTION_PAD_D + axis) - integer(CONVOLUTION_K_D + axis);
  return behind > 0 ? (behind + stride - 1) / stride : 0;
}

/** Whether it takes fewer passes to fill gaps. */
function fillsGaps(axis: i32): bool {
  const stride = integer(CONVOLUTION_S_D + axis);
  if (stride <= integer(CONVOLUTION_K_D + axis)) return false;
  return min(stride, integer(CONVOLUTION_IN_D + axis)) - firstPhases(axis) - lastPhases(axis) > gaps(axis);
}

/** Number of passes along axis a (0 = depth), and the phase or gap that pass i is. */
function phases(axis: i32): i32 {
  if (fillsGaps(axis)) return firstPhases(axis) + lastPhases(axis) + gaps(axis);
  return min(integer(CONVOLUTION_S_D + axis), integer(CONVOLUTION_IN_D + axis));
}
function phaseOf(axis: i32, i: i32): i32 {
  if (!fillsGaps(axis)) return i;
  const first = firstPhases(axis);
  if (i < first) return i;
  const last = lastPhases(axis);
  if (i < first + last) return integer(CONVOLUTION_S_D + axis) - integer(CONVOLUTION_PAD_D + axis) + i - first;
  return first + last - i - 1;
}

/** Where the voxels of a phase or gap begin, how far they stand apart, and how many they are. */
function phaseBegin(axis: i32, phase: i32): i32 {
  if (phase >= 0) return phase;
  return (-1 - phase) * integer(CONVOLUTION_S_D + axis) + integer(CONVOLUTION_K_D + axis) - integer(CONVOLUTION_PAD_D + axis);
}
function phaseStep(axis: i32, phase: i32): i32 {
  return phase < 0 ? 1 : integer(CONVOLUTION_S_D + axis);
}
function phaseGrid(axis: i32, phase: i32): i32 {
  const stride = integer(CONVOLUTION_S_D + axis);
  const behind = integer(CONVOLUTION_IN_D + axis) - phaseBegin(axis, phase);
  return phase < 0 ? min(behind, stride - integer(CONVOLUTION_K_D + axis)) : (behind + stride - 1) / stride;
}

/** Taps of a phase, and the pad of its convolution. */
function phaseTaps(axis: i32, phase: i32): i32 {
  if (phase < 0) return 0;
  const stride = integer(CONVOLUTION_S_D + axis);
  const rest = (phase + integer(CONVOLUTION_PAD_D + axis)) % stride;
  const kernel = integer(CONVOLUTION_K_D + axis);
  return rest < kernel ? (kernel - rest + stride - 1) / stride : 0;
}

function phasePad(axis: i32, phase: i32): i32 {
  const shifted = phase + integer(CONVOLUTION_PAD_D + axis);
  const stride = integer(CONVOLUTION_S_D + axis);
  return phaseTaps(axis, phase) - 1 - shifted / stride;
}

/** Plans a phase. One without taps keeps a single tap that lies outside the tensor. */
function planPhase(d: i32, h: i32, w: i32): void {
  const gridD = phaseGrid(0, d);
  const gridH = phaseGrid(1, h);
  const gridW = phaseGrid(2, w);
  const tapsD = phaseTaps(0, d);
  const tapsH = phaseTaps(1, h);
  const tapsW = phaseTaps(2, w);
  hasTaps = tapsD != 0 && tapsH != 0 && tapsW != 0;
  setInput(
    integer(CONVOLUTION_N), integer(CONVOLUTION_OUT_D), integer(CONVOLUTION_OUT_H), integer(CONVOLUTION_OUT_W),
    hasTaps ? integer(CONVOLUTION_OUT_C) : 1,
  );
  setStride(1, 1, 1);
  if (!hasTaps) {
    setKernel(1, 1, 1, integer(CONVOLUTION_IN_C));
    setPad(gridD, 0, 0);
  } else {
    setKernel(tapsD, tapsH, tapsW, integer(CONVOLUTION_IN_C));
    setPad(phasePad(0, d), phasePad(1, h), phasePad(2, w));
  }
  setGrid(gridD, gridH, gridW);
  setOutput(
    integer(CONVOLUTION_IN_D), integer(CONVOLUTION_IN_H), integer(CONVOLUTION_IN_W),
    phaseBegin(0, d), phaseBegin(1, h), phaseBegin(2, w), phaseStep(0, d), phaseStep(1, h), phaseStep(2, w),
  );
  planTiles();
}

/** Packs this part's share of a phase's weights: reversed taps, [panel of inC][tap][outC][8]. */
function packPhase(weight: usize, d: i32, h: i32, w: i32, packed: usize): void {
  const tapsD = phaseTaps(0, d);
  const tapsH = phaseTaps(1, h);
  const tapsW = phaseTaps(2, w);
  const inC = integer(CONVOLUTION_IN_C);
  const outC = integer(CONVOLUTION_OUT_C);
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
    const kernelVoxel = (kD * integer(CONVOLUTION_K_H) + kH) * integer(CONVOLUTION_K_W) + kW;
    const source = weight + <usize>kernelVoxel * <usize>inC * rowBytes;
    packTransposed(
      source, rowBytes, inC, outC, packed + ((<usize>tap * <usize>outC) << 5), <usize>patch << 5, panel, panel + 1,
    );
  }
}

function tapOf(axis: i32, phase: i32, t: i32): i32 {
  const stride = integer(CONVOLUTION_S_D + axis);
  return ((phase + integer(CONVOLUTION_PAD_D + axis)) % stride) + stride * t;
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
  for (let d = 0; d < phases(0); d++) {
    for (let h = 0; h < phases(1); h++) {
      for (let w = 0; w < phases(2); w++) {
        planPhase(phaseOf(0, d), phaseOf(1, h), phaseOf(2, w));
        addPass();
      }
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
  if (!hasTaps) return 0;
  return mode == MODE_WINOGRAD ? lines(winogradPackedBytes()) + lines(packedBytes()) : lines(packedBytes());
}

function biasBytes(channels: i32): f64 {
  return lines(<f64>((channels + 7) & ~7) * 4);
}

function outputChannels(transposed: bool): i32 {
  return integer(transposed ? CONVOLUTION_IN_C : CONVOLUTION_OUT_C);
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
  setPieces(integer(CONVOLUTION_N) * pieces);
  if (part == 0) packBias(bias, outputChannels(transposed), biasPanels);
  if (!transposed) {
    if (mode == MODE_WINOGRAD) {
      const row = <usize>integer(CONVOLUTION_OUT_C) << 2;
      packWinograd(weight, <usize>integer(CONVOLUTION_IN_C) * row, row, 32, packed, area);
    } else packRows(weight, patch, integer(CONVOLUTION_OUT_C), packed);
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
    packWinograd(plain, <usize>integer(CONVOLUTION_OUT_C) << 5, 32, <usize>patch << 5, packed, area);
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
  for (let d = 0; d < phases(0); d++) {
    for (let h = 0; h < phases(1); h++) {
      for (let w = 0; w < phases(2); w++) {
        planPhase(phaseOf(0, d), phaseOf(1, h), phaseOf(2, w));
        if (prepare) {
          const plain = mode == MODE_WINOGRAD ? packed + <usize>lines(winogradPackedBytes()) : packed;
          packPhase(weight, phaseOf(0, d), phaseOf(1, h), phaseOf(2, w), plain);
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

/** conv3d_forward. */
export function forward(): void {
  convolve(
    false, buffer(CONV3D_FORWARD_BUFFER_INPUT), buffer(CONV3D_FORWARD_BUFFER_WEIGHT), buffer(CONV3D_FORWARD_BUFFER_BIAS),
    buffer(CONV3D_FORWARD_BUFFER_OUTPUT), 0,
  );
}

/** conv3d_grad_input. */
export function gradInput(): void {
  convolve(
    true, buffer(CONV3D_GRAD_INPUT_BUFFER_GRAD_OUTPUT), buffer(CONV3D_GRAD_INPUT_BUFFER_WEIGHT),
    buffer(CONV3D_GRAD_INPUT_BUFFER_BIAS), buffer(CONV3D_GRAD_INPUT_BUFFER_GRAD_INPUT), 0,
  );
}

// --- conv3d_norm_relu --------------------------------------------------------------------------------------------------------

/** Scratch: [convolution][statistics][mean, rstd]. */
export function fusedScratch(threads: i32): f64 {
  const transposed = integer(CONV3D_NORM_RELU_TRANSPOSED) != 0;
  const bytes = convolutionScratch(transposed, threads);
  const channels = outputChannels(transposed);
  const all = <f64>integer(CONVOLUTION_N) * channels;
  return bytes + statisticsBytes(<f64>integer(CONVOLUTION_N) * pieces, channels) + 2 * lines(all * 4);
}

/** The convolution is normalised in place where the buffer raw is absent. */
export function fused(threads: i32): void {
  const transposed = integer(CONV3D_NORM_RELU_TRANSPOSED) != 0;
  const bytes = convolutionScratch(transposed, threads);
  const channels = outputChannels(transposed);
  const n = integer(CONVOLUTION_N);
  const axes = transposed ? CONVOLUTION_IN_D : CONVOLUTION_OUT_D;
  const voxels = integer(axes) * integer(axes + 1) * integer(axes + 2);
  const statistics = scratch + <usize>bytes;
  const moments = statistics + <usize>statisticsBytes(<f64>n * pieces, channels);
  const input = buffer(CONV3D_NORM_RELU_BUFFER_INPUT);
  const weight = buffer(CONV3D_NORM_RELU_BUFFER_WEIGHT);
  const skip = buffer(CONV3D_NORM_RELU_BUFFER_SKIP);
  const output = buffer(CONV3D_NORM_RELU_BUFFER_OUTPUT);
  const raw = bufferOr(CONV3D_NORM_RELU_BUFFER_RAW, output);
  const mean = bufferOr(CONV3D_NORM_RELU_BUFFER_MEAN, moments);
  const rstd = bufferOr(CONV3D_NORM_RELU_BUFFER_RSTD, moments + <usize>lines(<f64>n * channels * 4));
  const piecesPerSample = pieces;
  convolve(transposed, input, weight, 0, raw, statistics);
  barrier();
  statisticsToMoments(statistics, n, piecesPerSample, channels, attribute(CONV3D_NORM_RELU_EPSILON), mean, rstd, 0);
  barrier();
  normalize(raw, output, n, voxels, channels, mean, rstd, 0, skip, integer(CONV3D_NORM_RELU_RELU) != 0);
}
