import type { Tensor, Tensor1D } from '#tfjs';
import { checkShape, sizeOf } from '../backend/kernel-host.js';
import { runCustom } from './run.js';

/**
 * One call per step for all parameters. These ops are not differentiable and, unlike TF.js's ops, write in place: the
 * data behind the arena, the moments, the average and the variables changes, and with it every tensor that shares it
 * (a clone, a reshape, or the tensor that a variable was made from).
 */

/**
 * Copies gradients one after the other into one arena, so that whatever comes next is one call.
 * @param gradients in the order of the parameters; null counts as zeros
 * @param sizes elements of each parameter; their sum is the length of the arena
 * @param arena [sum of sizes], overwritten
 * @returns squared L2 norm of all gradients, [1]
 */
export function packGradients(
  gradients: readonly (Tensor | null | undefined)[],
  sizes: readonly number[],
  arena: Tensor1D,
): Tensor1D {
  checkArena('packGradients', 'arena', sizes, arena);
  const inputs: Record<string, Tensor | undefined> = { arena };
  gradients.forEach((gradient, i) => {
    if (gradient) checkShape('packGradients', `gradient ${i}`, [sizes[i]!], [gradient.size]);
    inputs[`gradient${i}`] = gradient ?? undefined;
  });
  return runCustom<Tensor1D>('VersemiPackGradients', inputs, { sizes: sizes as number[] });
}

/**
 * The same into an arena of its own.
 * @returns [sum of sizes]
 */
export function concatGradients(gradients: readonly (Tensor | null | undefined)[], sizes: readonly number[]): Tensor1D {
  const inputs = Object.fromEntries(gradients.map((gradient, i) => [`gradient${i}`, gradient ?? undefined]));
  const [arena, squaredNorm] = runCustom<Tensor1D[]>('VersemiPackGradients', inputs, { sizes: sizes as number[] });
  squaredNorm!.dispose();
  return arena!;
}

/** target = source, of the same shape, in place: the data of `target` stays where it is, as a recorded computation needs it. */
export function copyInto(target: Tensor, source: Tensor): void {
  checkShape('copyInto', 'source', target.shape, source.shape);
  runCustom<Tensor[]>('VersemiCopy', { source, target });
}

/** Constants of Adam. */
export interface AdamSettings {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled (Loshchilov & Hutter, 2019, arXiv 1711.05101). */
  readonly weightDecay: number;
  /** Counts from 1; for the correction of the bias of the moments. */
  readonly step: number;
  /** Factor on every gradient, for clipping by norm; 1 = none. */
  readonly gradientScale: number;
}

/**
 * One step of Adam (Kingma & Ba, 2015, arXiv 1412.6980) over all parameters, in place.
 * @param parameters overwritten
 * @param arena gradients, as packGradients left them
 * @param firstMoment [sum of sizes], overwritten; zeros before the first step
 * @param secondMoment likewise
 */
export function adamStep(
  parameters: readonly Tensor[],
  arena: Tensor1D,
  firstMoment: Tensor1D,
  secondMoment: Tensor1D,
  settings: AdamSettings,
): void {
  const sizes = parameters.map((parameter) => sizeOf(parameter.shape));
  checkArena('adamStep', 'arena', sizes, arena);
  checkArena('adamStep', 'firstMoment', sizes, firstMoment);
  checkArena('adamStep', 'secondMoment', sizes, secondMoment);
  runCustom<Tensor[]>(
    'VersemiAdamStep',
    { arena, firstMoment, secondMoment, ...numbered(parameters) },
    { sizes, settings: { ...settings } },
  );
}

/** Constants of gradient descent with momentum. */
export interface SgdSettings {
  readonly learningRate: number;
  readonly momentum: number;
  /** Added to the gradient, as a penalty on the square of the weights. */
  readonly weightDecay: number;
  /** Factor on every gradient, for clipping by norm; 1 = none. */
  readonly gradientScale: number;
}

/**
 * One step of gradient descent with momentum (Sutskever et al., "On the importance of initialization and momentum in deep
 * learning", ICML 2013; written as PyTorch does) over all parameters, in place:
 *
 *     velocity = momentum * velocity + gradient + weightDecay * w,   w = w - learningRate * velocity
 *
 * @param parameters overwritten
 * @param arena gradients, as packGradients left them
 * @param velocity [sum of sizes], overwritten; zeros before the first step
 */
export function sgdStep(
  parameters: readonly Tensor[],
  arena: Tensor1D,
  velocity: Tensor1D,
  settings: SgdSettings,
): void {
  const sizes = parameters.map((parameter) => sizeOf(parameter.shape));
  checkArena('sgdStep', 'arena', sizes, arena);
  checkArena('sgdStep', 'velocity', sizes, velocity);
  runCustom<Tensor[]>(
    'VersemiSgdStep',
    { arena, velocity, ...numbered(parameters) },
    { sizes, settings: { ...settings } },
  );
}

/**
 * average = decay * average + (1 - decay) * parameters, in place.
 * @param average [sum of sizes], overwritten
 */
export function emaStep(average: Tensor1D, parameters: readonly Tensor[], decay: number): void {
  const sizes = parameters.map((parameter) => sizeOf(parameter.shape));
  checkArena('emaStep', 'average', sizes, average);
  runCustom<Tensor[]>('VersemiEmaStep', { average, ...numbered(parameters) }, { sizes, decay });
}

function numbered(parameters: readonly Tensor[]): Record<string, Tensor> {
  return Object.fromEntries(parameters.map((parameter, i) => [`parameter${i}`, parameter]));
}

function checkArena(op: string, name: string, sizes: readonly number[], arena: Tensor): void {
  checkShape(op, name, [sizes.reduce((sum, size) => sum + size, 0)], arena.shape);
}
