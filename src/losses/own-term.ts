import type * as tf from '#tfjs';
import type { StepGroup } from '../config/steps.js';
import { type Part, PartTable } from '../parts.js';

/** What a loss term of one's own is given of a step; all of it lies on the device. n images, p prompts of each. */
export interface TermInputs {
  /** [n, p, depth, height, width]; the sigmoid of a logit is the probability of the foreground. */
  readonly logits: tf.Tensor5D;
  /** One-hot codes of the prompts, [n, p, tasks + 1]; the last code is that of the synthetic task, "any foreground". */
  readonly prompts: tf.Tensor3D;
  /** What the network saw, [n, depth, height, width, 1]. */
  readonly image: tf.Tensor5D;
  /** Labelled images and mixes of them: foreground of each prompt's task, values in [0, 1], [n, p, depth, height, width]. */
  readonly target?: tf.Tensor5D;
  /** The same of data with unknown voxels: 1 where the label is known; only these voxels may count; [n, p, depth, height, width]. */
  readonly known?: tf.Tensor5D;
  /** Unlabelled images that are mixed: 1 where the other image of the mix lies, [n, depth, height, width]. */
  readonly partner?: tf.Tensor4D;
}

/**
 * A loss term of one's own. Plans name it with its weight in `losses.own`. It takes part in every step of its group: `labeled` in
 * both stages and in supervised training; `mixed`, mixes of two labelled images (CutMix), in both stages of semi-supervised training,
 * where the one prompt is the synthetic task; `unlabeled` in the second stage.
 */
export interface OwnLossTerm extends Part {
  readonly group: StepGroup;
  /**
   * True: every sum over images goes through `sumOverParts` (`versemi/tfjs`), so that several ranks, each of which has a part of
   * the images, find the value of all. Without it a plan with the term trains in one process alone.
   */
  readonly acrossRanks?: boolean;
  /**
   * The term before its weight, differentiable. Called inside `tf.tidy`; a device may record its kernels in one step and replay
   * them in the next ones, so that it may depend on nothing but what it is given.
   */
  value(given: TermInputs): tf.Scalar;
}

/** Loss terms of one's own; those of versemi read more than one of them may be given, and stand in `training/groups.ts`. */
export const ownLossTerms = new PartTable<OwnLossTerm>('lossTerms');
