import { augmentationOf, type Plan } from '../config/plan.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { lookupOf } from '../preprocessing/targets.js';
import { streams } from '../random.js';
import type { IntensityAugmentation, PatchBox, PatchCut } from '../wasm/host.js';
import {
  type Field,
  type FieldName,
  type FieldPlan,
  fields,
  fieldsOf,
  type PatchSource,
  type PatchSources,
  withUnknownVoxels,
  zeros,
} from './fields.js';
import type { LabeledRecipe, MixRecipe, PatchRecipe, StepRecipe } from './recipe.js';
import { shareRows } from './share.js';
import { turned, warpMatrix } from './turn.js';

/** Cases to draw from. Of unlabelled cases only the image is read, whatever else they hold. */
export interface SamplingData {
  readonly labeled: readonly PreprocessedCase[];
  readonly unlabeled: readonly PreprocessedCase[];
}

/** One patch cut out of the image of a case. */
export interface ImageRow {
  readonly pool: keyof SamplingData;
  readonly caseIndex: number;
  readonly cut: PatchCut;
  /** How intensities are changed after the cut; absent where they are not. */
  readonly intensity?: IntensityAugmentation;
  /** Augmentations of one's own that follow, and where in the run the patch stands; absent where there are none. */
  readonly own?: { readonly names: readonly string[]; readonly step: number; readonly sample: number };
}

/** How much of each voxel of a patch has a label whose entry of a lookup is 1. */
export interface TargetRow {
  /** The image row whose case and cut it follows. */
  readonly image: number;
  /** Which map of the case is cut. */
  readonly map: 'label' | 'known';
  /** Place in `RowMaker.lookups`. */
  readonly lookup: number;
}

/** CutMix of two patches, which are image rows or target rows according to the field. */
export interface MixRow {
  readonly outside: PatchSource;
  readonly inside: PatchSource;
  readonly cube: PatchBox;
}

/** A field is patches of the rows as they are, mixes of them, or noise. */
export type FieldRows =
  | { readonly cut: readonly PatchSource[] }
  | { readonly mix: readonly MixRow[] }
  | { readonly noise: readonly IntensityAugmentation[] };

/**
 * A step as rows of "cut" and "mix": what host and device carry out. There are as many rows in every step of a stage, so
 * that tensors made of them keep their shape; rows that no field names need not be carried out.
 */
export interface StepRows {
  /** Patches of the labelled cases, then of the unlabelled ones. */
  readonly images: readonly ImageRow[];
  readonly targets: readonly TargetRow[];
  /** The fields of the step in the order of the list of fields. */
  readonly fields: ReadonlyMap<FieldName, FieldRows>;
}

/** Blocks of random numbers of the stream `augmentation` that the decisions of a patch may use; the noise lies behind. */
const firstNoiseBlock = 16;

/** Turns the decisions of a step into rows: a pure function of the plan, the cases and the decisions. */
export class RowMaker {
  /**
   * Tables of labels, 1 for foreground: one per task of the plan, then one per dataset for any of its tasks; where there are
   * unknown voxels also one for the label 1 of a map of known voxels, and one for every label. [256] each
   */
  readonly lookups: readonly Uint8Array[];
  /** For each dataset the lookup of its foreground: its task's where it has only one. */
  private readonly anyLookup: ReadonlyMap<string, number>;

  private readonly plan: Plan & FieldPlan;

  constructor(
    plan: Plan,
    private readonly data: SamplingData,
  ) {
    this.plan = withUnknownVoxels(plan, data);
    const { tasks, datasets } = plan;
    const ofTasks = tasks.map(({ labels }) => lookupOf(labels));
    const ofDatasets = datasets.map(({ name }) =>
      lookupOf(tasks.filter(({ dataset }) => dataset === name).flatMap(({ labels }) => labels)),
    );
    const ofKnown = this.plan.unknownVoxels === true ? [lookupOf([1]), new Uint8Array(256).fill(1)] : [];
    this.lookups = [...ofTasks, ...ofDatasets, ...ofKnown];
    this.anyLookup = new Map(
      datasets.map(({ name }, i) => {
        const same = tasks.findIndex(
          ({ dataset }, task) => dataset === name && ofTasks[task]!.every((entry, at) => entry === ofDatasets[i]![at]),
        );
        return [name, same >= 0 ? same : tasks.length + i];
      }),
    );
  }

  rows(recipe: StepRecipe): StepRows {
    const { step, labeled, mixed, unlabeled, unlabeledMixes } = recipe;
    const images = [
      ...labeled.map((patch) => this.imageRow('labeled', patch, step)),
      ...unlabeled.map((patch) => this.imageRow('unlabeled', patch, step)),
    ];
    const targets: TargetRow[] = labeled.flatMap(({ tasks }, image) =>
      tasks.map((lookup) => ({ image, map: 'label', lookup })),
    );
    const firstKnown = targets.length;
    if (this.plan.unknownVoxels) targets.push(...labeled.flatMap((patch, image) => this.knownRows(patch, image)));
    const target = (row: TargetRow): PatchSource => targets.push(row) - 1;
    const partners = new Map(mixed.flatMap(({ outside, inside }) => [[outside, inside] as const, [inside, outside]]));
    const datasetOf = (i: number) => this.data.labeled[labeled[i]!.caseIndex]!.dataset;
    const labeledPatches = labeled.map(({ tasks }, image): PatchSources => {
      const own = tasks.map((_, p) => image * tasks.length + p);
      const known = this.plan.unknownVoxels ? own.map((row) => firstKnown + row) : [];
      const partner = partners.get(image);
      const rest = { image, targets: own, known, partnerTargets: [] };
      if (partner === undefined) return { ...rest, anyForeground: zeros, partnerTarget: zeros };
      const anyForeground = target({ image, map: 'label', lookup: this.anyLookup.get(datasetOf(image))! });
      // Made in any case: the number of rows must not depend on what was drawn.
      const partnerTarget = target({ image, map: 'label', lookup: labeled[partner]!.task });
      const labeledToo = datasetOf(partner) === datasetOf(image);
      return { ...rest, anyForeground, partnerTarget: labeledToo ? partnerTarget : zeros };
    });
    const pairs = this.plan.cutmix.unlabeledMix === 'unlabeled-pairs';
    const unlabeledPatches = unlabeled.map((_, i): PatchSources => {
      const image = labeled.length + i;
      const partner = pairs ? undefined : unlabeledMixes[i] && labeledPatches[unlabeledMixes[i].inside];
      const partnerTargets = partner?.targets ?? [];
      return { image, targets: [], anyForeground: zeros, partnerTarget: zeros, known: [], partnerTargets };
    });
    const { rows } = shareRows(this.plan);
    const groups = {
      labeled: { patches: labeledPatches, mixes: [], inside: labeledPatches },
      mixed: { patches: labeledPatches, mixes: mixed, inside: labeledPatches },
      unlabeled: {
        patches: unlabeledPatches,
        mixes: unlabeledMixes,
        inside: pairs ? unlabeledPatches : labeledPatches,
      },
    };
    const rowsOf = (name: FieldName): FieldRows => {
      const { group, source }: Field = fields[name];
      if ('noise' in source) return { noise: this.noiseRows(rows[group], step) };
      const { patches, mixes, inside } = groups[group];
      if ('cut' in source) return { cut: rows[group].flatMap((row) => source.cut(patches[row]!)) };
      return {
        mix: rows[group].map((row) => {
          const mix: MixRecipe = mixes[row]!;
          const [own, partner] = source.mix(patches[mix.outside]!, inside[mix.inside]!);
          const [from, into] = mix.swapped ? [partner, own] : [own, partner];
          return { outside: from, inside: into, cube: mix.cube };
        }),
      };
    };
    return { images, targets, fields: new Map(fieldsOf(this.plan, step).map((name) => [name, rowsOf(name)])) };
  }

  /** Where the label of a patch is known, once for each of its prompts. Cases without unknown voxels are known everywhere. */
  private knownRows({ caseIndex, tasks }: LabeledRecipe, image: number): TargetRow[] {
    const everyLabel = this.lookups.length - 1;
    const row: TargetRow =
      this.data.labeled[caseIndex]!.known === undefined
        ? { image, map: 'label', lookup: everyLabel }
        : { image, map: 'known', lookup: everyLabel - 1 };
    return tasks.map(() => row);
  }

  /** For the targets of the averaged network and for each of its noisy passes, one row for each of the given unlabelled patches. */
  private noiseRows(rows: readonly number[], step: number): IntensityAugmentation[] {
    const { seed, losses, training } = this.plan;
    const noise = { noiseStandardDeviation: losses.teacherNoise, seed, stream: streams.noise, step };
    return Array.from({ length: 1 + losses.noisyPasses }, (_, pass) =>
      rows.map((row) => ({ ...noise, sample: pass * training.unlabeledBatchSize + row })),
    ).flat();
  }

  private imageRow(pool: keyof SamplingData, patch: PatchRecipe, step: number): ImageRow {
    const { caseIndex, begin, augmentation, sample } = patch;
    const { axes, flipped } = turned(augmentation);
    const { spacingMm, dataset } = this.data[pool][caseIndex]!;
    const matrix = warpMatrix(augmentation, spacingMm);
    const { own: names = [] } = augmentationOf(this.plan, dataset);
    const { gamma, scale, shift, noise } = augmentation;
    const changed = gamma !== 1 || scale !== 1 || shift !== 0 || noise !== 0;
    const noiseOf = {
      noiseStandardDeviation: noise,
      seed: this.plan.seed,
      stream: streams.augmentation,
      step,
      sample,
      firstBlock: firstNoiseBlock,
    };
    return {
      pool,
      caseIndex,
      cut: { begin, sizeVoxels: this.plan.patchSizeVoxels, axes, flipped, ...(matrix === undefined ? {} : { matrix }) },
      ...(changed ? { intensity: { gamma, scale, shift, ...noiseOf } } : {}),
      ...(names.length > 0 ? { own: { names, step, sample } } : {}),
    };
  }
}
