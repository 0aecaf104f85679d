import {
  Conv3D,
  Conv3DBackpropFilterV2,
  Conv3DBackpropInputV2,
  dispose,
  engine,
  type Tensor,
  type Tensor5D,
} from '#tfjs';
import { levelWidth, type NetworkConfig } from '../model/layers.js';
import { conv3dNormRelu } from '../tfjs/index.js';
import type { Triple } from '../volume/volume.js';

type Shape5 = [number, number, number, number, number];

/** A convolution of the trunk, as many times as the network has it. A transposed one is described as what it computes. */
export interface LayerShape {
  /** As in pytorch_gpu.py: "conv3 32-32", "down 16-32", "up 32-16", "conv1 16-8". */
  readonly name: string;
  readonly count: number;
  readonly inputChannels: number;
  readonly outputChannels: number;
  /** Of the tensor that is read, voxels. */
  readonly edge: number;
  readonly kernel: number;
  readonly stride: number;
  readonly transposed: boolean;
}

/** Every different convolution of the network at a cubic patch. */
export function layerShapes(config: NetworkConfig, patch: number): LayerShape[] {
  const { levels, convolutions, headWidth, fullResolutionBlock = false } = config;
  const plain = { stride: 1, transposed: false };
  const shapes: LayerShape[] = [];
  for (let level = 0; level < levels; level++) {
    const edge = patch >> level;
    const width = levelWidth(config, level);
    const conv3 = { inputChannels: width, outputChannels: width, edge, kernel: 3, ...plain };
    if (level === 0) {
      shapes.push({ ...conv3, name: `conv3 1-${width}`, count: 1, inputChannels: 1 });
    } else {
      const finer = levelWidth(config, level - 1);
      const between = { count: 1, kernel: 2, stride: 2 };
      shapes.push({
        ...between,
        name: `down ${finer}-${width}`,
        inputChannels: finer,
        outputChannels: width,
        edge: 2 * edge,
        transposed: false,
      });
      shapes.push({
        ...between,
        name: `up ${width}-${finer}`,
        inputChannels: width,
        outputChannels: finer,
        edge,
        transposed: true,
      });
    }
    // The decoder has a block at every level but the finest and the coarsest.
    const decoded = level < levels - 1 && (level > 0 || fullResolutionBlock);
    const inDecoder = decoded ? convolutions[level]! : 0;
    const count = convolutions[level]! - (level === 0 ? 1 : 0) + inDecoder;
    if (count > 0) shapes.push({ ...conv3, name: `conv3 ${width}-${width}`, count });
  }
  const width = levelWidth(config, 0);
  shapes.push({
    name: `conv1 ${width}-${headWidth}`,
    count: 1,
    inputChannels: width,
    outputChannels: headWidth,
    edge: patch,
    kernel: 1,
    ...plain,
  });
  return shapes;
}

export type LayerDirection = 'forward' | 'grad-input' | 'grad-weight' | 'forward-norm-relu';

export const layerDirections: readonly LayerDirection[] = ['forward', 'grad-input', 'grad-weight', 'forward-norm-relu'];

/** What a direction must do at least, for a batch. */
export interface LayerWork {
  readonly flops: number;
  /** Each tensor of activations read or written once, weights once. */
  readonly bytes: number;
}

/**
 * @param elementBytes of an activation in memory: 2 for bfloat16, else 4
 */
export function layerWork(
  shape: LayerShape,
  direction: LayerDirection,
  batch: number,
  elementBytes: number,
): LayerWork {
  const { inputChannels, outputChannels, kernel, stride, transposed, edge } = shape;
  const outputEdge = transposed ? edge * stride : edge / stride;
  const input = batch * inputChannels * edge ** 3;
  const output = batch * outputChannels * outputEdge ** 3;
  const weights = kernel ** 3 * inputChannels * outputChannels;
  // Windows that touch (stride = kernel) are met once per voxel of the coarser side.
  const windows = transposed ? batch * edge ** 3 : batch * outputEdge ** 3;
  // The normalisation reads what the convolution wrote and writes it again.
  const passes = direction === 'forward-norm-relu' ? 3 : 1;
  return { flops: 2 * windows * weights, bytes: (input + passes * output) * elementBytes + 4 * weights };
}

/** Builds what is timed; one call of `run` starts one run. */
export function layerCase(
  shape: LayerShape,
  direction: LayerDirection,
  batch: number,
  random: (shape: Shape5) => Tensor5D,
): { run: () => void; dispose: () => void } {
  const { inputChannels, outputChannels, kernel, stride, transposed, edge } = shape;
  const outputEdge = transposed ? edge * stride : edge / stride;
  const read = random([batch, edge, edge, edge, inputChannels]);
  const written = random([batch, outputEdge, outputEdge, outputEdge, outputChannels]);
  const channels = transposed ? [outputChannels, inputChannels] : [inputChannels, outputChannels];
  const weight = random([kernel, kernel, kernel, ...channels] as Shape5);
  // The forward problem: a transposed convolution is the grad-input of the one from the finer to the coarser tensor.
  const [input, output] = transposed ? [written, read] : [read, written];
  const attributes = { strides: [stride, stride, stride], pad: 'same', dataFormat: 'NDHWC', dilations: [1, 1, 1] };
  const kernels: Record<LayerDirection, () => Tensor | Tensor[]> = {
    forward: () => (transposed ? gradInput() : forward()),
    'grad-input': () => (transposed ? forward() : gradInput()),
    'grad-weight': () =>
      engine().runKernel(
        Conv3DBackpropFilterV2,
        { x: input, dy: output } as never,
        {
          ...attributes,
          filterShape: weight.shape,
        } as never,
      ),
    'forward-norm-relu': () =>
      conv3dNormRelu(read, weight, null, { stride: [stride, stride, stride] as Triple, transposed }),
  };
  const forward = () =>
    engine().runKernel(Conv3D, { x: input, filter: weight } as never, attributes as never) as Tensor;
  const gradInput = () =>
    engine().runKernel(
      Conv3DBackpropInputV2,
      { dy: output, filter: weight } as never,
      {
        ...attributes,
        inputShape: input.shape,
      } as never,
    ) as Tensor;
  return { run: () => dispose(kernels[direction]()), dispose: () => dispose([read, written, weight]) };
}
