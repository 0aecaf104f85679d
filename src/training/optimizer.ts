import * as tf from '#tfjs';
import { optimizerMemory } from '../checkpoints/checkpoint.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { NamedValues } from '../model/network.js';
import { adamStep, concatGradients, copyInto, emaStep, packGradients, sgdStep } from '../tfjs/ops/index.js';

/** The fields of a plan that an optimiser reads. */
export type OptimizerPlan = Pick<
  Plan['training'],
  'optimizer' | 'beta1' | 'beta2' | 'epsilon' | 'momentum' | 'weightDecay'
>;

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

/** What an optimiser remembers, by the names of `optimizerMemory`: each value over all parameters in their order. */
export type OptimizerState = NamedValues;

/** A step of an optimiser, in place; `memory` are the arenas of `optimizerMemory`. */
type Rule = (
  parameters: readonly tf.Variable[],
  gradients: tf.Tensor1D,
  memory: readonly tf.Tensor1D[],
  settings: OptimizerPlan & { readonly step: number; readonly learningRate: number; readonly gradientScale: number },
) => void;

const rules: Readonly<Record<OptimizerPlan['optimizer'], Rule>> = {
  adam: (parameters, gradients, [first, second], settings) => {
    const { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale } = settings;
    const numbers = { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale };
    adamStep(parameters, gradients, first!, second!, numbers);
  },
  sgd: (parameters, gradients, [velocity], { learningRate, momentum, weightDecay, gradientScale }) =>
    sgdStep(parameters, gradients, velocity!, { learningRate, momentum, weightDecay, gradientScale }),
};

/** Adam, or gradient descent with momentum, over all parameters of a network: everything in arenas, one call per step. */
export class Optimizer {
  private readonly parameters: tf.Variable[];
  private readonly names: string[];
  private readonly sizes: number[];
  private readonly gradients: tf.Tensor1D;
  private readonly memory: tf.Tensor1D[];

  /** @param state what the optimiser of an earlier run remembered */
  constructor(
    parameters: Variables,
    private readonly plan: OptimizerPlan,
    state?: OptimizerState,
  ) {
    this.parameters = [...parameters.values()];
    this.names = [...parameters.keys()];
    this.sizes = sizesOf(parameters);
    const length = total(this.sizes);
    this.gradients = zeroArena(length);
    this.memory = this.memoryNames.map((name) =>
      state === undefined ? zeroArena(length) : tf.keep(tf.tensor1d(state.get(name)!.slice())),
    );
  }

  private get memoryNames(): readonly string[] {
    return optimizerMemory[this.plan.optimizer];
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
    rules[this.plan.optimizer](this.parameters, this.gradients, this.memory, {
      ...this.plan,
      step,
      learningRate,
      gradientScale,
    });
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

  async state(): Promise<OptimizerState> {
    const values = await Promise.all(this.memory.map((one) => one.data()));
    return new Map(this.memoryNames.map((name, i) => [name, values[i] as Float32Array]));
  }

  dispose(): void {
    for (const tensor of [this.gradients, ...this.memory]) tensor.dispose();
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
