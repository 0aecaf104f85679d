import type { Tensor, Tensor3D, Tensor5D } from '#tfjs';
import type { Part } from '../parts.js';
import type { NetworkConfig, ParameterSpec } from './shapes.js';

/**
 * Statistics that the batch normalisations take. `moving`: the moving ones (inference). `batch`: those of the batch. `follow`:
 * those of the batch, which are also averaged into the moving ones; only for passes over images such as inference sees.
 */
export type Normalization = 'moving' | 'batch' | 'follow';

/** The tensors of one network: its weights, or the moving average of them. */
export interface NetworkTensors {
  readonly config: NetworkConfig;
  /** A parameter or a buffer by the name that the architecture gave it. @throws VERSEMI_PART_INVALID where there is none */
  tensor<T extends Tensor>(name: string): T;
  /**
   * Averages statistics of a batch, of the buffer's shape, into it: moving = 0.9 * moving + 0.1 * factor * newest.
   * @param factor default 1
   */
  follow(name: string, newest: Tensor, factor?: number): void;
}

/**
 * A promptable network in TF.js ops. Its two functions are called inside `tf.tidy` and must be differentiable; what they compute
 * depends on nothing but what they are given, since a device may record their kernels once and replay them.
 */
export interface Architecture<Trunk = unknown> extends Part {
  /**
   * True: each image is computed for itself, or every sum over images goes through `sumOverParts` (`versemi/tfjs`), so that
   * several ranks, each of which has a part of the images, compute what one process would. Without it a plan with the network trains
   * in one process alone.
   */
  readonly acrossRanks?: boolean;
  /** Trained parameters, in an order that never changes: it is part of the model file and of the seed. */
  parameters(config: NetworkConfig): readonly ParameterSpec[];
  /** Numbers that belong to the model and are not trained by gradients; absent: none. */
  buffers?(config: NetworkConfig): readonly ParameterSpec[];
  /**
   * The expensive part, once per image.
   * @param images [n, depth, height, width, 1], preprocessed; each axis divisible by 2^(levels-1) of the plan
   * @param recomputedLevels see `training.recomputedLevels` of a plan; a network may take no notice of it
   */
  trunk(images: Tensor5D, tensors: NetworkTensors, recomputedLevels: number): Trunk;
  /**
   * What depends on the prompts.
   * @param prompts one-hot codes [n, p, tasks + 1]; the last code is that of the synthetic task, "any foreground"
   * @returns logits [n, p, depth, height, width]
   */
  logits(
    trunk: Trunk,
    prompts: Tensor3D,
    tensors: NetworkTensors,
    normalization: Normalization,
    recomputedLevels: number,
  ): Tensor5D;
  /**
   * Numbers per voxel of a window that are in memory at once while the network predicts, activations of all levels added up.
   * Estimates of memory rest on it; absent: as for versemi's own network of the same width.
   */
  numbersPerVoxel?(config: NetworkConfig, prompts: number): number;
}
