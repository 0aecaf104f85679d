import type { Plan } from '../config/plan.js';
import { voxelCount } from '../volume/volume.js';
import { promptsOf, promptsPerImage, type StepRecipe } from './recipe.js';
import type { StepBatch } from './types.js';

/** Images and targets of a step, in the order in which they lie in one block of memory. */
const fields = [
  'labeledImage',
  'labeledTarget',
  'mixedImage',
  'mixedAnyForeground',
  'mixedTargetA',
  'mixedTargetB',
  'unlabeledImage',
  'unlabeledInside',
  'unlabeledCubeLabel',
  'teacherImage',
] as const;

/** Voxel data of one step: [N, V] each, targets of labelled patches [N, P, V] (see types.ts). */
export type BatchArrays = Readonly<Record<(typeof fields)[number], Float32Array>>;

function patchCounts(plan: Plan): Record<(typeof fields)[number], number> {
  const { training, losses } = plan;
  const semi = training.mode === 'semi-supervised';
  const labeled = training.labeledBatchSize;
  const mixed = semi ? labeled / 2 : 0;
  const unlabeled = semi && training.stage2Steps > 0 ? training.unlabeledBatchSize : 0;
  return {
    labeledImage: labeled,
    labeledTarget: labeled * promptsPerImage(plan),
    mixedImage: mixed,
    mixedAnyForeground: mixed,
    mixedTargetA: mixed,
    mixedTargetB: mixed,
    unlabeledImage: unlabeled,
    unlabeledInside: unlabeled,
    unlabeledCubeLabel: unlabeled,
    teacherImage: losses.teacher > 0 ? unlabeled : 0,
  };
}

/** Bytes of the block that holds one step of a plan. */
export function batchBytes(plan: Plan): number {
  const patches = Object.values(patchCounts(plan)).reduce((sum, count) => sum + count, 0);
  return patches * voxelCount(plan.patchSizeVoxels) * 4;
}

/** The arrays of a step over a block of `batchBytes(plan)`: the same in every thread that sees the block. */
export function batchArrays(plan: Plan, block: ArrayBufferLike): BatchArrays {
  const counts = patchCounts(plan);
  const voxels = voxelCount(plan.patchSizeVoxels);
  let at = 0;
  const entries = fields.map((field) => {
    const array = new Float32Array(block, at, counts[field] * voxels);
    at += array.byteLength;
    return [field, array] as const;
  });
  return Object.fromEntries(entries) as BatchArrays;
}

/** The batch of a recipe whose voxels lie in `arrays`. */
export function stepBatch(recipe: StepRecipe, arrays: BatchArrays, caseNames: readonly string[]): StepBatch {
  const { step, labeled, mixed, unlabeled } = recipe;
  return {
    step,
    labeled: {
      image: arrays.labeledImage,
      target: arrays.labeledTarget,
      tasks: promptsOf(labeled),
      caseIds: labeled.map(({ caseIndex }) => caseNames[caseIndex]!),
    },
    ...(mixed.length === 0
      ? {}
      : {
          mixed: {
            image: arrays.mixedImage,
            anyForeground: arrays.mixedAnyForeground,
            targetA: arrays.mixedTargetA,
            targetB: arrays.mixedTargetB,
            tasksA: Int32Array.from(mixed, ({ outside }) => labeled[outside]!.task),
            tasksB: Int32Array.from(mixed, ({ inside }) => labeled[inside]!.task),
          },
        }),
    ...(unlabeled.length === 0
      ? {}
      : {
          unlabeled: {
            image: arrays.unlabeledImage,
            inside: arrays.unlabeledInside,
            cubeLabel: arrays.unlabeledCubeLabel,
            ...(arrays.teacherImage.length === 0
              ? {}
              : {
                  teacher: {
                    image: arrays.teacherImage,
                    tasks: promptsOf(unlabeled),
                  },
                }),
          },
        }),
  };
}
