import type { Plan } from '../config/plan.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { streams } from '../random.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host, type PatchCut } from '../wasm/host.js';
import type { BatchArrays } from './buffers.js';
import type { MixRecipe, PatchRecipe, StepRecipe } from './recipe.js';
import { turned } from './turn.js';
import { warpMatrix } from './warp.js';

/** Cases to draw from. Of unlabelled cases only the image is read, whatever else they hold. */
export interface SamplingData {
  readonly labeled: readonly PreprocessedCase[];
  readonly unlabeled: readonly PreprocessedCase[];
}

/** Blocks of random numbers of the stream `augmentation` that the decisions of a patch may use; the noise lies behind. */
const firstNoiseBlock = 16;

/** How a patch of a case is cut: position, quarter turns in the x-y plane, flips, and the map of rotation and scaling. */
function cutOf({ begin, augmentation }: PatchRecipe, sizeVoxels: Triple, spacingMm: Triple): PatchCut {
  const { axes, flipped } = turned(augmentation);
  const matrix = warpMatrix(augmentation, spacingMm);
  return { begin, sizeVoxels, axes, flipped, ...(matrix === undefined ? {} : { matrix }) };
}

function lookupOf(labels: readonly number[]): Uint8Array {
  const lookup = new Uint8Array(256);
  for (const label of labels) lookup[label] = 1;
  return lookup;
}

/** Carries out recipes: cuts, turns and mixes voxels. The only part of sampling that touches a volume. */
export class BatchCutter {
  private readonly patch: Triple;
  private readonly voxels: number;
  /** For each task of the plan: its labels as a table. */
  private readonly taskLookup: readonly Uint8Array[];
  /** For each dataset: the labels of any of its tasks. */
  private readonly anyLookup: ReadonlyMap<string, Uint8Array>;
  /** For each task: whether it is all that its dataset has labels for. */
  private readonly onlyTask: readonly boolean[];
  private readonly labels: Uint8Array;
  private readonly scratchA: Float32Array;
  private readonly scratchB: Float32Array;
  /** Unlabelled patches before they are mixed; only for 'unlabeled-pairs'. */
  private unlabeledImages = new Float32Array(0);

  constructor(
    private readonly plan: Plan,
    private readonly data: SamplingData,
  ) {
    this.patch = plan.patchSizeVoxels;
    this.voxels = voxelCount(this.patch);
    this.taskLookup = plan.tasks.map(({ labels }) => lookupOf(labels));
    this.anyLookup = new Map(
      plan.datasets.map(({ name }) => [
        name,
        lookupOf(plan.tasks.filter(({ dataset }) => dataset === name).flatMap(({ labels }) => labels)),
      ]),
    );
    this.onlyTask = plan.tasks.map(({ dataset }, task) =>
      this.anyLookup.get(dataset)!.every((any, label) => any === this.taskLookup[task]![label]),
    );
    this.labels = new Uint8Array(plan.training.labeledBatchSize * this.voxels);
    this.scratchA = new Float32Array(this.voxels);
    this.scratchB = new Float32Array(this.voxels);
  }

  fill(recipe: StepRecipe, into: BatchArrays): void {
    this.cutLabeled(recipe, into);
    for (const [i, mix] of recipe.mixed.entries()) this.mixLabeled(recipe, mix, i, into);
    if (recipe.unlabeledMixes.length === 0) return;
    if (this.plan.cutmix.unlabeledMix === 'unlabeled-pairs') this.mixUnlabeledPairs(recipe, into);
    else for (const [i, mix] of recipe.unlabeledMixes.entries()) this.mixUnlabeled(recipe, mix, i, into);
  }

  /** Patch i of an array [N, V]. */
  private at<T extends Float32Array | Uint8Array>(array: T, i: number): T {
    return array.subarray(i * this.voxels, (i + 1) * this.voxels) as T;
  }

  private cutImage(one: PreprocessedCase, patch: PatchRecipe, step: number, into: Float32Array): void {
    const { augmentation, sample } = patch;
    host().cutPatch(one.image, one.sizeVoxels, cutOf(patch, this.patch, one.spacingMm), into);
    const { gamma, scale, shift, noise } = augmentation;
    if (gamma === 1 && scale === 1 && shift === 0 && noise === 0) return;
    host().augmentIntensity(into, {
      gamma,
      scale,
      shift,
      noiseStandardDeviation: noise,
      seed: this.plan.seed,
      stream: streams.augmentation,
      step,
      sample,
      firstBlock: firstNoiseBlock,
    });
  }

  private cutLabeled({ step, labeled }: StepRecipe, into: BatchArrays): void {
    for (const [i, patch] of labeled.entries()) {
      const one = this.data.labeled[patch.caseIndex]!;
      const labels = this.at(this.labels, i);
      this.cutImage(one, patch, step, this.at(into.labeledImage, i));
      host().cutPatch(one.label!, one.sizeVoxels, cutOf(patch, this.patch, one.spacingMm), labels);
      for (const [p, task] of patch.tasks.entries())
        host().binaryTarget(labels, this.taskLookup[task]!, this.at(into.labeledTarget, i * patch.tasks.length + p));
    }
  }

  /** Any foreground of labelled patch i, of all tasks of its dataset: its target where that is the same, else in `scratch`. */
  private anyForeground(recipe: StepRecipe, i: number, { labeledTarget }: BatchArrays, scratch: Float32Array) {
    const { caseIndex, task, tasks } = recipe.labeled[i]!;
    if (this.onlyTask[task]) return this.at(labeledTarget, i * tasks.length);
    const { dataset } = this.data.labeled[caseIndex]!;
    return host().binaryTarget(this.at(this.labels, i), this.anyLookup.get(dataset)!, scratch);
  }

  private mixLabeled(
    recipe: StepRecipe,
    { outside: a, inside: b, cube }: MixRecipe,
    i: number,
    into: BatchArrays,
  ): void {
    const { patch, scratchA, scratchB } = this;
    const [recipeA, recipeB] = [recipe.labeled[a]!, recipe.labeled[b]!];
    const image = (index: number) => this.at(into.labeledImage, index);
    // of the drawn task, which is the first of the patch
    const target = (index: number) => this.at(into.labeledTarget, index * recipeA.tasks.length);
    host().cutMix(image(a), image(b), patch, cube, this.at(into.mixedImage, i));
    const anyA = this.anyForeground(recipe, a, into, scratchA);
    const anyB = this.anyForeground(recipe, b, into, scratchB);
    host().cutMix(anyA, anyB, patch, cube, this.at(into.mixedAnyForeground, i));
    const [targetA, targetB] = [this.at(into.mixedTargetA, i), this.at(into.mixedTargetB, i)];
    const datasetOf = ({ caseIndex }: PatchRecipe) => this.data.labeled[caseIndex]!.dataset;
    if (datasetOf(recipeA) !== datasetOf(recipeB)) {
      host().cutMix(target(a), 0, patch, cube, targetA);
      host().cutMix(0, target(b), patch, cube, targetB);
      return;
    }
    // The other patch is labelled for this task too: what lies in it is known, and leaving it out would call it background.
    host().binaryTarget(this.at(this.labels, b), this.taskLookup[recipeA.task]!, scratchB);
    host().cutMix(target(a), scratchB, patch, cube, targetA);
    host().binaryTarget(this.at(this.labels, a), this.taskLookup[recipeB.task]!, scratchA);
    host().cutMix(scratchA, target(b), patch, cube, targetB);
  }

  private mixUnlabeled(recipe: StepRecipe, mix: MixRecipe, i: number, into: BatchArrays): void {
    const { patch, scratchA } = this;
    const unlabeled = recipe.unlabeled[mix.outside]!;
    const image = this.at(into.unlabeledImage, i);
    this.cutImage(this.data.unlabeled[unlabeled.caseIndex]!, unlabeled, recipe.step, image);
    if (into.teacherImage.length > 0) this.at(into.teacherImage, i).set(image);
    host().cutMix(image, this.at(into.labeledImage, mix.inside), patch, mix.cube, image);
    host().cutMix(0, 1, patch, mix.cube, this.at(into.unlabeledInside, i));
    const any = this.anyForeground(recipe, mix.inside, into, scratchA);
    host().cutMix(0, any, patch, mix.cube, this.at(into.unlabeledCubeLabel, i));
  }

  private mixUnlabeledPairs({ step, unlabeled, unlabeledMixes }: StepRecipe, into: BatchArrays): void {
    const length = unlabeled.length * this.voxels;
    if (this.unlabeledImages.length < length) this.unlabeledImages = new Float32Array(length);
    const image = (index: number) => this.at(this.unlabeledImages, index);
    for (const [i, patch] of unlabeled.entries()) {
      this.cutImage(this.data.unlabeled[patch.caseIndex]!, patch, step, image(i));
      if (into.teacherImage.length > 0) this.at(into.teacherImage, i).set(image(i));
    }
    for (const [i, { outside, inside, cube }] of unlabeledMixes.entries()) {
      host().cutMix(image(outside), image(inside), this.patch, cube, this.at(into.unlabeledImage, i));
      host().cutMix(0, 1, this.patch, cube, this.at(into.unlabeledInside, i));
    }
    into.unlabeledCubeLabel.fill(0);
  }
}
