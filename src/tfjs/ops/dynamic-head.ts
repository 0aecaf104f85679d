import { clone, type Tensor, type Tensor3D, type Tensor4D, type Tensor5D } from '#tfjs';
import { VersemiError } from '../../errors.js';
import { checkShape } from '../backend/kernel-host.js';
import { differentiable } from './differentiable.js';
import { runCustom } from './run.js';

/** Number of parameters that the controller generates for one (sample, prompt): 162 at width 8. */
export function dynamicHeadParameterCount(width: number): number {
  return 2 * width * width + 2 * width + 2 * width + 2;
}

/**
 * Three 1x1x1 convolutions whose weights were generated per sample and prompt (width -> width -> width -> 2, ReLU
 * between), for all prompts at once. The two class scores are returned as one logit, foreground minus background, so that
 * sigmoid(logit) is the softmax probability of the foreground.
 * @param features [n, depth, height, width, channels]
 * @param parameters [n, prompts, dynamicHeadParameterCount(channels)], order as in kernel-table.ts
 * @returns logits [n, prompts, depth, height, width]
 */
export function dynamicHead(features: Tensor5D, parameters: Tensor3D): Tensor5D {
  const count = dynamicHeadParameterCount(features.shape[4]);
  checkShape('dynamicHead', 'parameters', [features.shape[0], parameters.shape[1], count], parameters.shape);
  return differentiable({
    inputs: { features, parameters },
    forward: (keep) => {
      keep([features, parameters]);
      return runCustom<Tensor5D>('VersemiDynamicHead', { features, parameters });
    },
    backward: (gradLogits, { saved, once }) => {
      const [savedFeatures, savedParameters] = saved;
      const gradients = once(() =>
        runCustom<Tensor[]>('VersemiDynamicHeadGrad', {
          gradLogits,
          features: savedFeatures,
          parameters: savedParameters,
        }),
      );
      return { features: () => clone(gradients()[0]!), parameters: () => clone(gradients()[1]!) };
    },
  });
}

/**
 * Aggregate of the real tasks' predictions: sigmoid of the voxel-wise maximum over the first `real` prompts. The gradient
 * goes to the first prompt that attains the maximum.
 * @param logits [n, prompts, depth, height, width]
 * @returns probabilities [n, depth, height, width]
 * @throws VERSEMI_KERNEL_FAILED where `real` is no number of prompts
 */
export function aggregateMax(logits: Tensor5D, real: number): Tensor4D {
  if (!(Number.isInteger(real) && real >= 1 && real <= logits.shape[1]))
    throw new VersemiError('KERNEL_FAILED', {
      field: 'aggregateMax, real',
      expected: `1 to ${logits.shape[1]} prompts`,
      found: String(real),
    });
  return differentiable({
    inputs: { logits },
    forward: (keep) => {
      keep([logits]);
      return runCustom<Tensor4D>('VersemiAggregateMax', { logits }, { real });
    },
    backward: (gradAggregate, { saved }) => ({
      logits: () => runCustom<Tensor>('VersemiAggregateMaxGrad', { gradAggregate, logits: saved[0] }, { real }),
    }),
  });
}
