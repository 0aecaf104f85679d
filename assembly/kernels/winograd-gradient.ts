// Gradient of the weights of a 3 x 3 x 3 convolution with unit stride by minimal filtering (winograd-transforms.ts): the sum
// over voxels becomes 64 sums over blocks of outer products of transformed inputs and transformed gradients,
//   sums[t][panel][channel][8] = sum over blocks of inputs[t][block][channel] * gradients[t][block][8].
// Items and segments as in grad-weight.ts: the result does not depend on the threads.

import { barrier, endItem, firstItem, part, scratch } from './call';
import {
  channels, groups, locateTile, outChannels, outOrigin, outStepSample, panels, panelsPerGroup, samples, setPanelsPerGroup,
  tilesPerSample,
} from './geometry';
import { outerBlock } from './micro';
import {
  bindTile, fillOutputs, inputStep, prepareTile, productStep, tileBlockCount, tileInputs, tileProducts, tileWork,
  winogradPartBytes,
} from './winograd';
import { gatherTaps, transformGradient } from './winograd-transforms';

const SUMS_LIMIT: f64 = 8388608;
const MOST_SEGMENTS: i32 = 16;
const ITEMS: i32 = 16;

let segments: i32 = 0;
/** Bytes of a segment's sums. */
let sumsBytes: usize = 0;

/** Bytes between panels, and between values t: a line more than their size, for the sake of the cache's sets. */
function panelStep(): usize {
  return (<usize>channels << 5) + 64;
}
function sumsStep(): usize {
  return <usize>panels * panelStep() + 64;
}

function cut(): void {
  sumsBytes = sumsStep() << 6;
  const tiles = samples * tilesPerSample;
  segments = <i32>max(1, min(<f64>min(MOST_SEGMENTS, tiles), SUMS_LIMIT / <f64>sumsBytes));
  setPanelsPerGroup(max(1, (panels * segments) / ITEMS));
}

/** Scratch for the pass that is planned: [sums of all segments][one area per part]. */
export function filteredGradientScratch(parts: i32): f64 {
  cut();
  return <f64>sumsBytes * segments + winogradPartBytes() * parts;
}

/** gradWeight of the pass that is planned (setInput: the input, setOutput: gradOutput); one barrier inside. */
export function filteredGradient(input: usize, gradOutput: usize, gradWeight: usize): void {
  cut();
  bindTile(scratch + <usize>(<f64>sumsBytes * segments) + <usize>part * <usize>winogradPartBytes());
  const total = <usize>(segments * groups);
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const segment = <i32>(item % <usize>segments);
    const first = <i32>(item / <usize>segments) * panelsPerGroup;
    sumSegment(input, gradOutput, segment, first, min(panels, first + panelsPerGroup));
  }
  barrier();
  gatherSums(gradWeight);
}

/** Address of the sums of (t, panel) of a segment: [channel][8]. */
function sumsOf(segment: i32, t: usize, panel: i32): usize {
  return scratch + <usize>segment * sumsBytes + t * sumsStep() + <usize>panel * panelStep();
}

function sumSegment(input: usize, gradOutput: usize, segment: i32, first: i32, last: i32): void {
  const tiles = samples * tilesPerSample;
  const to = <i32>((<i64>tiles * (segment + 1)) / segments);
  const from = <i32>((<i64>tiles * segment) / segments);
  for (let tile = from; tile < to; tile++) {
    const sample = tile / tilesPerSample;
    locateTile(tile % tilesPerSample);
    prepareTile(input, sample);
    const blocks = tileBlockCount();
    const source = gradOutput + outOrigin + <usize>sample * outStepSample + (<usize>first << 5);
    transformGradients(source, blocks, <usize>(last - first) << 5);
    addTile(segment, blocks, first, last, tile == from);
  }
}

/** gradients[t][block][channels of the group], among the tile's products. */
function transformGradients(source: usize, blocks: i32, bytes: usize): void {
  for (let block = 0; block < blocks; block++) {
    const addresses = fillOutputs(block, source, false);
    const target = tileProducts() + <usize>block * bytes;
    for (let c: usize = 0; c < bytes; c += 16) transformGradient(addresses, c, target + c, productStep(), tileWork());
  }
}

function addTile(segment: i32, blocks: i32, first: i32, last: i32, fresh: bool): void {
  const step = <usize>channels << 2;
  const vectorStep = <usize>(last - first) << 5;
  for (let t: usize = 0; t < 64; t++) {
    const from = tileInputs() + t * inputStep();
    const gradients = tileProducts() + t * productStep();
    for (let panel = first; panel < last; panel++) {
      const vectors = gradients + (<usize>(panel - first) << 5);
      let sums = sumsOf(segment, t, panel);
      for (let c: usize = 0; c < step; c += 16) {
        const p = from + c;
        outerBlock(p, p + 4, p + 8, p + 12, step, 0, 1, blocks, vectors, vectorStep, sums, 32, fresh);
        sums += 128;
      }
    }
  }
}

/** Adds the segments in order and transforms back: this part's share of the (panel, channel) pairs. */
function gatherSums(gradWeight: usize): void {
  const tapStep = <usize>channels * (<usize>outChannels << 2);
  const total = <usize>panels * <usize>channels;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const panel = <i32>(item % <usize>panels);
    const channel = item / <usize>panels;
    const target = gradWeight + channel * (<usize>outChannels << 2) + (<usize>panel << 5);
    for (let half: usize = 0; half < 32; half += 16) {
      for (let t: usize = 0; t < 64; t++) {
        let sum = v128.load(sumsOf(0, t, panel) + (channel << 5) + half);
        for (let s = 1; s < segments; s++) sum = f32x4.add(sum, v128.load(sumsOf(s, t, panel) + (channel << 5) + half));
        v128.store(tileWork() + (t << 4), sum);
      }
      gatherTaps(tileWork(), target + half, tapStep);
    }
  }
}
