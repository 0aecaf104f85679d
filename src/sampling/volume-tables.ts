import { type AugmentationSettings, augmentationOf, type Plan } from '../config/plan.js';
import type { SamplingData } from './cutter.js';
import { type MixRecipe, type PatchRecipe, promptsOf, type StepRecipe } from './recipe.js';
import { turned } from './turn.js';

/** Numbers of a table, row by row: [rows, numbers of a row]. */
export interface Table {
  readonly values: Float32Array;
  readonly shape: readonly [number, number];
}

/**
 * A step as tables for the ops `cutPatches` and `cutMix`: what a device that holds the volumes needs to make the voxels itself.
 * Bitwise the voxels of `BatchCutter`.
 */
export interface TableBatch {
  readonly step: number;
  /** Where all patches lie: images of labelled, then of unlabelled cases. */
  readonly images: Table;
  /** The same for labels: each labelled patch's own tasks, then any foreground of its dataset, then the task of its partner. */
  readonly targets: Table;
  readonly labeled: { readonly tasks: Int32Array; readonly caseIds: readonly string[] };
  readonly mixed?: MixedTables;
  readonly unlabeled?: UnlabeledTables;
}

/** Mixes of `images` (image) and of `targets` (the others); see `MixedGroup`. */
export interface MixedTables {
  readonly image: Table;
  readonly anyForeground: Table;
  readonly targetA: Table;
  readonly targetB: Table;
  readonly tasksA: Int32Array;
  readonly tasksB: Int32Array;
}

/** See `UnlabeledGroup`. */
export interface UnlabeledTables {
  readonly count: number;
  readonly image: Table;
  readonly inside: Table;
  readonly cubeLabel: Table;
  /** Only where the plan gives the teacher's loss a weight; its images are the unlabelled ones of `images`. */
  readonly teacher?: { readonly tasks: Int32Array };
}

/** `cut_mix`: a patch of zeros, one of ones. */
const zeros = -1;
const ones = -2;

/** All volumes of a run, one after the other. */
export class VolumeLayout {
  /** First element of the image of each case, and of the label of each labelled one. */
  readonly labeled: readonly { readonly image: number; readonly label: number }[];
  readonly unlabeled: readonly { readonly image: number }[];
  readonly elements: number;
  /** Tables of labels: one per task of the plan, then one per dataset (any of its tasks). [tasks + datasets, 256] */
  readonly lookups: Table;

  constructor(
    readonly plan: Plan,
    readonly data: SamplingData,
  ) {
    let next = 0;
    const place = (array: ArrayLike<number>) => {
      const at = next;
      next += array.length;
      return at;
    };
    this.labeled = data.labeled.map(({ image, label }) => ({ image: place(image), label: place(label!) }));
    this.unlabeled = data.unlabeled.map(({ image }) => ({ image: place(image) }));
    this.elements = next;
    const ofTasks = plan.tasks.map(({ labels }) => labels);
    const ofDatasets = plan.datasets.map(({ name }) =>
      plan.tasks.filter(({ dataset }) => dataset === name).flatMap(({ labels }) => labels),
    );
    const values = new Float32Array((ofTasks.length + ofDatasets.length) * 256);
    for (const [row, labels] of [...ofTasks, ...ofDatasets].entries())
      for (const label of labels) values[row * 256 + label] = 1;
    this.lookups = { values, shape: [values.length / 256, 256] };
  }

  /** The volumes as they lie on the device; labels as float32. */
  fill(): Float32Array {
    const values = new Float32Array(this.elements);
    for (const [i, { image, label }] of this.data.labeled.entries()) {
      values.set(image, this.labeled[i]!.image);
      values.set(label!, this.labeled[i]!.label);
    }
    for (const [i, { image }] of this.data.unlabeled.entries()) values.set(image, this.unlabeled[i]!.image);
    return values;
  }

  /** The decisions of a step as tables. */
  tables(recipe: StepRecipe, caseNames: readonly string[]): TableBatch {
    const { labeled, mixed, unlabeled, unlabeledMixes, step } = recipe;
    const n = labeled.length;
    const cases = labeled.map(({ caseIndex }) => this.data.labeled[caseIndex]!);
    const image = (patch: PatchRecipe, one: SamplingData['labeled'][number], offset: number, lookup = -1) =>
      patchRow(patch, one.sizeVoxels, offset, lookup);
    const label = (i: number, lookup: number) =>
      image(labeled[i]!, cases[i]!, this.labeled[labeled[i]!.caseIndex]!.label, lookup);
    const anyTask = (i: number) =>
      this.plan.tasks.length + this.plan.datasets.findIndex(({ name }) => name === cases[i]!.dataset);
    const partner = new Map(
      mixed.flatMap(({ outside, inside }) => [[outside, inside] as const, [inside, outside] as const]),
    );
    const partnersTask = labeled.map((_, i) => labeled[partner.get(i) ?? i]!.task);
    const prompts = labeled[0]!.tasks.length;
    // the drawn task, the first of the patch
    const own = (i: number) => i * prompts;
    const any = (i: number) => n * prompts + i;
    const cross = (i: number) => n * prompts + n + i;

    const images = [
      ...labeled.map((patch, i) => image(patch, cases[i]!, this.labeled[patch.caseIndex]!.image)),
      ...unlabeled.map((patch) =>
        image(patch, this.data.unlabeled[patch.caseIndex]!, this.unlabeled[patch.caseIndex]!.image),
      ),
    ];
    const targets = [
      ...labeled.flatMap(({ tasks }, i) => tasks.map((task) => label(i, task))),
      ...labeled.map((_, i) => label(i, anyTask(i))),
      ...labeled.map((_, i) => label(i, partnersTask[i]!)),
    ];
    // Both labelled for the task of either: what the other patch holds of it is known.
    const alike = ({ outside, inside }: MixRecipe) => cases[outside]!.dataset === cases[inside]!.dataset;
    const pairs = this.plan.cutmix.unlabeledMix === 'unlabeled-pairs';
    return {
      step,
      images: table(images),
      targets: table(targets),
      labeled: {
        tasks: promptsOf(labeled),
        caseIds: labeled.map(({ caseIndex }) => caseNames[caseIndex]!),
      },
      ...(mixed.length > 0 && {
        mixed: {
          image: mixes(
            mixed,
            ({ outside }) => outside,
            ({ inside }) => inside,
          ),
          anyForeground: mixes(
            mixed,
            ({ outside }) => any(outside),
            ({ inside }) => any(inside),
          ),
          targetA: mixes(
            mixed,
            ({ outside }) => own(outside),
            (mix) => (alike(mix) ? cross(mix.inside) : zeros),
          ),
          targetB: mixes(
            mixed,
            (mix) => (alike(mix) ? cross(mix.outside) : zeros),
            ({ inside }) => own(inside),
          ),
          tasksA: Int32Array.from(mixed, ({ outside }) => labeled[outside]!.task),
          tasksB: Int32Array.from(mixed, ({ inside }) => labeled[inside]!.task),
        },
      }),
      ...(unlabeled.length > 0 && {
        unlabeled: {
          count: unlabeled.length,
          image: mixes(
            unlabeledMixes,
            ({ outside }) => n + outside,
            ({ inside }) => (pairs ? n + inside : inside),
          ),
          inside: mixes(
            unlabeledMixes,
            () => zeros,
            () => ones,
          ),
          cubeLabel: mixes(
            unlabeledMixes,
            () => zeros,
            ({ inside }) => (pairs ? zeros : any(inside)),
          ),
          ...(this.plan.losses.teacher > 0 && {
            teacher: { tasks: promptsOf(unlabeled) },
          }),
        },
      }),
    };
  }
}

function table(rows: readonly (readonly number[])[]): Table {
  return { values: Float32Array.from(rows.flat()), shape: [rows.length, rows[0]!.length] };
}

function mixes(
  recipes: readonly MixRecipe[],
  outside: (mix: MixRecipe) => number,
  inside: (mix: MixRecipe) => number,
): Table {
  return table(recipes.map((mix) => [outside(mix), inside(mix), ...mix.cube.begin, ...mix.cube.sizeVoxels]));
}

/** A row of `cut_patches`: the quarter turns and flips of a recipe as exchanged and mirrored axes. */
function patchRow(
  { begin, augmentation }: PatchRecipe,
  sizeVoxels: readonly number[],
  offset: number,
  lookup: number,
): number[] {
  const { axes, flipped } = turned(augmentation);
  // Beginnings are those of the box in the volume; `swapped` exchanges x and y.
  const swapped = axes[0] === 1 ? 1 : 0;
  const high = Math.floor(offset / 2 ** 20);
  return [high, offset - high * 2 ** 20, ...sizeVoxels, ...begin, swapped, ...flipped.map(Number), lookup];
}

/** Augmentations that change intensities or interpolate: only the host does them. */
function hostOnly(settings: AugmentationSettings): string[] {
  const isOne = ([low, high]: readonly [number, number]) => low === 1 && high === 1;
  return [
    ...(settings.rotationDegrees.some((angle) => angle !== 0) ? ['rotationDegrees'] : []),
    ...(isOne(settings.magnification) ? [] : ['magnification']),
    ...(isOne(settings.gamma) ? [] : ['gamma']),
    ...(['intensityScale', 'intensityShift', 'noise'] as const).filter((name) => settings[name] !== 0),
  ];
}

/** Per dataset whose patches only the host can make, the augmentations that are the reason: `name: a, b`. */
export function hostOnlyDatasets(plan: Plan): string[] {
  return plan.datasets.flatMap(({ name }) => {
    const reasons = hostOnly(augmentationOf(plan, name));
    return reasons.length === 0 ? [] : [`${name}: ${reasons.join(', ')}`];
  });
}
