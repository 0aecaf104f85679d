import type { Plan } from '../config/plan.js';
import { dynamicHeadParameterCount } from '../tfjs/ops/index.js';

/** Everything that decides the shapes of a network. */
export interface NetworkConfig {
  /** Channels at full resolution; doubled at every level. */
  readonly baseWidth: number;
  /** Number of resolutions, >= 2. */
  readonly levels: number;
  /** Convolutions per level, full resolution first; the decoder mirrors them. */
  readonly convolutions: readonly number[];
  /** Channels of the dynamic head. */
  readonly headWidth: number;
  /** A skip connection at full resolution. Absent: none, as in the paper. */
  readonly fullResolutionSkip?: boolean;
  /** Convolutions of the decoder at full resolution, as many as the encoder has there. Absent: none, as in the paper. */
  readonly fullResolutionBlock?: boolean;
  /** Number of real tasks K; prompt K stands for the synthetic task "any foreground". */
  readonly tasks: number;
  /** Name of the network in the table of `layers.ts`. Absent: that of versemi. */
  readonly architecture?: string | undefined;
}

/** The settings of the network of a plan. */
export function networkConfig(plan: Pick<Plan, 'network' | 'tasks'>): NetworkConfig {
  return { ...plan.network, tasks: plan.tasks.length };
}

/** Channels at a level (0 = full resolution). */
export function levelWidth({ baseWidth }: NetworkConfig, level: number): number {
  return baseWidth * 2 ** level;
}

/** How a parameter begins: all ones, all zeros, or uniform in [-1/sqrt(fanIn), 1/sqrt(fanIn)). */
export type Initialization = { readonly fanIn: number } | 'ones' | 'zeros';

/** Name, shape and initial values of one parameter. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initialization: Initialization;
}

/** The convolution with its bias; `fanIn` counts the inputs of one output, as PyTorch does. */
function convolution(name: string, side: number, inputs: number, outputs: number): ParameterSpec[] {
  const fanIn = side ** 3 * inputs;
  return [
    { name: `${name}.weight`, shape: [side, side, side, inputs, outputs], initialization: { fanIn } },
    { name: `${name}.bias`, shape: [outputs], initialization: { fanIn } },
  ];
}

/**
 * The transposed convolution. Its weight is that of the convolution which it transposes, [k, k, k, fine, coarse]; PyTorch
 * takes side^3 * fine for its fan-in, although every output voxel has only `coarse` inputs: kept, to begin as the paper's.
 */
function transposedConvolution(name: string, side: number, coarse: number, fine: number): ParameterSpec[] {
  const fanIn = side ** 3 * fine;
  return [
    { name: `${name}.weight`, shape: [side, side, side, fine, coarse], initialization: { fanIn } },
    { name: `${name}.bias`, shape: [fine], initialization: { fanIn } },
  ];
}

function batchNorm(name: string, channels: number): ParameterSpec[] {
  return [
    { name: `${name}.gamma`, shape: [channels], initialization: 'ones' },
    { name: `${name}.beta`, shape: [channels], initialization: 'zeros' },
  ];
}

/** All trained parameters of versemi's network, in the order of the forward pass; this order is part of the model file and of the seed. */
export function versemiParameters(config: NetworkConfig): ParameterSpec[] {
  const { levels, headWidth, tasks, fullResolutionBlock = false } = config;
  const width = (level: number) => levelWidth(config, level);
  const specs: ParameterSpec[] = [];
  const block = (name: string, level: number, firstInputs: number) => {
    for (let i = 0; i < config.convolutions[level]!; i++)
      specs.push(...convolution(`${name}.${level}.${i}`, 3, i === 0 ? firstInputs : width(level), width(level)));
  };
  for (let level = 0; level < levels; level++) {
    if (level > 0) specs.push(...convolution(`down.${level - 1}`, 2, width(level - 1), width(level)));
    block('encoder', level, level === 0 ? 1 : width(level));
  }
  for (let level = levels - 2; level >= 0; level--) {
    specs.push(...transposedConvolution(`up.${level}`, 2, width(level + 1), width(level)));
    if (level > 0 || fullResolutionBlock) block('decoder', level, width(level));
  }
  const bottleneck = width(levels - 1);
  const generated = dynamicHeadParameterCount(headWidth);
  // One 1x1x1 convolution on concat(pooled bottleneck, one-hot prompt), stored as its two parts: the first is shared by
  // all prompts of an image.
  // Each part begins by its own number of inputs. If both began by the sum of these numbers (261 at the paper's setting), the
  // prompt would weigh so little at first that the network learns for a long time to ignore it (NOTES.md in this folder).
  specs.push(
    ...batchNorm('gap', bottleneck),
    { name: 'controller.weight', shape: [bottleneck, generated], initialization: { fanIn: bottleneck } },
    { name: 'controller.prompt', shape: [tasks + 1, generated], initialization: { fanIn: tasks + 1 } },
    { name: 'controller.bias', shape: [generated], initialization: { fanIn: bottleneck } },
    ...batchNorm('prehead', width(0)),
    ...convolution('prehead', 1, width(0), headWidth),
  );
  return specs;
}

/** Moving statistics of the two batch normalisations: part of the model, but not trained by gradients. */
export function versemiBuffers(config: NetworkConfig): ParameterSpec[] {
  return [['gap', levelWidth(config, config.levels - 1)] as const, ['prehead', levelWidth(config, 0)] as const].flatMap(
    ([name, channels]): ParameterSpec[] => [
      { name: `${name}.movingMean`, shape: [channels], initialization: 'zeros' },
      { name: `${name}.movingVariance`, shape: [channels], initialization: 'ones' },
    ],
  );
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
