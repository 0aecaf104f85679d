import * as tf from '@tensorflow/tfjs-core';
import { VersemiError } from '../errors.js';
import type { NamedValues } from '../model/network.js';
import { adamStep, concatGradients, copyInto, emaStep, packGradients } from '../tfjs/ops/index.js';

export interface AdamPlan {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

type Variables = ReadonlyMap<string, tf.Variable>;

function zeroArena(length: number): tf.Tensor1D {
  // An arena is written in place, so it needs data of its own; those of tf.zeros may be shared.
  return tf.keep(tf.tensor1d(new Float32Array(length)));
}

function sizesOf(variables: Variables): number[] {
  return [...variables.values()].map((variable) => variable.size);
}

function total(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Adam over all parameters of a network: gradients, first and second moments in one arena each, one call per step. */
export class Adam {
  private readonly parameters: tf.Variable[];
  private readonly names: string[];
  private readonly sizes: number[];
  private readonly gradients: tf.Tensor1D;
  private readonly firstMoment: tf.Tensor1D;
  private readonly secondMoment: tf.Tensor1D;

  /** @param moments both moments of an earlier run, each over all parameters */
  constructor(
    parameters: Variables,
    private readonly plan: AdamPlan,
    moments?: { readonly first: Float32Array; readonly second: Float32Array },
  ) {
    this.parameters = [...parameters.values()];
    this.names = [...parameters.keys()];
    this.sizes = sizesOf(parameters);
    const length = total(this.sizes);
    this.gradients = zeroArena(length);
    this.firstMoment = moments === undefined ? zeroArena(length) : tf.keep(tf.tensor1d(moments.first.slice()));
    this.secondMoment = moments === undefined ? zeroArena(length) : tf.keep(tf.tensor1d(moments.second.slice()));
  }

  /** Gradients by name in one arena, in the order of the parameters; a parameter without one counts as zero. */
  pack(gradients: ReadonlyMap<string, tf.Tensor>): tf.Tensor1D {
    return concatGradients(
      this.names.map((name) => gradients.get(name)),
      this.sizes,
    );
  }

  /**
   * Takes over the gradients of a step: the sum of packed ones.
   * @returns their squared Euclidean norm, [1]
   */
  take(packed: readonly tf.Tensor1D[]): tf.Tensor1D {
    return tf.tidy(() => {
      const sum = packed.reduce<tf.Tensor1D | null>((a, b) => (a === null ? b : (tf.add(a, b) as tf.Tensor1D)), null);
      return packGradients([sum], [total(this.sizes)], this.gradients);
    });
  }

  /**
   * Changes the parameters by the gradients last taken.
   * @param step counts from 1
   * @param gradientScale factor on the gradients (clipping); 1 = none
   */
  apply(step: number, learningRate: number, gradientScale: number): void {
    const settings = { ...this.plan, learningRate, step, gradientScale };
    adamStep(this.parameters, this.gradients, this.firstMoment, this.secondMoment, settings);
  }

  /** Name of the first parameter whose gradient has an element that is not finite. */
  async firstNotFinite(): Promise<string | undefined> {
    const values = await this.gradients.data();
    let begin = 0;
    for (const [i, size] of this.sizes.entries()) {
      if (!values.subarray(begin, begin + size).every(Number.isFinite)) return this.names[i];
      begin += size;
    }
    return undefined;
  }

  async moments(): Promise<{ first: Float32Array; second: Float32Array }> {
    const [first, second] = await Promise.all([this.firstMoment.data(), this.secondMoment.data()]);
    return { first: first as Float32Array, second: second as Float32Array };
  }

  dispose(): void {
    for (const tensor of [this.gradients, this.firstMoment, this.secondMoment]) tensor.dispose();
  }
}

/**
 * Moving average of weights and of batch-norm statistics (mean teacher: Tarvainen & Valpola, NeurIPS 2017), in one arena.
 */
export class WeightAverage {
  private readonly variables: Variables;
  private readonly average: tf.Tensor1D;

  /** @param values average of an earlier run, by name */
  constructor(parameters: Variables, buffers: Variables, values?: NamedValues) {
    this.variables = new Map([...parameters, ...buffers]);
    const start = new Float32Array(total(sizesOf(this.variables)));
    if (values !== undefined) {
      let begin = 0;
      for (const [name, variable] of this.variables) {
        const part = values.get(name);
        if (part?.length !== variable.size)
          throw new VersemiError('MODEL_INVALID', {
            field: `ema.${name}`,
            expected: `${variable.size} elements`,
            found: `${part?.length ?? 'none'}`,
          });
        start.set(part, begin);
        begin += variable.size;
      }
    }
    this.average = tf.keep(tf.tensor1d(start));
  }

  /** @param decay 0 takes the weights as they are */
  update(decay: number): void {
    emaStep(this.average, [...this.variables.values()], decay);
  }

  /** Copies the average into the parameters and buffers of another network of the same settings, in place. */
  copyInto(parameters: Variables, buffers: Variables): void {
    let begin = 0;
    for (const [name, { size }] of this.variables) {
      const target = (parameters.get(name) ?? buffers.get(name))!;
      tf.tidy(() => copyInto(target, tf.reshape(tf.slice(this.average, [begin], [size]), target.shape)));
      begin += size;
    }
  }

  async values(): Promise<Map<string, Float32Array>> {
    const values = (await this.average.data()) as Float32Array;
    const result = new Map<string, Float32Array>();
    let begin = 0;
    for (const [name, { size }] of this.variables) {
      result.set(name, values.slice(begin, begin + size));
      begin += size;
    }
    return result;
  }

  dispose(): void {
    this.average.dispose();
  }
}
