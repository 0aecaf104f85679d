import { z } from '#zod';
import { partNamePattern } from '../parts.js';
import { scans, taskNames } from './facts-schema.js';
import {
  choice,
  field,
  flag,
  flagTriple,
  integer,
  integerOrNull,
  integerTriple,
  optionalChoice,
  optionalField,
  optionalFlag,
  optionalInteger,
  optionalPart,
  overrides,
  real,
  realOrNull,
  realRange,
  realTriple,
} from './fields.js';
import { cutmix, losses } from './loss-schema.js';

/** Input of a group that is left out: every field of it then takes its own default. */
const allDefaults = {} as never;

/** Smallest and largest label value a task may name; 0 is the background. */
const labelRange = [1, 255] as const;

const name = (explanation: string) =>
  field(
    z.string().regex(/^[^\s/\\\p{Cc}][^/\\\p{Cc}]{0,79}$/u),
    'a name of 1 to 80 characters, without slashes and control characters, not starting with a space',
    { explanation },
  );

const ids = z.array(z.string().min(1));

const split = z.strictObject({
  file: field(z.string().min(1).nullable(), 'null or a path', {
    default: null,
    explanation:
      'Split file (JSON: name -> list of case ids), relative to the dataset folder; null: splits.json of the dataset where there is one.',
  }),
  labeled: field(z.union([z.string().min(1), ids]), "'all', a name in the split file, or a list of case ids", {
    default: 'all',
    explanation: 'Cases whose labels are used for training.',
  }),
  validation: field(
    z.union([z.int().gte(0), z.string().min(1), ids]),
    'a count >= 0, a name in the split file, or a list of case ids',
    {
      default: 0,
      explanation:
        'Cases for choosing a model. A count is drawn by the seed from the cases that have label files but are not in `labeled`.',
    },
  ),
  fold: optionalPart({
    explanation:
      'Cross-validation: the cases of `labeled` are dealt into `count` folds, the same for every seed; those of the fold `index` are for validation, the others train; left out: no folds.',
  }),
  unlabeled: field(
    z.union([z.string().min(1), ids]),
    "'rest', 'none', a name in the split file, or a list of case ids",
    {
      default: 'rest',
      explanation: 'Cases used without labels; label files of these cases are never opened.',
    },
  ),
});

/** A part of one's own, see `src/parts.ts`; whether it is there, is asked where it is used. */
const partName = z.string().regex(partNamePattern);

const preprocessing = z.strictObject({
  spacingMm: realTriple({
    range: [0.01, 100],
    unit: 'mm',
    explanation: 'Voxel size to which every case is resampled before it is cut into patches.',
  }),
  window: field(z.tuple([z.number(), z.number()]).nullable(), 'null or [low, high]', {
    default: null,
    unit: 'intensity (HU for CT)',
    explanation: 'Intensities are clipped to this range before normalisation; null: no clipping.',
  }),
  normalization: choice(['zscore', 'zscore-nonzero', 'range', 'none'], {
    default: 'zscore',
    explanation:
      'zscore: mean 0, standard deviation 1 over the volume; zscore-nonzero: over its nonzero voxels, zeros stay; range: the window (null: minimum to maximum) becomes [0, 1]; none: as stored.',
  }),
  crop: choice(['none', 'body'], {
    default: 'none',
    explanation: 'body: crop to the bounding box of what is not air.',
  }),
  targets: choice(['labels', 'fractions'], {
    default: 'labels',
    explanation:
      'What a voxel of another size learns. labels: the label with the largest interpolated weight, which shrinks thin and round structures; fractions: how much of the voxel each label fills.',
  }),
});

const augmentation = z.strictObject({
  flip: flagTriple({
    default: [false, false, false],
    explanation: 'Axes along which a patch is mirrored with probability 1/2.',
  }),
  rotation90: flag({ default: false, explanation: 'Rotation in the x-y plane by a random multiple of 90 degrees.' }),
  rotationDegrees: realTriple({
    range: [0, 180],
    default: [0, 0, 0],
    unit: 'degrees',
    explanation: 'A patch is rotated about each axis by an angle drawn from [-value, value]; shapes in mm are kept.',
  }),
  magnification: realRange({
    range: [0.25, 4],
    default: [1, 1],
    explanation: 'A patch is magnified by a factor from this range; its logarithm is drawn uniformly.',
  }),
  gamma: realRange({
    range: [0.1, 10],
    default: [1, 1],
    explanation:
      'A patch, brought to [0, 1], is raised to an exponent from this range (logarithm uniform); mean and deviation are restored.',
  }),
  intensityScale: real({
    range: [0, 1],
    open: 'high',
    default: 0,
    explanation: 'A patch is multiplied by a number drawn from [1 - value, 1 + value].',
  }),
  intensityShift: real({
    range: [0, 100],
    default: 0,
    unit: 'normalised intensity',
    explanation: 'A number drawn from [-value, value] is added to a patch.',
  }),
  noise: real({
    range: [0, 100],
    default: 0,
    unit: 'normalised intensity',
    explanation: 'Standard deviation of Gaussian noise: drawn per patch from [0, value].',
  }),
  foregroundFraction: real({
    range: [0, 1],
    default: 0,
    explanation: 'Share of the labelled patches that are centred on a foreground voxel of their task.',
  }),
  unlabeledCrop: choice(['random', 'center'], {
    default: 'random',
    explanation: 'Where a patch is cut from an unlabelled image.',
  }),
  unlabeledForegroundFraction: real({
    range: [0, 1],
    default: 0,
    explanation:
      'Share of the unlabelled patches that are centred where a labelled case of the dataset has foreground of the drawn task: at the same place of the scan, as shares of its sides. The others are cut as unlabeledCrop says.',
  }),
  own: optionalField(z.array(partName), 'a list of names of augmentations', {
    explanation: 'Augmentations of your own that follow those above, in this order (--parts); left out: none.',
  }),
});

const dataset = z.strictObject({
  name: name('Name by which tasks refer to the dataset.'),
  path: field(z.string().min(1), 'a path', {
    explanation: 'Folder of the dataset; relative to the plan file.',
  }),
  format: field(
    partName,
    "'auto' or 'decathlon' or 'nnunet' or 'hdf5' or 'images' or 'dicom' or the name of a layout of your own",
    {
      default: 'auto',
      explanation: 'How the folder is organised; auto: found out from its files; a layout of your own: --parts.',
    },
  ),
  keys: z
    .strictObject({
      image: field(z.string().min(1), 'a name', { explanation: 'Name of the array of the image in each HDF5 file.' }),
      label: field(z.string().min(1), 'a name', {
        explanation: 'Name of the array of the label map in each HDF5 file that has one.',
      }),
    })
    .optional(),
  filesOutside: optionalFlag({
    explanation:
      'true: dataset.json may name files outside of the dataset folder (absolute paths, `../`); left out: they are refused.',
  }),
  channel: field(z.union([z.int().gte(0), z.string().min(1)]), 'an index >= 0 or the name of a modality', {
    default: 0,
    explanation: 'Modality to use where a dataset has several.',
  }),
  split: split.prefault(allDefaults),
  preprocessing,
  augmentation: overrides('augmentation', augmentation.shape).optional(),
  scans,
});

const task = z.strictObject({
  name: name('Name of the task in reports and on the command line.'),
  dataset: name('Dataset whose labels define the task.'),
  labels: field(
    z.array(z.int().gte(labelRange[0]).lte(labelRange[1])).min(1),
    `a list of label values in [${labelRange[0]}, ${labelRange[1]}]`,
    { explanation: 'Label values of the dataset that together are the foreground of the task.' },
  ),
  writtenAs: optionalInteger({
    range: labelRange,
    explanation:
      "Value of the task in a label map (nnU-Net's regions_class_order); left out: its smallest label that no task of fewer labels has.",
  }),
  ...taskNames,
});

/** Convolutions per level when the plan does not say: the paper's V-Net, its last number repeated for deeper networks. */
export function defaultConvolutions(levels: number): number[] {
  return Array.from({ length: levels }, (_, level) => Math.min(level + 1, 3));
}

const network = z
  .strictObject({
    baseWidth: integer({
      range: [1, 256],
      default: 16,
      unit: 'channels',
      explanation: 'Channels at full resolution; doubled at every level.',
    }),
    levels: integer({
      range: [2, 8],
      default: 5,
      unit: 'levels',
      explanation: 'Resolutions of the network; every patch axis must be divisible by 2^(levels - 1).',
    }),
    convolutions: field(z.array(z.int().gte(1).lte(8)).optional(), 'one integer in [1, 8] per level', {
      explanation: 'Convolutions per level, from full resolution down; left out: 1, 2, 3, 3, 3 and so on.',
    }),
    headWidth: integer({
      range: [1, 64],
      default: 8,
      unit: 'channels',
      explanation: 'Channels of the dynamic head whose weights the prompt generates.',
    }),
    fullResolutionSkip: flag({
      default: false,
      explanation:
        'A skip connection at full resolution, as other V-Nets have; the paper has none. It needs fullResolutionBlock beside it: alone it slows training.',
    }),
    fullResolutionBlock: flag({
      default: false,
      explanation:
        'Convolutions of the decoder at full resolution, as many as the encoder has there, as other V-Nets have; the paper has none.',
    }),
    architecture: optionalField(partName, "'versemi' or the name of a network of your own", {
      explanation:
        "A network of your own in place of versemi's (--parts); what it makes of the fields above it decides itself; left out: versemi.",
    }),
  })
  .transform(({ baseWidth, levels, convolutions, ...others }) => ({
    baseWidth,
    levels,
    convolutions: convolutions ?? defaultConvolutions(levels),
    ...others,
  }));

const training = z.strictObject({
  mode: choice(['semi-supervised', 'supervised'], {
    default: 'semi-supervised',
    explanation:
      'supervised: only the labelled loss, for stage1Steps + stage2Steps steps; semi-supervised: both stages of the method.',
  }),
  stage1Steps: integer({
    range: [0, 1e8],
    default: 13000,
    unit: 'steps',
    explanation: 'Steps of the first stage (labelled images only).',
  }),
  stage2Steps: integer({
    range: [0, 1e8],
    default: 13000,
    unit: 'steps',
    explanation: 'Steps of the second stage (labelled and unlabelled images).',
  }),
  labeledBatchSize: integer({
    range: [1, 4096],
    default: 8,
    unit: 'patches',
    explanation: 'Labelled patches per step; even, since CutMix pairs the halves of the batch.',
  }),
  unlabeledBatchSize: integer({
    range: [1, 4096],
    default: 8,
    unit: 'patches',
    explanation: 'Unlabelled patches per step of the second stage.',
  }),
  batchSizeScope: optionalChoice(['global', 'rank'], {
    explanation:
      'What the batch sizes count where several ranks train together (MPI). global: the patches of a step, which the ranks share (strong scaling: the numbers are those of one process); rank: the patches of each rank, so that a step has as many times more (weak scaling); left out: global.',
  }),
  optimizer: choice(['adam', 'sgd'], {
    default: 'adam',
    explanation: 'adam: as the paper; sgd: gradient descent with momentum.',
  }),
  learningRate: real({
    range: [0, 10],
    open: 'low',
    default: 1e-3,
    explanation: 'Step size of the optimiser; about 0.01 for sgd.',
  }),
  momentum: real({
    range: [0, 1],
    open: 'high',
    default: 0.9,
    explanation: 'Share of the last step that sgd keeps in the next one.',
  }),
  beta1: real({ range: [0, 1], open: 'high', default: 0.5, explanation: 'Decay of the first moment of Adam.' }),
  beta2: real({ range: [0, 1], open: 'high', default: 0.999, explanation: 'Decay of the second moment of Adam.' }),
  epsilon: real({ range: [0, 1], open: 'low', default: 1e-8, explanation: 'Added to the denominator of Adam.' }),
  weightDecay: real({
    range: [0, 1],
    default: 0,
    explanation: 'Decay of the weights per unit of learning rate; adam: decoupled, sgd: added to the gradient.',
  }),
  schedule: choice(['constant', 'cosine', 'polynomial'], {
    default: 'constant',
    explanation: 'Course of the learning rate over the whole run, both stages.',
  }),
  warmupSteps: integer({
    range: [0, 1e8],
    default: 0,
    unit: 'steps',
    explanation: 'Steps over which the learning rate rises linearly from 0.',
  }),
  promptsPerImage: choice(['one', 'all', 'each'], {
    default: 'one',
    explanation:
      'Tasks with which an image is prompted in the labelled loss and in that of the teacher: one drawn task of its dataset (the paper); or all of them, where images of datasets with fewer tasks repeat theirs; or each of them once, without repetition. The trunk runs once, each further prompt costs a small head.',
  }),
  gradientClipNorm: realOrNull({
    range: [0, 1e6],
    open: 'low',
    default: null,
    explanation: 'Gradients of larger Euclidean norm are scaled down to it; null: never.',
  }),
  emaDecay: real({
    range: [0, 1],
    open: 'high',
    default: 0.99,
    explanation: 'Decay of the moving average of the weights, ramped so that early averages are true means.',
  }),
  validateEverySteps: integer({
    range: [0, 1e8],
    default: 500,
    unit: 'steps',
    explanation: 'Steps between validations; 0: only at the end.',
  }),
  validationCases: integerOrNull({
    range: [1, 1e6],
    default: null,
    unit: 'cases per dataset',
    explanation:
      'Validation cases used at each validation during training, drawn once, the same for every seed and method with this split; null: all.',
  }),
  checkpointEverySteps: integer({
    range: [0, 1e8],
    default: 500,
    unit: 'steps',
    explanation: 'Steps between checkpoints; 0: only at the end.',
  }),
  checkpointEveryMinutes: real({
    range: [0, 1e6],
    default: 15,
    unit: 'minutes',
    explanation: 'Time after which a checkpoint is written besides those by steps; 0: by steps alone.',
  }),
  recomputedLevels: integer({
    range: [0, 8],
    default: 0,
    unit: 'levels',
    explanation:
      'Levels of the network, counted from full resolution, whose activations are dropped after the forward pass and computed again in the backward pass: less memory for more time; the numbers are the same.',
  }),
  deviceVolumesMiB: integer({
    range: [0, 1e7],
    default: 4096,
    unit: 'MiB',
    explanation:
      'Memory of the device cuda for the volumes of the training cases: where they fit and no dataset is augmented in a way that only the host knows, patches are cut and mixed there; 0: never. The numbers are the same.',
  }),
  workers: integer({
    range: [0, 64],
    default: 1,
    unit: 'threads',
    explanation:
      'Worker threads that prepare batches ahead of the device; 0: in the main thread. The numbers are the same.',
  }),
});

const inference = z.strictObject({
  protocol: choice(['default', 'versemi'], {
    default: 'default',
    explanation:
      'default: the settings below; versemi: strides of 16, 16 and 4 voxels and uniform weights, as in the paper.',
  }),
  overlap: real({
    range: [0, 0.95],
    default: 0.5,
    explanation: 'Share of a window that overlaps its neighbour.',
  }),
  weighting: choice(['gaussian', 'uniform'], {
    default: 'gaussian',
    explanation: 'Weights with which overlapping windows are averaged.',
  }),
  mirror: flag({ default: false, explanation: 'Average over mirrored copies (8 times the work).' }),
  largestComponent: flag({ default: false, explanation: 'Keep the largest connected component of each task only.' }),
  largestComponentOf: choice(['task', 'dataset'], {
    default: 'task',
    explanation:
      'Where it is looked for: in each task by itself; or first in all tasks of a dataset together, which are one organ, and then in what each task has of that.',
  }),
  network: choice(['student', 'ema'], {
    default: 'student',
    explanation: 'The trained weights, or their moving average.',
  }),
});

/** Schema of a plan: strict objects, so that a misspelt field is an error; defaults as in the paper. */
export const planSchema = z.strictObject({
  version: field(z.literal(1), '1', { explanation: 'Version of the plan format.' }),
  name: name('Name of the plan; names the run.'),
  seed: integer({
    range: [0, Number.MAX_SAFE_INTEGER],
    default: 0,
    explanation: 'Every random number of a run derives from it.',
  }),
  datasets: z.array(dataset).min(1),
  tasks: z.array(task).min(1),
  network: network.prefault(allDefaults),
  patchSizeVoxels: integerTriple({
    range: [1, 1024],
    default: [96, 96, 96],
    unit: 'voxels',
    explanation: 'Size of the patches that the network sees.',
  }),
  training: training.prefault(allDefaults),
  cutmix: cutmix.prefault(allDefaults),
  losses: losses.prefault(allDefaults),
  augmentation: augmentation.prefault(allDefaults),
  inference: inference.prefault(allDefaults),
});

/** A complete, checked plan: the single source of a run. */
export type Plan = z.output<typeof planSchema>;
/** A dataset of a plan. */
export type PlanDataset = Plan['datasets'][number];
/** A task of a plan. */
export type PlanTask = Plan['tasks'][number];
export type AugmentationSettings = Plan['augmentation'];
export type PreprocessingSettings = PlanDataset['preprocessing'];
