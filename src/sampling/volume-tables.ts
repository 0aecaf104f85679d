import { type AugmentationSettings, augmentationOf, type Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { FieldName } from './fields.js';
import type { StepRecipe } from './recipe.js';
import { type FieldRows, type ImageRow, type MixRow, RowMaker, type SamplingData } from './rows.js';

/** Numbers of a table, row by row: [rows, numbers of a row]. */
export interface Table {
  readonly values: Float32Array;
  readonly shape: readonly [number, number];
}

/** The rows of a step as tables for the ops `cutPatches` and `cutMix`. */
export interface StepTables {
  readonly images: Table;
  readonly targets: Table;
  readonly fields: ReadonlyMap<FieldName, FieldTable>;
}

/** Cut patches that follow each other, or a table of mixes. */
export type FieldTable = { readonly first: number; readonly count: number } | { readonly mix: Table };

/** First elements of the arrays of a case. */
interface Places {
  readonly image: number;
  readonly label?: number;
  readonly known?: number;
}

/** All volumes of a run, one after the other, as they lie on a device that cuts patches itself. */
export class VolumeLayout {
  readonly elements: number;
  /** `RowMaker.lookups`, [lookups, 256]. */
  readonly lookups: Table;
  private readonly maker: RowMaker;
  /** First element of the image of each case, and of the maps of each labelled one. */
  private readonly places: Readonly<Record<keyof SamplingData, readonly Places[]>>;

  constructor(
    plan: Plan,
    private readonly data: SamplingData,
  ) {
    this.maker = new RowMaker(plan, data);
    let next = 0;
    const place = (array: ArrayLike<number> | undefined) => {
      const at = next;
      next += array?.length ?? 0;
      return at;
    };
    this.places = {
      labeled: data.labeled.map(({ image, label, known }) => ({
        image: place(image),
        label: place(label),
        known: place(known),
      })),
      unlabeled: data.unlabeled.map(({ image }) => ({ image: place(image) })),
    };
    this.elements = next;
    this.lookups = table(this.maker.lookups.map((lookup) => [...lookup]));
  }

  /** The volumes as they lie on the device; labels and label pairs as float32. */
  fill(): Float32Array {
    const values = new Float32Array(this.elements);
    for (const pool of ['labeled', 'unlabeled'] as const)
      for (const [i, places] of this.places[pool].entries())
        for (const [part, at] of Object.entries(places) as [keyof Places, number][]) {
          const array = this.data[pool][i]![part];
          if (array !== undefined) values.set(array, at);
        }
    return values;
  }

  /** @throws VERSEMI_INTERNAL for an augmentation that only the host does: see `hostOnlyDatasets` */
  tables(recipe: StepRecipe): StepTables {
    const rows = this.maker.rows(recipe);
    const fieldTable = ([name, own]: [FieldName, FieldRows]): [FieldName, FieldTable] => {
      if ('mix' in own) return [name, { mix: table(own.mix.map(mixRow)) }];
      if ('noise' in own) throw internal(name, 'noise, which only the host makes');
      const [first = 0] = own.cut;
      if (own.cut.some((row, i) => row !== first + i)) throw internal(name, 'patches that do not follow each other');
      return [name, { first, count: own.cut.length }];
    };
    return {
      images: table(rows.images.map((row) => this.cutRow(row, 'image', -1))),
      targets: table(rows.targets.map(({ image, map, lookup }) => this.cutRow(rows.images[image]!, map, lookup))),
      fields: new Map([...rows.fields].map(fieldTable)),
    };
  }

  /** A row of `cut_patches`. */
  private cutRow({ pool, caseIndex, cut, intensity }: ImageRow, part: keyof Places, lookup: number): number[] {
    if (intensity !== undefined || cut.matrix !== undefined)
      throw internal('augmentation', 'one that only the host does');
    const { begin, axes = [0, 1, 2], flipped = [false, false, false] } = cut;
    const offset = this.places[pool][caseIndex]![part]!;
    const { sizeVoxels } = this.data[pool][caseIndex]!;
    // `begin` is the first voxel of the patch's box in the volume; `swapped` exchanges x and y.
    const swapped = axes[0] === 1 ? 1 : 0;
    const high = Math.floor(offset / 2 ** 20);
    return [high, offset - high * 2 ** 20, ...sizeVoxels, ...begin, swapped, ...flipped.map(Number), lookup];
  }
}

/** A row of `cut_mix`, which has the same numbers for constants. */
function mixRow({ outside, inside, cube }: MixRow): number[] {
  return [outside, inside, ...cube.begin, ...cube.sizeVoxels];
}

function table(rows: readonly (readonly number[])[]): Table {
  return { values: Float32Array.from(rows.flat()), shape: [rows.length, rows[0]!.length] };
}

function internal(field: string, found: string): VersemiError {
  return new VersemiError('INTERNAL', { field, expected: 'rows that a device can carry out', found });
}

/** Augmentations that change intensities or interpolate: only the host does them. */
function hostOnly(settings: AugmentationSettings): string[] {
  const isOne = ([low, high]: readonly [number, number]) => low === 1 && high === 1;
  return [
    ...(settings.rotationDegrees.some((angle) => angle !== 0) ? ['rotationDegrees'] : []),
    ...(isOne(settings.magnification) ? [] : ['magnification']),
    ...(isOne(settings.gamma) ? [] : ['gamma']),
    ...(['intensityScale', 'intensityShift', 'noise'] as const).filter((name) => settings[name] !== 0),
    ...(settings.own ?? []),
  ];
}

/** Per dataset whose patches only the host can make, the augmentations that are the reason: `name: a, b`. */
export function hostOnlyDatasets(plan: Plan): string[] {
  return plan.datasets.flatMap(({ name }) => {
    const reasons = hostOnly(augmentationOf(plan, name));
    return reasons.length === 0 ? [] : [`${name}: ${reasons.join(', ')}`];
  });
}
