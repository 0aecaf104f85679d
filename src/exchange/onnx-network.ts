/**
 * The promptable network (src/model) as a graph of ONNX operators: the trunk, the controller, and the heads of all prompts as batched
 * matrix products. Batch and spatial sizes may differ from run to run.
 */

import { levelWidth, type NetworkConfig } from '../model/layers.js';
import type { NamedValues } from '../model/network.js';
import { OnnxGraph, type OnnxModel, type Tensor } from './onnx-graph.js';
import { toChannelsFirst } from './pytorch-layout.js';

export interface OnnxNetworkOptions {
  /** Prompts that the graph answers, in this order; `input`: the graph has an input for their codes. */
  readonly prompts: readonly number[] | 'input';
  /** Of weights and convolutions. Normalisations, pooling and controller are computed in float32 either way. */
  readonly dtype: 'float32' | 'float16';
  /**
   * Transposed convolutions as 1x1x1 convolutions whose channels are then laid out in space, since the WebGPU provider of
   * onnxruntime-web has no transposed convolution in 3-D. The numbers are the same.
   */
  readonly withoutTransposed: boolean;
}

export interface OnnxNetwork {
  readonly graph: OnnxGraph;
  /** Probabilities [batch, prompts, depth, height, width], float32. */
  readonly probabilities: Tensor;
}

/** Names of the inputs and the output of the graph. */
export const onnxNames = { image: 'image', prompts: 'prompts', probabilities: 'probabilities' } as const;

/** As in the kernels of the trunk and of the batch normalisations. */
const epsilon = 1e-5;

/** The convolution that is transposed halves the size of what it transposes. */
const stride = 2;

/** Attributes of a convolution. All are written down: some runtimes take no defaults in 3-D. */
function kernelAttributes(side: number, step: number) {
  const pad = side === 3 ? 1 : 0;
  return {
    kernel_shape: [side, side, side],
    strides: [step, step, step],
    dilations: [1, 1, 1],
    pads: [pad, pad, pad, pad, pad, pad],
  };
}

class NetworkWriter {
  readonly graph = new OnnxGraph();

  constructor(
    private readonly config: NetworkConfig,
    private readonly values: NamedValues,
    private readonly options: OnnxNetworkOptions,
  ) {}

  private value(name: string): Float32Array {
    return this.values.get(name)!;
  }

  private toWorking(x: Tensor): Tensor {
    return this.options.dtype === 'float32' ? x : this.graph.cast(x, this.options.dtype);
  }

  private toFloat32(x: Tensor): Tensor {
    return this.options.dtype === 'float32' ? x : this.graph.cast(x, 'float32');
  }

  /** Instance normalisation and ReLU. */
  private normRelu(x: Tensor, channels: number): Tensor {
    const ones = this.graph.constant('ones', [channels], new Float32Array(channels).fill(1));
    const zeros = this.graph.constant('zeros', [channels], new Float32Array(channels));
    const attributes = { epsilon: { float: epsilon } };
    const normalized = this.graph.node('InstanceNormalization', [this.toFloat32(x), ones, zeros], attributes);
    return this.graph.node('Relu', [this.toWorking(normalized)]);
  }

  /** A convolution; those before an instance normalisation need no bias, which the normalisation would subtract again. */
  private convolution(x: Tensor, name: string, side: number, from: number, to: number, step = 1, bias = false): Tensor {
    const { graph, options } = this;
    const weight = toChannelsFirst(this.value(`${name}.weight`), [side, side, side, from, to]);
    const inputs = [x, graph.constant(`${name}.weight`, [to, from, side, side, side], weight, options.dtype)];
    if (bias) inputs.push(graph.constant(`${name}.bias`, [to], this.value(`${name}.bias`), options.dtype));
    return graph.node('Conv', inputs, kernelAttributes(side, step));
  }

  private block(x: Tensor, name: string, level: number, firstInputs: number): Tensor {
    const channels = levelWidth(this.config, level);
    for (let i = 0; i < this.config.convolutions[level]!; i++)
      x = this.normRelu(this.convolution(x, `${name}.${i}`, 3, i === 0 ? firstInputs : channels, channels), channels);
    return x;
  }

  /** Doubles the size: [n, coarse, d, h, w] -> [n, fine, 2d, 2h, 2w]. */
  private up(x: Tensor, name: string, coarse: number, fine: number): Tensor {
    const { graph, options } = this;
    // [coarse, fine, 2, 2, 2]
    const weight = toChannelsFirst(this.value(`${name}.weight`), [stride, stride, stride, fine, coarse]);
    if (!options.withoutTransposed) {
      const shape = [coarse, fine, stride, stride, stride];
      const inputs = [x, graph.constant(`${name}.weight`, shape, weight, options.dtype)];
      return graph.node('ConvTranspose', inputs, kernelAttributes(stride, stride));
    }
    // Every output voxel has one input voxel: row (fine, tap) of a 1x1x1 convolution is tap `tap` of output channel `fine`.
    const taps = stride ** 3;
    const rows = fine * taps;
    const matrix = Float32Array.from({ length: rows * coarse }, (_, i) => {
      const [row, column] = [Math.floor(i / coarse), i % coarse];
      return weight[column * rows + row]!;
    });
    const inputs = [x, graph.constant(`${name}.weight`, [rows, coarse, 1, 1, 1], matrix, options.dtype)];
    let y = graph.node('Conv', inputs, kernelAttributes(1, 1));
    // One axis after the other: runtimes on GPUs exchange the axes of tensors of few axes alone.
    for (const axis of [2, 1, 0]) y = this.spreadAxis(y, axis);
    return y;
  }

  /** [n, 2 c, spatial] -> [n, c, spatial], twice as long along an axis: the last factor of the channels moves into that axis. */
  private spreadAxis(x: Tensor, axis: number): Tensor {
    const { graph } = this;
    const one = graph.integers(1);
    const sizes = [0, 1, 2].map((i) => graph.sizes(x, 2 + i, 3 + i));
    const batch = graph.sizes(x, 0, 1);
    const before = graph.node('Concat', [one, ...sizes.slice(0, axis + 1)], { axis: 0 });
    const after = graph.node('Concat', [one, ...sizes.slice(axis + 1)], { axis: 0 });
    const product = (list: Tensor) => graph.node('ReduceProd', [list], { axes: [0], keepdims: 1 });
    const split = graph.node('Concat', [batch, graph.integers(-1, stride), product(before), product(after)], {
      axis: 0,
    });
    // [n, c, 2, what lies before and at the axis, what lies behind]
    const moved = graph.node('Transpose', [graph.node('Reshape', [x, split])], { perm: [0, 1, 3, 2, 4] });
    const doubled = sizes.map((size, i) => (i === axis ? graph.node('Mul', [size, graph.integers(stride)]) : size));
    return graph.node('Reshape', [moved, graph.node('Concat', [batch, graph.integers(-1), ...doubled], { axis: 0 })]);
  }

  private trunk(image: Tensor): { features: Tensor; bottleneck: Tensor } {
    const { config, graph } = this;
    const { levels, fullResolutionSkip = false, fullResolutionBlock = false } = config;
    const width = (level: number) => levelWidth(config, level);
    const skips: Tensor[] = [];
    let x = image;
    for (let level = 0; level < levels; level++) {
      if (level > 0) {
        const name = `down.${level - 1}`;
        x = this.normRelu(this.convolution(x, name, 2, width(level - 1), width(level), stride), width(level));
      }
      x = this.block(x, `encoder.${level}`, level, level === 0 ? 1 : width(level));
      skips.push(x);
    }
    const bottleneck = x;
    for (let level = levels - 2; level >= 0; level--) {
      x = this.normRelu(this.up(x, `up.${level}`, width(level + 1), width(level)), width(level));
      if (level > 0 || fullResolutionSkip) x = graph.node('Add', [x, skips[level]!]);
      if (level > 0 || fullResolutionBlock) x = this.block(x, `decoder.${level}`, level, width(level));
    }
    return { features: x, bottleneck };
  }

  /** Batch normalisation by the moving statistics, and ReLU: a factor and a summand per channel. Float32. */
  private batchNormRelu(x: Tensor, name: string): Tensor {
    const { graph } = this;
    const [gamma, beta, mean, variance] = ['gamma', 'beta', 'movingMean', 'movingVariance'].map((part) =>
      this.value(`${name}.${part}`),
    ) as [Float32Array, Float32Array, Float32Array, Float32Array];
    const factor = gamma.map((value, i) => value / Math.sqrt(variance[i]! + epsilon));
    const summand = beta.map((value, i) => value - mean[i]! * factor[i]!);
    const shape = [1, gamma.length, 1, 1, 1];
    const scaled = graph.node('Mul', [this.toFloat32(x), graph.constant(`${name}.factor`, shape, factor)]);
    return graph.node('Relu', [graph.node('Add', [scaled, graph.constant(`${name}.summand`, shape, summand)])]);
  }

  /** Numbers that the heads need, [n, p, generated], float32: see `headParameters` of the network. */
  private headParameters(bottleneck: Tensor): Tensor {
    const { graph, config, options } = this;
    const channels = levelWidth(config, config.levels - 1);
    const bias = this.value('controller.bias');
    const prompts = this.value('controller.prompt');
    const generated = bias.length;
    const means = graph.node('ReduceMean', [this.batchNormRelu(bottleneck, 'gap')], { axes: [2, 3, 4], keepdims: 0 });
    const weight = graph.constant('controller.weight', [channels, generated], this.value('controller.weight'));
    const ofImage = graph.reshape(graph.node('MatMul', [means, weight]), 0, 1, generated);
    if (options.prompts === 'input') {
      const rows = graph.constant('controller.prompt', [config.tasks + 1, generated], prompts);
      const ofPrompt = graph.node('MatMul', [onnxNames.prompts, rows]);
      const both = graph.node('Add', [ofImage, ofPrompt]);
      return graph.node('Add', [both, graph.constant('controller.bias', [generated], bias)]);
    }
    const rows = options.prompts.flatMap((prompt) =>
      Array.from(bias, (value, i) => value + prompts[prompt * generated + i]!),
    );
    const shape = [1, options.prompts.length, generated];
    return graph.node('Add', [ofImage, graph.constant('controller.prompts', shape, Float32Array.from(rows))]);
  }

  network(): OnnxNetwork {
    const { graph, config } = this;
    const width = levelWidth(config, 0);
    const head = config.headWidth;
    const { features, bottleneck } = this.trunk(this.toWorking(onnxNames.image));
    const normalized = this.toWorking(this.batchNormRelu(features, 'prehead'));
    const shared = this.convolution(normalized, 'prehead', 1, width, head, 1, true);
    const rows = graph.node('Unsqueeze', [graph.reshape(shared, 0, head, -1), graph.integers(1)]);

    // Of the last layer only the difference of its two rows matters: its sigmoid is the softmax.
    // Two steps: a node on WebGPU has at most eight inputs and outputs together.
    const split = (from: Tensor, ...sizes: number[]) =>
      graph.nodeOutputs('Split', [from, graph.integers(...sizes)], { axis: 2 }, sizes.length);
    const [first, second, others] = split(this.headParameters(bottleneck), head * head, head * head, 4 * head + 2);
    const [background, foreground, ...biases] = split(others!, head, head, head, head, 1, 1);
    const layer = (x: Tensor, weight: Tensor, bias: Tensor, outputs: number) => {
      const matrix = this.toWorking(graph.reshape(weight, 0, 0, outputs, head));
      const offset = this.toWorking(graph.reshape(bias, 0, 0, outputs, 1));
      return graph.node('Add', [graph.node('MatMul', [matrix, x]), offset]);
    };
    let x = graph.node('Relu', [layer(rows, first!, biases[0]!, head)]);
    x = graph.node('Relu', [layer(x, second!, biases[1]!, head)]);
    const weight = graph.node('Sub', [foreground!, background!]);
    const logits = this.toFloat32(layer(x, weight, graph.node('Sub', [biases[3]!, biases[2]!]), 1));
    const shape = graph.node('Concat', [graph.sizes(logits, 0, 2), graph.sizes(shared, 2, 5)], { axis: 0 });
    return { graph, probabilities: graph.node('Sigmoid', [graph.node('Reshape', [logits, shape])]) };
  }
}

/**
 * @param values parameters and buffers by name
 * @returns the graph; its input `image` is [batch, 1, depth, height, width], float32, each axis divisible by 2^(levels - 1), and its
 *   input `prompts`, where it has one, [batch, prompts, tasks + 1], one-hot codes
 */
export function onnxNetwork(config: NetworkConfig, values: NamedValues, options: OnnxNetworkOptions): OnnxNetwork {
  return new NetworkWriter(config, values, options).network();
}

/** Inputs and outputs of a graph as its file lists them. */
export function onnxInterface(
  { probabilities }: OnnxNetwork,
  { tasks }: NetworkConfig,
  prompts: OnnxNetworkOptions['prompts'],
): Pick<OnnxModel, 'inputs' | 'outputs'> {
  const space = ['depth', 'height', 'width'];
  const image = { name: onnxNames.image, shape: ['batch', 1, ...space] };
  const codes = { name: onnxNames.prompts, shape: ['batch', 'prompts', tasks + 1] };
  const shape = ['batch', prompts === 'input' ? 'prompts' : prompts.length, ...space];
  return {
    inputs: prompts === 'input' ? [image, codes] : [image],
    outputs: [{ name: onnxNames.probabilities, shape, tensor: probabilities }],
  };
}
