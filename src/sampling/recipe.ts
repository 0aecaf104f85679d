import { augmentationOf, type Plan } from '../config/plan.js';
import { stageOf, totalSteps } from '../config/steps.js';
import { VersemiError } from '../errors.js';

import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { RandomStream, streams } from '../random.js';
import { type Triple, voxelAt } from '../volume/volume.js';
import type { PatchBox } from '../wasm/host.js';
import { besidePartners, pairsOfOneDataset } from './partners.js';
import { BalancedSchedule, type GroupDraw } from './schedule.js';

/** How a patch is turned and its intensities changed after it has been cut. */
export interface PatchAugmentation {
  /** Axes x, y, z that are mirrored, after the rotation. */
  readonly flip: readonly [boolean, boolean, boolean];
  /** Quarter turns in the x-y plane: 0 ... 3. */
  readonly quarterTurns: number;
  /** Further rotation about the axes x, y, z, in this order, in degrees; the flips and quarter turns come first. */
  readonly rotationDegrees: Triple;
  /** Factor by which the content of the patch is magnified. */
  readonly magnification: number;
  /** Exponent of the gamma correction, which comes before scale and shift; 1: none. */
  readonly gamma: number;
  readonly scale: number;
  readonly shift: number;
  /** Standard deviation of the noise; 0: none. */
  readonly noise: number;
}

/** Where a patch is cut, and how it is changed. */
export interface PatchRecipe {
  /** Index into the pool (labelled or unlabelled). */
  readonly caseIndex: number;
  /** First voxel; negative where the patch begins in the padding. */
  readonly begin: Triple;
  readonly augmentation: PatchAugmentation;
  /** Number of the patch in its step, for its stream of noise. */
  readonly sample: number;
}

/** A patch of a labelled case. */
export interface LabeledRecipe extends PatchRecipe {
  /** The drawn task, whose foreground is the target in a mix: its index in the plan. */
  readonly task: number;
  /** The tasks that the patch is prompted with by itself, `task` first; as many for every patch, so that tasks may repeat. */
  readonly tasks: readonly number[];
}

/** A patch of an unlabelled case. */
export interface UnlabeledRecipe extends PatchRecipe {
  /** Tasks of the dataset, as in `LabeledRecipe`; the synthetic task for a dataset without tasks. */
  readonly tasks: readonly number[];
}

/** One mix: `outside` and `inside` index the patches of the step. */
export interface MixRecipe {
  readonly outside: number;
  readonly inside: number;
  readonly cube: PatchBox;
  /** true: the other way round, `outside` lies in the cube and `inside` around it. */
  readonly swapped?: true;
}

/** Every decision of one step; cutting the voxels adds nothing random but the noise. */
export interface StepRecipe {
  readonly step: number;
  readonly labeled: readonly LabeledRecipe[];
  /** Pairs of labelled patches: (i, i + N / 2). Empty in supervised mode. */
  readonly mixed: readonly MixRecipe[];
  readonly unlabeled: readonly UnlabeledRecipe[];
  /** One per unlabelled patch, none with 'none'; `inside` is a labelled patch, or an unlabelled one with 'unlabeled-pairs'. */
  readonly unlabeledMixes: readonly MixRecipe[];
}

/** Prompts per image: 1, or as many as the dataset with the most tasks has; images of other datasets repeat theirs. */
export function promptsPerImage({ training, datasets, tasks }: Pick<Plan, 'training' | 'datasets' | 'tasks'>): number {
  if (training.promptsPerImage === 'one') return 1;
  return Math.max(1, ...datasets.map(({ name }) => tasks.filter(({ dataset }) => dataset === name).length));
}

/** The patch with which an unlabelled one is mixed: a labelled one, or an unlabelled one with 'unlabeled-pairs'. */
export function partnerOf(index: number, { cutmix, training }: Pick<Plan, 'cutmix' | 'training'>): number {
  const { unlabeledBatchSize, labeledBatchSize } = training;
  return cutmix.unlabeledMix === 'unlabeled-pairs'
    ? (index + unlabeledBatchSize / 2) % unlabeledBatchSize
    : index % labeledBatchSize;
}

/** The tasks, as indices in the plan, that the images of a step are prompted with. The synthetic task comes behind the last. */
export interface StepPrompts {
  /** For each labelled patch the tasks of `LabeledRecipe`. */
  readonly labeled: readonly (readonly number[])[];
  /** For each mix of labelled patches the drawn tasks of the patch outside and of the patch inside. */
  readonly mixed: readonly (readonly [outside: number, inside: number])[];
  /** For each unlabelled patch the tasks of `UnlabeledRecipe`. */
  readonly unlabeled: readonly (readonly number[])[];
}

export function promptsOf({ labeled, mixed, unlabeled }: StepRecipe): StepPrompts {
  return {
    labeled: labeled.map(({ tasks }) => tasks),
    mixed: mixed.map(({ outside, inside }) => [labeled[outside]!.task, labeled[inside]!.task]),
    unlabeled: unlabeled.map(({ tasks }) => tasks),
  };
}

/** Sample numbers of unlabelled patches begin here, so that no stream is used twice in a step. */
const unlabeledSamples = 0x10000;

/** First voxel of a patch along an axis; a volume smaller than the patch lies in its middle. */
function padded(size: number, patch: number): number {
  return -Math.floor((patch - size) / 2);
}

/** Uniform over all positions at which the patch lies inside the volume, the last one included. */
export function randomBegin(random: RandomStream, sizeVoxels: Triple, patch: Triple): Triple {
  const along = (axis: 0 | 1 | 2) =>
    sizeVoxels[axis] <= patch[axis]
      ? padded(sizeVoxels[axis], patch[axis])
      : random.integer(sizeVoxels[axis] - patch[axis] + 1);
  return [along(0), along(1), along(2)];
}

export function centerBegin(sizeVoxels: Triple, patch: Triple): Triple {
  const along = (axis: 0 | 1 | 2) => {
    const room = sizeVoxels[axis] - patch[axis];
    return room <= 0 ? padded(sizeVoxels[axis], patch[axis]) : Math.floor(room / 2);
  };
  return [along(0), along(1), along(2)];
}

/** The position nearest to one centred on the voxel at which the patch lies inside the volume. */
export function beginAround(voxel: Triple, sizeVoxels: Triple, patch: Triple): Triple {
  const along = (axis: 0 | 1 | 2) => {
    const room = sizeVoxels[axis] - patch[axis];
    if (room <= 0) return padded(sizeVoxels[axis], patch[axis]);
    return Math.min(room, Math.max(0, voxel[axis] - Math.floor(patch[axis] / 2)));
  };
  return [along(0), along(1), along(2)];
}

/** A CutMix cube: side floor(patch * ratio) along each axis, all positions inside the patch equally likely. */
export function randomCube(random: RandomStream, patch: Triple, ratio: number): PatchBox {
  // The small number mends products such as 0.29 * 100 = 28.999999999999996.
  const along = (axis: 0 | 1 | 2) => Math.max(1, Math.floor(patch[axis] * ratio + 1e-9));
  const sizeVoxels: Triple = [along(0), along(1), along(2)];
  const place = (axis: 0 | 1 | 2) => random.integer(patch[axis] - sizeVoxels[axis] + 1);
  return { begin: [place(0), place(1), place(2)], sizeVoxels };
}

interface Pool {
  readonly cases: readonly PreprocessedCase[];
  /** Indices of the cases of each dataset that has any. */
  readonly groups: readonly (readonly number[])[];
  readonly schedule: BalancedSchedule;
}

function makePool(plan: Plan, cases: readonly PreprocessedCase[], pool: 0 | 1): Pool {
  const groups = plan.datasets
    .map(({ name }) => cases.flatMap((one, index) => (one.dataset === name ? [index] : [])))
    .filter((group) => group.length > 0);
  const members = groups.map((group) => group.length);
  return { cases, groups, schedule: new BalancedSchedule(plan.seed, pool, members) };
}

/** The draws that fall to a step, in the order of the schedule. */
function drawsOf({ schedule }: Pool, step: number, size: number): GroupDraw[] {
  return Array.from({ length: size }, (_, place) => schedule.group(step * size + place));
}

function datasetOf({ cases, groups }: Pool, { group }: GroupDraw): string {
  return cases[groups[group]![0]!]!.dataset;
}

/** Makes the decisions of a step: a pure function of the plan, the cases and the step. */
export class RecipeMaker {
  private readonly labeled: Pool;
  private readonly unlabeled: Pool;
  /** Indices of the tasks of each dataset of the plan. */
  private readonly tasksOf: ReadonlyMap<string, readonly number[]>;
  private readonly prompts: number;

  /** @throws VERSEMI_SPLIT_INVALID when there are no cases for what the plan asks */
  constructor(
    private readonly plan: Plan,
    data: { readonly labeled: readonly PreprocessedCase[]; readonly unlabeled: readonly PreprocessedCase[] },
  ) {
    this.prompts = promptsPerImage(plan);
    this.tasksOf = new Map(
      plan.datasets.map(({ name }) => [
        name,
        plan.tasks.flatMap((task, index) => (task.dataset === name ? [index] : [])),
      ]),
    );
    for (const one of [...data.labeled, ...data.unlabeled]) {
      if (!this.tasksOf.has(one.dataset)) throw internal(`case ${one.id} of the dataset ${one.dataset}`);
    }
    for (const one of data.labeled) {
      if (one.label === undefined) throw internal(`the labelled case ${one.id} without a label`);
    }
    this.labeled = makePool(plan, data.labeled, 0);
    this.unlabeled = makePool(plan, data.unlabeled, 1);
    if (data.labeled.length === 0) throw noCases('labeled');
    const { mode, stage2Steps } = plan.training;
    if (mode === 'semi-supervised' && stage2Steps > 0 && data.unlabeled.length === 0) throw noCases('unlabeled');
  }

  /** @param step of the run; counts from 0 */
  recipe(step: number): StepRecipe {
    const { training } = this.plan;
    if (step >= totalSteps(training)) throw internal(`step ${step} of ${totalSteps(training)}`);
    const labeled = this.labeledDraws(step).map((draw, i) => this.labeledPatch(step, i, draw));
    if (training.mode === 'supervised') return { step, labeled, mixed: [], unlabeled: [], unlabeledMixes: [] };
    const half = labeled.length / 2;
    const mixed = Array.from({ length: half }, (_, i) => ({
      outside: i,
      inside: i + half,
      cube: this.cube(step, i),
    }));
    if (stageOf(step, training) === 1) return { step, labeled, mixed, unlabeled: [], unlabeledMixes: [] };
    const count = training.unlabeledBatchSize;
    const { unlabeledMix } = this.plan.cutmix;
    // In turn over the whole run, so that an odd batch has both kinds equally often.
    const isSwapped = (i: number) => unlabeledMix === 'both-sides' && (step * count + i) % 2 === 1;
    return {
      step,
      labeled,
      mixed,
      unlabeled: this.unlabeledDraws(step, labeled).map((draw, i) => this.unlabeledPatch(step, i, draw)),
      unlabeledMixes: Array.from({ length: unlabeledMix === 'none' ? 0 : count }, (_, i) => ({
        outside: i,
        inside: partnerOf(i, this.plan),
        cube: this.cube(step, unlabeledSamples + i),
        ...(isSwapped(i) ? { swapped: true as const } : {}),
      })),
    };
  }

  /** The draws of a step in the order of its patches. */
  private labeledDraws(step: number): GroupDraw[] {
    const size = this.plan.training.labeledBatchSize;
    const draws = drawsOf(this.labeled, step, size);
    if (this.plan.cutmix.partners === 'same-dataset')
      return pairsOfOneDataset(draws.map((draw) => datasetOf(this.labeled, draw))).map((place) => draws[place]!);
    // Neighbours in the schedule come from different datasets: they become the pair (i, i + N / 2).
    const half = size / 2;
    return draws.map((_, i) => draws[size % 2 !== 0 ? i : i < half ? 2 * i : 2 * (i - half) + 1]!);
  }

  private unlabeledDraws(step: number, labeled: readonly LabeledRecipe[]): GroupDraw[] {
    const { cutmix, training } = this.plan;
    const draws = drawsOf(this.unlabeled, step, training.unlabeledBatchSize);
    if (cutmix.partners === 'any' || cutmix.unlabeledMix === 'none') return draws;
    const datasets = draws.map((draw) => datasetOf(this.unlabeled, draw));
    const partners = () =>
      draws.map((_, i) => this.labeled.cases[labeled[partnerOf(i, this.plan)]!.caseIndex]!.dataset);
    const places =
      cutmix.unlabeledMix === 'unlabeled-pairs' ? pairsOfOneDataset(datasets) : besidePartners(datasets, partners());
    return places.map((place) => draws[place]!);
  }

  private labeledPatch(step: number, sample: number, draw: GroupDraw): LabeledRecipe {
    const { plan } = this;
    const { groups, schedule, cases } = this.labeled;
    const caseIndex = groups[draw.group]![schedule.member(draw)]!;
    const one = cases[caseIndex]!;
    const tasks = this.tasksOf.get(one.dataset)!;
    if (tasks.length === 0) throw internal(`the labelled case ${one.id} of ${one.dataset}, which has no task`);
    const task = tasks[schedule.task(draw, tasks.length)]!;
    const random = new RandomStream(plan.seed, streams.patches, step, sample);
    const patch = plan.patchSizeVoxels;
    const onForeground = random.uniform() < augmentationOf(plan, one.dataset).foregroundFraction;
    const voxel = onForeground ? foregroundVoxel(random, one, plan.tasks[task]!.labels) : undefined;
    const begin =
      voxel === undefined ? randomBegin(random, one.sizeVoxels, patch) : beginAround(voxel, one.sizeVoxels, patch);
    const augmentation = this.augmentation(one.dataset, step, sample);
    return { caseIndex, begin, task, tasks: this.inTurn(tasks, task), sample, augmentation };
  }

  /**
   * A voxel of an unlabelled scan where foreground is likely: scans of a dataset show about the same part of the body, so that it is taken to
   * lie where it lies in a labelled case, as shares of the sides of the scan. Undefined where the labelled case drawn has none.
   */
  private likelyForeground(
    random: RandomStream,
    dataset: string,
    task: number,
    sizeVoxels: Triple,
  ): Triple | undefined {
    const { cases, groups } = this.labeled;
    const group = groups.find(([first]) => cases[first!]!.dataset === dataset);
    const labels = this.plan.tasks[task]?.labels;
    if (group === undefined || labels === undefined) return undefined;
    const one = cases[group[random.integer(group.length)]!]!;
    const voxel = foregroundVoxel(random, one, labels);
    if (voxel === undefined) return undefined;
    const along = (axis: 0 | 1 | 2) =>
      Math.min(sizeVoxels[axis] - 1, Math.floor(((voxel[axis] + 0.5) * sizeVoxels[axis]) / one.sizeVoxels[axis]));
    return [along(0), along(1), along(2)];
  }

  /** All prompts of an image: its dataset's tasks in turn, beginning with the drawn one. */
  private inTurn(tasks: readonly number[], drawn: number): number[] {
    const first = tasks.indexOf(drawn);
    return Array.from({ length: this.prompts }, (_, i) => tasks[(first + i) % tasks.length]!);
  }

  private unlabeledPatch(step: number, index: number, draw: GroupDraw): UnlabeledRecipe {
    const { plan } = this;
    const { groups, schedule, cases } = this.unlabeled;
    const caseIndex = groups[draw.group]![schedule.member(draw)]!;
    const { sizeVoxels, dataset } = cases[caseIndex]!;
    const sample = unlabeledSamples + index;
    const own = this.tasksOf.get(dataset)!;
    const tasks = own.length === 0 ? [plan.tasks.length] : own;
    const drawn = tasks[schedule.task(draw, tasks.length)]!;
    const { unlabeledCrop, unlabeledForegroundFraction } = augmentationOf(plan, dataset);
    const random = new RandomStream(plan.seed, streams.patches, step, sample);
    // Nothing is drawn for a share of none, so that the patches stay where they were.
    const likely =
      unlabeledForegroundFraction > 0 && random.uniform() < unlabeledForegroundFraction
        ? this.likelyForeground(random, dataset, drawn, sizeVoxels)
        : undefined;
    const begin =
      likely !== undefined
        ? beginAround(likely, sizeVoxels, plan.patchSizeVoxels)
        : unlabeledCrop === 'center'
          ? centerBegin(sizeVoxels, plan.patchSizeVoxels)
          : randomBegin(random, sizeVoxels, plan.patchSizeVoxels);
    return {
      caseIndex,
      begin,
      tasks: this.inTurn(tasks, drawn),
      sample,
      augmentation: this.augmentation(dataset, step, sample),
    };
  }

  private cube(step: number, sample: number): PatchBox {
    const { seed, cutmix, patchSizeVoxels, training } = this.plan;
    const random = new RandomStream(seed, streams.cutmix, step, sample);
    const ratio = stageOf(step, training) === 1 ? cutmix.stage1Ratio : random.uniformBetween(...cutmix.stage2Ratio);
    return randomCube(random, patchSizeVoxels, ratio);
  }

  private augmentation(dataset: string, step: number, sample: number): PatchAugmentation {
    const augmentation = augmentationOf(this.plan, dataset);
    const random = new RandomStream(this.plan.seed, streams.augmentation, step, sample);
    // Every number is drawn whether it is used or not: switching one augmentation on leaves the others as they were.
    const [x, y, z] = [random.uniform(), random.uniform(), random.uniform()];
    const turns = random.integer(4);
    const scale = 1 + augmentation.intensityScale * random.uniformBetween(-1, 1);
    const shift = augmentation.intensityShift * random.uniformBetween(-1, 1);
    const noise = augmentation.noise * random.uniform();
    const angle = (axis: 0 | 1 | 2) => augmentation.rotationDegrees[axis] * random.uniformBetween(-1, 1);
    const rotationDegrees: Triple = [angle(0), angle(1), angle(2)];
    const magnification = logarithmic(random, augmentation.magnification);
    const gamma = logarithmic(random, augmentation.gamma);
    const [flipX, flipY, flipZ] = augmentation.flip;
    return {
      flip: [flipX && x < 0.5, flipY && y < 0.5, flipZ && z < 0.5],
      quarterTurns: augmentation.rotation90 ? turns : 0,
      rotationDegrees,
      magnification,
      gamma,
      scale,
      shift,
      noise,
    };
  }
}

/** A number from [low, high] whose logarithm is uniform: a factor and its inverse are equally likely. */
function logarithmic(random: RandomStream, [low, high]: readonly [number, number]): number {
  const share = random.uniform();
  return low * (high / low) ** share;
}

/** A voxel of one of the labels, or undefined when the case has none of them. */
function foregroundVoxel(random: RandomStream, one: PreprocessedCase, labels: readonly number[]): Triple | undefined {
  const present = labels.map((label) => one.foreground?.[label]).filter((voxels) => (voxels?.length ?? 0) > 0);
  if (present.length === 0) return undefined;
  const voxels = present[random.integer(present.length)]!;
  return voxelAt(voxels[random.integer(voxels.length)]!, one.sizeVoxels);
}

function noCases(role: 'labeled' | 'unlabeled'): VersemiError {
  return new VersemiError('SPLIT_INVALID', {
    field: `datasets[].split.${role}`,
    expected: `at least one ${role === 'labeled' ? 'labelled' : 'unlabelled'} case`,
    found: 'none',
    remedy:
      role === 'labeled'
        ? 'Name labelled cases in the plan.'
        : "Add unlabelled cases, or set training.mode to 'supervised'.",
  });
}

function internal(found: string): VersemiError {
  return new VersemiError('INTERNAL', { field: 'sampler', expected: 'cases of the plan', found });
}
