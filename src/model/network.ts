import * as tf from '#tfjs';
import { VersemiError } from '../errors.js';
import { batchNormRelu, copyInto, dynamicHead, recomputed } from '../tfjs/ops/index.js';
import {
  bufferSpecs,
  elementCount,
  initialValues,
  type NetworkConfig,
  type ParameterSpec,
  parameterSpecs,
} from './layers.js';
import { type TrunkOutput, vnet, type WeightSource } from './vnet.js';

/** Share of the newest batch in the moving statistics (PyTorch's default). */
const batchNormMomentum = 0.1;

/**
 * Statistics that the batch normalisations take. `moving`: the moving ones (inference). `batch`: those of the batch. `follow`:
 * those of the batch, which are also averaged into the moving ones; only for passes over images such as inference sees.
 */
export type Normalization = 'moving' | 'batch' | 'follow';

/** Task indices [n][p], p the same for each image; or their one-hot codes, a tensor [n, p, tasks + 1]. */
export type Prompts = readonly (readonly number[])[] | tf.Tensor3D;

/** One-hot codes of prompts, [n, p, tasks + 1]. */
export function promptCodes(prompts: readonly (readonly number[])[], tasks: number): Float32Array {
  const all = prompts.flat();
  const codes = new Float32Array(all.length * (tasks + 1));
  for (const [i, prompt] of all.entries()) codes[i * (tasks + 1) + prompt] = 1;
  return codes;
}

/** Values by name of parameter or buffer. */
export type NamedValues = ReadonlyMap<string, Float32Array>;

/**
 * The promptable network: one trunk for all tasks, a controller that turns (image, prompt) into the weights of a small
 * dynamic head, and a head per prompt. Prompts 0 .. K-1 are the real tasks, prompt K is the synthetic task.
 * Lives on the TF.js backend that was current when it was made. Call inside `tf.tidy`; free with `dispose`.
 */
export class VersemiNetwork implements WeightSource {
  /** Trained parameters by name, in fixed order. */
  readonly parameters: ReadonlyMap<string, tf.Variable>;
  /** Moving statistics of the batch normalisations by name, in fixed order. */
  readonly buffers: ReadonlyMap<string, tf.Variable>;

  /** @param start seed of the initial values, or the values of all parameters and buffers */
  constructor(
    readonly config: NetworkConfig,
    start: number | NamedValues,
  ) {
    // all values before the first tensor, so that a missing one leaves nothing behind
    const valuesFor = (spec: ParameterSpec, index: number) => ({
      spec,
      values: typeof start === 'number' ? initialValues(spec, start, index) : valuesOf(start, spec),
    });
    const parameters = parameterSpecs(config).map(valuesFor);
    const buffers = bufferSpecs(config).map(valuesFor);
    this.parameters = variablesOf(parameters, true);
    this.buffers = variablesOf(buffers, false);
  }

  get parameterCount(): number {
    return [...this.parameters.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  }

  weight(name: string): tf.Tensor5D {
    return this.variable(name) as tf.Tensor as tf.Tensor5D;
  }

  vector(name: string): tf.Tensor1D {
    return this.variable(name) as tf.Tensor as tf.Tensor1D;
  }

  private variable(name: string): tf.Variable {
    const variable = this.parameters.get(name) ?? this.buffers.get(name);
    if (variable === undefined) throw new VersemiError('INTERNAL', { field: name, found: 'no such parameter' });
    return variable;
  }

  /**
   * Encoder and decoder, the expensive part: once per image.
   * @param images [n, depth, height, width, 1], each axis divisible by 2^(levels-1)
   * @param recomputedLevels see `training.recomputedLevels` of a plan
   */
  trunk(images: tf.Tensor5D, recomputedLevels = 0): TrunkOutput {
    return vnet(images, this.config, this, recomputedLevels);
  }

  /**
   * Everything after the trunk, for all prompts at once.
   * @param trunk what `trunk` returned for n images
   * @param prompts index K is the synthetic task
   * @param normalization where the statistics of the two batch normalisations come from
   * @param recomputedLevels as of `trunk`
   * @returns logits [n, p, depth, height, width]; their sigmoid is the probability of the foreground
   */
  logits(trunk: TrunkOutput, prompts: Prompts, normalization: Normalization, recomputedLevels = 0): tf.Tensor5D {
    return tf.tidy(() => {
      const gap = { x: trunk.bottleneck, gamma: this.vector('gap.gamma'), beta: this.vector('gap.beta') };
      const pooled = tf.mean(this.batchNorm('gap', gap, normalization), [1, 2, 3]) as tf.Tensor2D;
      const parts = {
        x: trunk.features,
        gamma: this.vector('prehead.gamma'),
        beta: this.vector('prehead.beta'),
        weight: this.weight('prehead.weight'),
        bias: this.vector('prehead.bias'),
      };
      const features = (given: typeof parts, again: boolean) => {
        const normalized = this.batchNorm(
          'prehead',
          given,
          again && normalization === 'follow' ? 'batch' : normalization,
        );
        const shared = tf.conv3d(normalized, given.weight, 1, 'valid');
        normalized.dispose();
        return tf.add(shared, given.bias) as tf.Tensor5D;
      };
      return dynamicHead(
        recomputedLevels > 0 ? recomputed(parts, features) : features(parts, false),
        this.headParameters(pooled, prompts),
      );
    });
  }

  /**
   * The controller: a 1x1x1 convolution on concat(pooled, one-hot prompt), as the sum of its two parts.
   * @param pooled [n, channels of the bottleneck]
   * @returns [n, p, numbers that the dynamic head needs]
   */
  private headParameters(pooled: tf.Tensor2D, prompts: Prompts): tf.Tensor3D {
    const { tasks } = this.config;
    const [images, count] = prompts instanceof tf.Tensor ? prompts.shape : [prompts.length, prompts[0]!.length];
    const shape: [number, number] = [images * count, tasks + 1];
    const oneHot =
      prompts instanceof tf.Tensor ? tf.reshape(prompts, shape) : tf.tensor2d(promptCodes(prompts, tasks), shape);
    const ofImage = tf.matMul(pooled, this.vector('controller.weight') as tf.Tensor as tf.Tensor2D);
    const ofPrompt = tf.matMul(oneHot, this.vector('controller.prompt') as tf.Tensor as tf.Tensor2D);
    return tf.add(
      tf.add(tf.expandDims(ofImage, 1), tf.reshape(ofPrompt, [images, count, -1])),
      this.vector('controller.bias'),
    ) as tf.Tensor3D;
  }

  private batchNorm(
    name: string,
    { x, gamma, beta }: { readonly x: tf.Tensor5D; readonly gamma: tf.Tensor1D; readonly beta: tf.Tensor1D },
    normalization: Normalization,
  ): tf.Tensor5D {
    const movingMean = this.variable(`${name}.movingMean`);
    const movingVariance = this.variable(`${name}.movingVariance`);
    const { output, mean, variance, count } = batchNormRelu(x, gamma, beta, {
      training: normalization !== 'moving',
      movingMean: movingMean as tf.Tensor as tf.Tensor1D,
      movingVariance: movingVariance as tf.Tensor as tf.Tensor1D,
    });
    if (normalization === 'follow' && mean !== undefined && variance !== undefined && count !== undefined) {
      // As PyTorch: biased variance for this batch, unbiased variance for the moving one.
      follow(movingMean, mean, 1);
      follow(movingVariance, variance, count / Math.max(1, count - 1));
    }
    return output;
  }

  /** Reads all parameters and buffers. */
  async values(): Promise<Map<string, Float32Array>> {
    const entries = [...this.parameters, ...this.buffers].map(
      async ([name, variable]) => [name, (await variable.data()) as Float32Array] as const,
    );
    return new Map(await Promise.all(entries));
  }

  /** Overwrites all parameters and buffers. */
  assign(values: NamedValues): void {
    for (const spec of [...parameterSpecs(this.config), ...bufferSpecs(this.config)])
      tf.tidy(() => this.variable(spec.name).assign(tf.tensor(valuesOf(values, spec), [...spec.shape])));
  }

  dispose(): void {
    for (const variable of [...this.parameters.values(), ...this.buffers.values()]) variable.dispose();
  }
}

function variablesOf(
  list: readonly { readonly spec: ParameterSpec; readonly values: Float32Array }[],
  trainable: boolean,
): Map<string, tf.Variable> {
  const make = (values: Float32Array, shape: readonly number[]) =>
    tf.tidy(() => tf.variable(tf.tensor(values, [...shape]), trainable));
  return new Map(list.map(({ spec, values }) => [spec.name, make(values, spec.shape)]));
}

/** moving = (1 - momentum) * moving + momentum * factor * newest, in place */
function follow(moving: tf.Variable, newest: tf.Tensor, factor: number): void {
  tf.tidy(() =>
    copyInto(moving, tf.add(tf.mul(moving, 1 - batchNormMomentum), tf.mul(newest, batchNormMomentum * factor))),
  );
}

/** @throws VERSEMI_MODEL_INVALID when a parameter is missing or has another size */
function valuesOf(values: NamedValues, { name, shape }: ParameterSpec): Float32Array {
  const found = values.get(name);
  if (found === undefined || found.length !== elementCount(shape))
    throw new VersemiError('MODEL_INVALID', {
      field: name,
      expected: `a tensor [${shape}]`,
      found: found === undefined ? 'none' : `${found.length} elements`,
      remedy: 'Give a model that was saved with the same network settings.',
    });
  return found;
}
