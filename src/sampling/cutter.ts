import type { Plan } from '../config/plan.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { type FieldArrays, fields, ones, type PatchSource, zeros } from './fields.js';
import type { StepRecipe } from './recipe.js';
import { type FieldRows, type MixRow, RowMaker, type SamplingData, type StepRows } from './rows.js';

/** The fields of one kind in a step: their rows and where their patches go. */
interface Work {
  readonly rows: FieldRows;
  readonly into: Float32Array;
}

/** Carries out the rows of a step on the host. The only part of sampling that touches a volume. */
export class BatchCutter {
  private readonly maker: RowMaker;
  private readonly patch: Triple;
  private readonly voxels: number;
  /** Labels of the labelled patches of a step. */
  private readonly labels: Uint8Array;
  /** For targets that no field holds: one for each side of a mix. */
  private readonly outsideTarget: Float32Array;
  private readonly insideTarget: Float32Array;
  /** For images that no field holds. */
  private readonly imagePool: Float32Array[] = [];

  constructor(
    plan: Plan,
    private readonly data: SamplingData,
  ) {
    this.maker = new RowMaker(plan, data);
    this.patch = plan.patchSizeVoxels;
    this.voxels = voxelCount(this.patch);
    this.labels = new Uint8Array(plan.training.labeledBatchSize * this.voxels);
    this.outsideTarget = new Float32Array(this.voxels);
    this.insideTarget = new Float32Array(this.voxels);
  }

  /** Makes the fields of a step; the others are left as they are. */
  fill(recipe: StepRecipe, into: FieldArrays): void {
    const rows = this.maker.rows(recipe);
    const work = { image: [] as Work[], mask: [] as Work[] };
    for (const [name, own] of rows.fields) work[fields[name].kind].push({ rows: own, into: into[name]! });
    this.fillImages(rows, work.image);
    this.fillMasks(rows, work.mask);
  }

  /** Patch i of an array [N, V]. */
  private at<T extends Float32Array | Uint8Array>(array: T, i: number): T {
    return array.subarray(i * this.voxels, (i + 1) * this.voxels) as T;
  }

  private fillImages(rows: StepRows, work: readonly Work[]): void {
    const places = this.imagePlaces(work);
    const made = new Set<PatchSource>();
    const image = (row: PatchSource): Float32Array => {
      const place = places.get(row)!;
      if (!made.has(row)) this.cutImage(rows, row, place);
      made.add(row);
      return place;
    };
    for (const { rows: own, into } of work) {
      if ('cut' in own) for (const row of own.cut) image(row);
      else
        for (const [i, row] of own.mix.entries())
          this.mix(row, image(row.outside), image(row.inside), this.at(into, i));
    }
  }

  /**
   * Where each image is cut to: into the field that holds it as it is; else, if one mix alone reads it and has it outside the
   * cube, into that mix, whose cube is then overwritten; else beside the batch. So nothing is copied without need.
   */
  private imagePlaces(work: readonly Work[]): Map<PatchSource, Float32Array> {
    const places = new Map<PatchSource, Float32Array>();
    const readers = new Map<PatchSource, number>();
    for (const { rows, into } of work) {
      if ('cut' in rows) for (const [i, row] of rows.cut.entries()) places.set(row, this.at(into, i));
      else
        for (const { outside, inside } of rows.mix)
          for (const row of [outside, inside]) readers.set(row, (readers.get(row) ?? 0) + 1);
    }
    let used = 0;
    for (const { rows, into } of work) {
      if ('cut' in rows) continue;
      for (const [i, { outside }] of rows.mix.entries())
        if (!places.has(outside) && readers.get(outside) === 1) places.set(outside, this.at(into, i));
    }
    for (const row of readers.keys()) {
      if (places.has(row)) continue;
      this.imagePool[used] ??= new Float32Array(this.voxels);
      places.set(row, this.imagePool[used++]!);
    }
    return places;
  }

  private cutImage(rows: StepRows, row: PatchSource, into: Float32Array): void {
    const { pool, caseIndex, cut, intensity } = rows.images[row]!;
    const { image, sizeVoxels } = this.data[pool][caseIndex]!;
    host().cutPatch(image, sizeVoxels, cut, into);
    if (intensity !== undefined) host().augmentIntensity(into, intensity);
  }

  private fillMasks(rows: StepRows, work: readonly Work[]): void {
    /** Targets that a field holds, by image row and lookup. */
    const held = new Map<string, Float32Array>();
    const cutLabels = new Set<number>();
    const make = (source: PatchSource, into: Float32Array): Float32Array => {
      const { image, lookup } = rows.targets[source]!;
      const labels = this.at(this.labels, image);
      if (!cutLabels.has(image)) {
        const { pool, caseIndex, cut } = rows.images[image]!;
        const { label, sizeVoxels } = this.data[pool][caseIndex]!;
        host().cutPatch(label!, sizeVoxels, cut, labels);
        cutLabels.add(image);
      }
      return host().binaryTarget(labels, this.maker.lookups[lookup]!, into);
    };
    const target = (source: PatchSource, scratch: Float32Array): Float32Array | number => {
      if (source === zeros) return 0;
      if (source === ones) return 1;
      const { image, lookup } = rows.targets[source]!;
      return held.get(`${image} ${lookup}`) ?? make(source, scratch);
    };
    for (const { rows: own, into } of work) {
      if ('cut' in own)
        for (const [i, source] of own.cut.entries()) {
          const { image, lookup } = rows.targets[source]!;
          held.set(`${image} ${lookup}`, make(source, this.at(into, i)));
        }
      else
        for (const [i, row] of own.mix.entries()) {
          const outside = target(row.outside, this.outsideTarget);
          this.mix(row, outside, target(row.inside, this.insideTarget), this.at(into, i));
        }
    }
  }

  private mix(
    { cube }: MixRow,
    outside: Float32Array | number,
    inside: Float32Array | number,
    into: Float32Array,
  ): void {
    host().cutMix(outside, inside, this.patch, cube, into);
  }
}
