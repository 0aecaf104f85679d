// Small worlds to train on: balls in one dataset, boxes in the other, bright on a noisy ground.
import { type Plan, parsePlan } from '../../src/config/plan.js';
import type { PreprocessedCase } from '../../src/preprocessing/preprocessed-case.js';
import { RandomStream, streams } from '../../src/random.js';
import type { TrainingData } from '../../src/training/data.js';
import { makeCase, makePlan } from '../unit/sampling-support.js';

function shapeCase(dataset: 'balls' | 'boxes', index: number, size: number, labeled: boolean): PreprocessedCase {
  const random = new RandomStream(11, streams.test, dataset === 'balls' ? 1 : 2, index);
  const radius = size * random.uniformBetween(0.2, 0.3);
  const center = [0, 1, 2].map(() => random.uniformBetween(radius, size - 1 - radius));
  const inside = (...voxel: number[]) => {
    const away = voxel.map((at, axis) => Math.abs(at - center[axis]!));
    return dataset === 'balls' ? Math.hypot(...away) <= radius : Math.max(...away) <= 0.8 * radius;
  };
  const image = (x: number, y: number, z: number) => (inside(x, y, z) ? 1.5 : -0.3) + 0.4 * random.normal();
  const label = (x: number, y: number, z: number) => (inside(x, y, z) ? 1 : 0);
  return makeCase(dataset, `${dataset}${index}`, [size, size, size], image, labeled ? label : undefined);
}

/** 2 labelled, 2 unlabelled and 2 validation cases of each dataset. */
export function shapes(size: number): TrainingData {
  const cases = (first: number, labeled: boolean) =>
    (['balls', 'boxes'] as const).flatMap((name) => [0, 1].map((i) => shapeCase(name, first + i, size, labeled)));
  return {
    labeled: cases(0, true),
    unlabeled: cases(2, false),
    validation: cases(4, true),
    sources: [{ dataset: 'balls', licence: 'none' }, { dataset: 'boxes' }],
  };
}

export function shapesPlan(patch: number, settings: Readonly<Record<string, unknown>> = {}): Plan {
  return makePlan({ balls: [[1]], boxes: [[1]] }, [patch, patch, patch], settings);
}

/** The smallest plan with everything in it: both stages, all losses, a moving schedule, clipping, augmentation. */
export function tinyPlan(training: Readonly<Record<string, unknown>> = {}, rest: object = {}): Plan {
  return shapesPlan(4, {
    network: { baseWidth: 2, levels: 2, convolutions: [1, 1], headWidth: 2 },
    training: {
      stage1Steps: 3,
      stage2Steps: 3,
      labeledBatchSize: 2,
      unlabeledBatchSize: 2,
      schedule: 'cosine',
      gradientClipNorm: 1,
      validateEverySteps: 2,
      checkpointEverySteps: 1,
      workers: 0,
      ...training,
    },
    augmentation: { flip: [true, true, true], noise: 0.1, intensityScale: 0.1 },
    ...rest,
  });
}

/**
 * A small plan over a folder of three or more phantoms of the kind mr-atrium; fields that are not given are those of a run of seconds.
 * @param rest fields of the plan in place of these
 * @param training fields of its training in place of these
 */
export function atriumPlan(path: string, rest: Readonly<Record<string, unknown>> = {}, training: object = {}): Plan {
  return parsePlan({
    version: 1,
    name: 'atrium',
    seed: 5,
    datasets: [
      {
        name: 'atrium',
        path,
        split: { labeled: ['mr-atrium_001', 'mr-atrium_002'], validation: ['mr-atrium_003'], unlabeled: 'rest' },
        preprocessing: { spacingMm: [8, 8, 8], normalization: 'zscore' },
      },
    ],
    tasks: [{ name: 'left-atrium', dataset: 'atrium', labels: [1] }],
    network: { baseWidth: 4, levels: 2, convolutions: [1, 1], headWidth: 2 },
    patchSizeVoxels: [16, 16, 8],
    training: {
      ...{ stage1Steps: 2, stage2Steps: 2, labeledBatchSize: 2, unlabeledBatchSize: 2, workers: 1 },
      ...{ validateEverySteps: 0, checkpointEverySteps: 2, ...training },
    },
    ...rest,
  });
}
