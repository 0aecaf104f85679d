import { nearestName } from './fields.js';
import type { Plan } from './schema.js';
import { mixesWithLabeled } from './steps.js';

/** Two fields of a plan, each allowed by itself, that cannot both hold. */
export interface Contradiction {
  /** Paths of the fields concerned. */
  readonly fields: readonly string[];
  readonly expected: string;
  readonly found: string;
  readonly remedy: string;
}

const axes = ['x', 'y', 'z'] as const;

function* names(plan: Plan): Generator<Contradiction> {
  for (const group of ['datasets', 'tasks'] as const) {
    const seen = new Map<string, number>();
    for (const [index, { name }] of plan[group].entries()) {
      const before = seen.get(name);
      if (before !== undefined) {
        yield {
          fields: [`${group}[${before}].name`, `${group}[${index}].name`],
          expected: 'different names',
          found: `"${name}" twice`,
          remedy: 'Rename one of them.',
        };
      }
      seen.set(name, index);
    }
  }
  const known = plan.datasets.map((dataset) => dataset.name);
  for (const [index, task] of plan.tasks.entries()) {
    if (!known.includes(task.dataset)) {
      const nearest = nearestName(task.dataset, known);
      yield {
        fields: [`tasks[${index}].dataset`, 'datasets[].name'],
        expected: `one of the datasets ${known.join(', ')}`,
        found: `"${task.dataset}"`,
        remedy: nearest === undefined ? 'Add the dataset, or name another.' : `Did you mean "${nearest}"?`,
      };
    }
    if (new Set(task.labels).size !== task.labels.length) {
      yield {
        fields: [`tasks[${index}].labels`],
        expected: 'each label value once',
        found: task.labels.join(', '),
        remedy: 'Remove the repetition.',
      };
    }
  }
}

function* splits(plan: Plan): Generator<Contradiction> {
  for (const [index, { name, split }] of plan.datasets.entries()) {
    const at = `datasets[${index}].split`;
    const hasTask = plan.tasks.some((task) => task.dataset === name);
    const hasLabels = !Array.isArray(split.labeled) || split.labeled.length > 0;
    if (hasTask !== hasLabels) {
      yield {
        fields: [`${at}.labeled`, 'tasks[].dataset'],
        expected: hasTask
          ? 'labelled cases for the tasks of the dataset'
          : 'no labelled cases, since no task uses them',
        found: `${JSON.stringify(split.labeled)} in the dataset "${name}"`,
        remedy: hasTask
          ? 'Name labelled cases, or remove the task.'
          : 'Add a task of this dataset, or set labeled to [].',
      };
    }
    const { fold, validation } = split;
    if (fold !== undefined && fold[0] >= fold[1])
      yield {
        fields: [`${at}.fold`],
        expected: `an index below ${fold[1]}`,
        found: String(fold[0]),
        remedy: 'Folds count from 0.',
      };
    if (fold !== undefined && (Array.isArray(validation) ? validation.length : validation) !== 0)
      yield {
        fields: [`${at}.fold`, `${at}.validation`],
        expected: 'validation 0, since the fold says which cases are for validation',
        found: JSON.stringify(validation),
        remedy: 'Set validation to 0, or leave fold out.',
      };
    const roles = ['labeled', 'validation', 'unlabeled'] as const;
    for (const [i, first] of roles.entries()) {
      for (const second of roles.slice(i + 1)) {
        const a = split[first];
        const b = split[second];
        const both = Array.isArray(a) && Array.isArray(b) ? a.filter((id) => b.includes(id)) : [];
        const sameKey = typeof a === 'string' && a === b;
        if (both.length > 0 || sameKey) {
          yield {
            fields: [`${at}.${first}`, `${at}.${second}`],
            expected: 'different cases',
            found: sameKey ? `"${a}" in both` : `${both.slice(0, 5).join(', ')} in both`,
            remedy: 'Keep each case in one of the two.',
          };
        }
      }
    }
  }
}

function* preprocessing(plan: Plan): Generator<Contradiction> {
  for (const [index, dataset] of plan.datasets.entries()) {
    const { window } = dataset.preprocessing;
    if (window !== null && window[0] >= window[1]) {
      yield {
        fields: [`datasets[${index}].preprocessing.window[0]`, `datasets[${index}].preprocessing.window[1]`],
        expected: 'low < high',
        found: `[${window.join(', ')}]`,
        remedy: 'Exchange the two numbers.',
      };
    }
  }
}

function* scans(plan: Plan): Generator<Contradiction> {
  for (const [index, { scans }] of plan.datasets.entries()) {
    for (const field of ['spacingMm', 'extentMm', 'percentile005', 'percentile995'] as const) {
      const range = scans?.[field];
      if (range === undefined) continue;
      const [low, high] = range.map((end) => [end].flat()) as [number[], number[]];
      if (low.every((value, axis) => value <= high[axis]!)) continue;
      yield {
        fields: [`datasets[${index}].scans.${field}[0]`, `datasets[${index}].scans.${field}[1]`],
        expected: 'low <= high',
        found: JSON.stringify(range),
        remedy: 'Exchange the two, or leave scans out: training records them.',
      };
    }
  }
}

function* network(plan: Plan): Generator<Contradiction> {
  const { levels, convolutions } = plan.network;
  if (convolutions.length !== levels) {
    yield {
      fields: ['network.convolutions', 'network.levels'],
      expected: `${levels} numbers, one per level`,
      found: `${convolutions.length}`,
      remedy: 'Give one number per level, or leave convolutions out.',
    };
  }
  const divisor = 2 ** (levels - 1);
  for (const [axis, size] of plan.patchSizeVoxels.entries()) {
    if (size % divisor !== 0) {
      yield {
        fields: [`patchSizeVoxels[${axis}]`, 'network.levels'],
        expected: `a multiple of ${divisor} along ${axes[axis]}, since ${levels} levels halve the patch ${levels - 1} times`,
        found: `${size}`,
        remedy: `Use ${Math.max(divisor, Math.round(size / divisor) * divisor)}, or fewer levels.`,
      };
    }
  }
}

function* training(plan: Plan): Generator<Contradiction> {
  const { training, cutmix } = plan;
  const semi = training.mode === 'semi-supervised';
  if (training.stage1Steps + training.stage2Steps === 0) {
    yield {
      fields: ['training.stage1Steps', 'training.stage2Steps'],
      expected: 'at least one step',
      found: '0 and 0',
      remedy: 'Give one of the stages some steps.',
    };
  }
  if (semi && training.labeledBatchSize % 2 !== 0) {
    yield {
      fields: ['training.labeledBatchSize', 'training.mode'],
      expected: 'an even batch, since CutMix pairs its halves',
      found: `${training.labeledBatchSize}`,
      remedy: `Use ${training.labeledBatchSize + 1}.`,
    };
  }
  if (semi && training.stage2Steps > 0) {
    if (plan.datasets.every(({ split }) => split.unlabeled === 'none' || split.unlabeled.length === 0)) {
      yield {
        fields: ['training.stage2Steps', 'datasets[].split.unlabeled'],
        expected: 'unlabelled cases for the second stage',
        found: 'none in any dataset',
        remedy: "Set split.unlabeled to 'rest', stage2Steps to 0, or mode to 'supervised'.",
      };
    }
    if (cutmix.unlabeledMix === 'unlabeled-pairs' && training.unlabeledBatchSize % 2 !== 0) {
      yield {
        fields: ['training.unlabeledBatchSize', 'cutmix.unlabeledMix'],
        expected: "an even batch, since 'unlabeled-pairs' pairs its halves",
        found: `${training.unlabeledBatchSize}`,
        remedy: `Use ${training.unlabeledBatchSize + 1}, or 'labeled-inside'.`,
      };
    }
  }
  yield* ofAverage(plan);
  const steps = training.stage1Steps + training.stage2Steps;
  if (training.warmupSteps > steps) {
    yield {
      fields: ['training.warmupSteps', 'training.stage1Steps'],
      expected: `at most the ${steps} steps of the run`,
      found: `${training.warmupSteps}`,
      remedy: 'Use fewer warm-up steps.',
    };
  }
}

/** Settings of what is compared with the moving average, where nothing is, or without what they build on. */
function* ofAverage({ training, losses, cutmix }: Plan): Generator<Contradiction> {
  if (training.mode !== 'semi-supervised' || training.stage2Steps === 0) return;
  if (losses.teacher === 0 && losses.agreement === 0) {
    const { consistency, pseudoLabel, confidence, entropy, noisyPasses, teacherNoise, teacherStatistics } = losses;
    const set = Object.entries({
      consistency: consistency !== 'dice-cross-entropy',
      pseudoLabel: pseudoLabel !== 'hard',
      confidence: confidence > 0,
      entropy: entropy !== null,
      noisyPasses: noisyPasses > 0,
      teacherNoise: teacherNoise > 0,
      teacherStatistics: teacherStatistics !== 'moving',
      largestComponent: losses.largestComponent,
    }).find(([, given]) => given);
    if (set !== undefined)
      yield {
        fields: [`losses.${set[0]}`, 'losses.teacher', 'losses.agreement'],
        expected: 'a term that compares with the moving average',
        found: 'teacher 0 and agreement 0',
        remedy: `Give teacher or agreement a weight, or leave ${set[0]} out.`,
      };
  }
  if (losses.noisyPasses > 0 && (losses.entropy === null || losses.teacherNoise === 0))
    yield {
      fields: ['losses.noisyPasses', 'losses.entropy', 'losses.teacherNoise'],
      expected: 'an entropy that the noisy passes are for, and noise that makes them differ',
      found: `entropy ${JSON.stringify(losses.entropy)}, teacherNoise ${losses.teacherNoise}`,
      remedy: 'Give both, or set noisyPasses to 0.',
    };
  if (losses.cubeTasks > 0 && !mixesWithLabeled(cutmix))
    yield {
      fields: ['losses.cubeTasks', 'cutmix.unlabeledMix'],
      expected: "'labeled-inside' or 'both-sides', where a label is known in the mix",
      found: `'${cutmix.unlabeledMix}'`,
      remedy: 'Set cubeTasks to 0, or mix with labelled images.',
    };
}

function* sampling(plan: Plan): Generator<Contradiction> {
  const { cutmix, patchSizeVoxels: patch } = plan;
  const [low, high] = cutmix.stage2Ratio;
  if (low > high) {
    yield {
      fields: ['cutmix.stage2Ratio[0]', 'cutmix.stage2Ratio[1]'],
      expected: 'low <= high',
      found: `[${low}, ${high}]`,
      remedy: 'Exchange the two numbers.',
    };
  }
  const shortest = Math.min(...patch);
  for (const [name, value] of [
    ['cutmix.stage1Ratio', cutmix.stage1Ratio],
    ['cutmix.stage2Ratio[0]', low],
  ] as const) {
    if (plan.training.mode === 'semi-supervised' && Math.floor(shortest * value) < 1) {
      yield {
        fields: [name, 'patchSizeVoxels'],
        expected: 'a cube of at least one voxel',
        found: `floor(${shortest} * ${value}) = 0 voxels`,
        remedy: 'Use a larger ratio or patch.',
      };
    }
  }
}

function* augmentation(plan: Plan): Generator<Contradiction> {
  const patch = plan.patchSizeVoxels;
  const own = plan.datasets.map((dataset, i) => [`datasets[${i}].augmentation`, dataset.augmentation ?? {}] as const);
  for (const [group, settings] of [['augmentation', plan.augmentation] as const, ...own]) {
    for (const name of ['magnification', 'gamma'] as const) {
      const range = settings[name];
      if (range !== undefined && range[0] > range[1]) {
        yield {
          fields: [`${group}.${name}[0]`, `${group}.${name}[1]`],
          expected: 'low <= high',
          found: `[${range.join(', ')}]`,
          remedy: 'Exchange the two numbers.',
        };
      }
    }
    if (settings.rotation90 === true && patch[0] !== patch[1]) {
      yield {
        fields: [`${group}.rotation90`, 'patchSizeVoxels'],
        expected: 'a patch that is square in the x-y plane',
        found: `${patch[0]} x ${patch[1]}`,
        remedy: 'Set rotation90 to false, or use a square patch.',
      };
    }
  }
}

function* inference({ inference }: Plan): Generator<Contradiction> {
  if (inference.largestComponentOf === 'dataset' && !inference.largestComponent)
    yield {
      fields: ['inference.largestComponentOf', 'inference.largestComponent'],
      expected: 'that the largest component is kept',
      found: 'largestComponent false',
      remedy: 'Set largestComponent to true, or leave largestComponentOf out.',
    };
}

/** Everything in a plan that contradicts itself, in the order of the plan. */
export function contradictions(plan: Plan): Contradiction[] {
  return [
    ...names(plan),
    ...splits(plan),
    ...preprocessing(plan),
    ...scans(plan),
    ...network(plan),
    ...training(plan),
    ...sampling(plan),
    ...augmentation(plan),
    ...inference(plan),
  ];
}
