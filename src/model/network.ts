import * as tf from '#tfjs';
import { VersemiError } from '../errors.js';
import { copyInto } from '../tfjs/ops/index.js';
import type { Architecture, NetworkTensors, Normalization } from './architecture.js';
import {
  architectureOf,
  bufferSpecs,
  elementCount,
  initialValues,
  type NetworkConfig,
  type ParameterSpec,
  parameterSpecs,
} from './layers.js';
import type { TrunkOutput } from './vnet.js';

export type { Normalization } from './architecture.js';

/** Share of the newest batch in the moving statistics (PyTorch's default). */
const batchNormMomentum = 0.1;

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

/** All that inference asks of a network: whatever has these, predicts and is evaluated. */
export interface SegmentationNetwork<Trunk = unknown> {
  /** Trained numbers, for estimates of memory. */
  readonly parameterCount: number;
  /**
   * The part that no prompt enters.
   * @param images [n, depth, height, width, 1], preprocessed
   */
  trunk(images: tf.Tensor5D): Trunk;
  /**
   * What depends on the prompts.
   * @param prompts indices of tasks [n][p]; the index behind the last task is the synthetic task
   * @param normalization always `moving`: the statistics that belong to the model
   * @returns logits [n, p, depth, height, width]; above 0 is foreground
   */
  logits(trunk: Trunk, prompts: readonly (readonly number[])[], normalization: 'moving'): tf.Tensor5D;
}

/**
 * A promptable network: the tensors of an architecture (`layers.ts`), and what it computes with them. Prompts 0 .. K-1 are the
 * real tasks, prompt K is the synthetic task.
 * Lives on the TF.js backend that was current when it was made. Call inside `tf.tidy`; free with `dispose`.
 */
export class VersemiNetwork implements NetworkTensors, SegmentationNetwork<TrunkOutput> {
  /** Trained parameters by name, in fixed order. */
  readonly parameters: ReadonlyMap<string, tf.Variable>;
  /** Moving statistics of the batch normalisations by name, in fixed order. */
  readonly buffers: ReadonlyMap<string, tf.Variable>;
  private readonly architecture: Architecture;

  /** @param start seed of the initial values, or the values of all parameters and buffers */
  constructor(
    readonly config: NetworkConfig,
    start: number | NamedValues,
  ) {
    this.architecture = architectureOf(config);
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

  /** A parameter or a buffer by its name. @throws VERSEMI_PART_INVALID where there is none */
  tensor<T extends tf.Tensor>(name: string): T {
    return this.variable(name) as tf.Tensor as T;
  }

  /** Averages statistics of a batch, of the buffer's shape, into it: moving = 0.9 * moving + 0.1 * factor * newest. */
  follow(name: string, newest: tf.Tensor, factor = 1): void {
    const moving = this.variable(name);
    tf.tidy(() =>
      copyInto(moving, tf.add(tf.mul(moving, 1 - batchNormMomentum), tf.mul(newest, batchNormMomentum * factor))),
    );
  }

  private variable(name: string): tf.Variable {
    const variable = this.parameters.get(name) ?? this.buffers.get(name);
    if (variable !== undefined) return variable;
    throw new VersemiError('PART_INVALID', {
      field: `network ${this.architecture.name}`,
      expected: [...this.parameters.keys(), ...this.buffers.keys()].join(', '),
      found: name,
      remedy: 'Ask for a tensor that the network lists as a parameter or a buffer.',
    });
  }

  /**
   * Encoder and decoder, the expensive part: once per image.
   * @param images [n, depth, height, width, 1], each axis divisible by 2^(levels-1)
   * @param recomputedLevels see `training.recomputedLevels` of a plan
   * @returns of a network that is not versemi's own: whatever its trunk gives
   */
  trunk(images: tf.Tensor5D, recomputedLevels = 0): TrunkOutput {
    return this.architecture.trunk(images, this, recomputedLevels) as TrunkOutput;
  }

  /**
   * Everything after the trunk, for all prompts at once.
   * @param trunk what `trunk` returned for n images
   * @param prompts index K is the synthetic task
   * @param normalization where the statistics of batch normalisations come from
   * @param recomputedLevels as of `trunk`
   * @returns logits [n, p, depth, height, width]; their sigmoid is the probability of the foreground
   */
  logits(trunk: TrunkOutput, prompts: Prompts, normalization: Normalization, recomputedLevels = 0): tf.Tensor5D {
    return tf.tidy(() => {
      const { tasks } = this.config;
      const codes =
        prompts instanceof tf.Tensor
          ? prompts
          : tf.tensor3d(promptCodes(prompts, tasks), [prompts.length, prompts[0]!.length, tasks + 1]);
      return this.architecture.logits(trunk, codes, this, normalization, recomputedLevels);
    });
  }

  /** Reads all parameters and buffers, each in the shape that `parameterSpecs` states. */
  async values(): Promise<Map<string, Float32Array>> {
    const entries = [...this.parameters, ...this.buffers].map(
      async ([name, variable]) => [name, (await variable.data()) as Float32Array] as const,
    );
    return new Map(await Promise.all(entries));
  }

  /** Overwrites all parameters and buffers. @throws VERSEMI_MODEL_INVALID where one is missing or has another size */
  assign(values: NamedValues): void {
    for (const spec of [...parameterSpecs(this.config), ...bufferSpecs(this.config)])
      tf.tidy(() => this.variable(spec.name).assign(tf.tensor(valuesOf(values, spec), [...spec.shape])));
  }

  /** Frees all parameters and buffers. */
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
