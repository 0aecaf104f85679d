import type { Plan } from '../config/plan.js';
import { isVersemiError } from '../errors.js';
import { createPrefetcher } from '../sampling/prefetcher.js';
import type { SamplingData } from '../sampling/rows.js';
import { hostOnlyDatasets, VolumeLayout } from '../sampling/volume-tables.js';
import { currentDevice } from '../tfjs/index.js';
import { DeviceVolumes, mebibytes } from './device-volumes.js';
import type { RankPlan } from './ranks.js';
import { hostStep, type StepSource } from './step-data.js';

/** Steps whose voxels the host makes, ahead of the device. */
export function hostSource(plan: Plan, cases: SamplingData, notice?: string): StepSource {
  const prefetcher = createPrefetcher(plan, cases);
  return {
    ...(notice === undefined ? {} : { notice }),
    data: async (step) => hostStep(plan, await prefetcher.batch(step)),
    close: () => prefetcher.close(),
  };
}

/**
 * Steps whose voxels the device makes where it is `cuda`, the volumes fit `training.deviceVolumesMiB` and the memory, and it
 * can do every augmentation of the plan; else steps of the host. The numbers are the same.
 */
export function stepSource(plan: RankPlan, cases: SamplingData): StepSource {
  const limit = plan.training.deviceVolumesMiB;
  if (currentDevice()?.name !== 'cuda' || limit === 0) return hostSource(plan, cases);
  const onHost = (reason: string) => hostSource(plan, cases, `Patches are cut on the host: ${reason}.`);
  if (plan.share !== undefined) return onHost('only it makes the part of a batch that a rank has');
  const augmented = hostOnlyDatasets(plan);
  if (augmented.length > 0) return onHost(`only it augments as the plan says (${augmented.join('; ')})`);
  if (plan.losses.teacherNoise > 0) return onHost('only it makes the noise of losses.teacherNoise');
  const size = mebibytes(new VolumeLayout(plan, cases).elements);
  if (size > limit) return onHost(`the volumes take ${size} MiB, more than training.deviceVolumesMiB`);
  try {
    return new DeviceVolumes(plan, cases);
  } catch (error) {
    if (!isVersemiError(error, 'DEVICE_OUT_OF_MEMORY')) throw error;
    return onHost(`the volumes (${size} MiB) do not fit the memory of the device`);
  }
}
