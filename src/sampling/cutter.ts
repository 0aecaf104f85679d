import type { Plan } from '../config/plan.js';
import type { StepGroup } from '../config/steps.js';
import type { LabelMap } from '../preprocessing/preprocessed-case.js';
import { RandomStream, streams } from '../random.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { type Field, type FieldArrays, fields, ones, type PatchSource, zeros } from './fields.js';
import { changePatch } from './own-augmentations.js';
import type { StepRecipe } from './recipe.js';
import { type FieldRows, type ImageRow, RowMaker, type SamplingData, type StepRows, type TargetRow } from './rows.js';

/** Where the fields of a step are made: the rows of each field and the array that its patches go to. */
interface Work {
  readonly kind: Field['kind'];
  readonly rows: FieldRows;
  readonly into: Float32Array;
}

/** The patches of one step, each made when it is first read. */
interface Patches {
  image(row: PatchSource): Float32Array;
  /** @param scratch where the target is made if no field holds it */
  target(row: PatchSource, scratch: Float32Array): Float32Array | number;
  /** Makes the target of a field in the place that the field has for it. */
  holdTarget(row: PatchSource, place: Float32Array): void;
}

/** Carries out the rows of a step on the host. The only part of sampling that touches a volume. */
export class BatchCutter {
  private readonly maker: RowMaker;
  private readonly patch: Triple;
  private readonly seed: number;
  private readonly voxels: number;
  /** Patches of the maps of labelled cases, by image row and map: memory that is used again. */
  private readonly maps = new Map<string, LabelMap>();
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
    this.seed = plan.seed;
    this.voxels = voxelCount(this.patch);
    this.outsideTarget = new Float32Array(this.voxels);
    this.insideTarget = new Float32Array(this.voxels);
  }

  /** Makes the fields of a step; the others are left as they are. */
  fill(recipe: StepRecipe, into: FieldArrays): void {
    const rows = this.maker.rows(recipe);
    const groups = new Map<StepGroup, Work[]>();
    for (const [name, own] of rows.fields) {
      const { group, kind }: Field = fields[name];
      groups.set(group, [...(groups.get(group) ?? []), { kind, rows: own, into: into[name]! }]);
    }
    const patches = this.patches(rows, [...groups.values()].flat());
    for (const work of groups.values()) this.fillGroup(work, patches);
  }

  /** Patch i of an array [N, V]. */
  private at(array: Float32Array, i: number): Float32Array {
    return array.subarray(i * this.voxels, (i + 1) * this.voxels);
  }

  /** All fields of one mix before the next mix: they read the same patches, which are then still in the cache. */
  private fillGroup(work: readonly Work[], patches: Patches): void {
    const mixes = work.flatMap(({ rows, ...rest }) => ('mix' in rows ? [{ ...rest, rows: rows.mix }] : []));
    for (let i = 0; i < (mixes[0]?.rows.length ?? 0); i++)
      for (const { kind, rows, into } of mixes) {
        const { outside, inside, cube } = rows[i]!;
        const [from, to] =
          kind === 'image'
            ? [patches.image(outside), patches.image(inside)]
            : [patches.target(outside, this.outsideTarget), patches.target(inside, this.insideTarget)];
        host().cutMix(from, to, this.patch, cube, this.at(into, i));
      }
    for (const { kind, rows, into } of work) {
      if ('mix' in rows) continue;
      if ('noise' in rows) {
        into.fill(0);
        for (const [i, noise] of rows.noise.entries()) host().augmentIntensity(this.at(into, i), noise);
        continue;
      }
      for (const [i, row] of rows.cut.entries())
        if (kind === 'image') patches.image(row);
        else patches.holdTarget(row, this.at(into, i));
    }
  }

  private patches(rows: StepRows, work: readonly Work[]): Patches {
    const places = this.imagePlaces(work.filter(({ kind }) => kind === 'image'));
    const cutImages = new Set<PatchSource>();
    const cutMaps = new Map<string, LabelMap>();
    /** Targets that a field holds, by image row, map and lookup. */
    const held = new Map<string, Float32Array>();
    const keyOf = ({ image, map, lookup }: TargetRow) => `${image} ${map} ${lookup}`;
    const makeTarget = ({ image, map, lookup }: TargetRow, into: Float32Array): Float32Array => {
      const { pool, caseIndex, cut } = rows.images[image]!;
      const one = this.data[pool][caseIndex]!;
      const table = this.maker.lookups[lookup]!;
      const { matrix } = cut;
      const whole = one[map]!;
      if (whole instanceof Float32Array && matrix !== undefined)
        return host().warpPairTarget(whole, one.sizeVoxels, { ...cut, matrix }, table, into);
      const key = `${image} ${map}`;
      const patch = cutMaps.get(key) ?? host().cutPatch(whole, one.sizeVoxels, cut, this.mapPlace(key, whole));
      cutMaps.set(key, patch);
      return patch instanceof Uint8Array
        ? host().binaryTarget(patch, table, into)
        : host().pairTarget(patch, table, into);
    };
    return {
      image: (row) => {
        const place = places.get(row)!;
        if (!cutImages.has(row)) this.cutImage(rows.images[row]!, place);
        cutImages.add(row);
        return place;
      },
      target: (row, scratch) => {
        if (row === zeros) return 0;
        if (row === ones) return 1;
        const target = rows.targets[row]!;
        return held.get(keyOf(target)) ?? makeTarget(target, scratch);
      },
      holdTarget: (row, place) => {
        const target = rows.targets[row]!;
        held.set(keyOf(target), makeTarget(target, place));
      },
    };
  }

  /** Memory for a patch of a map, of the map's own type. */
  private mapPlace(key: string, like: LabelMap): LabelMap {
    const known = this.maps.get(key);
    if (known !== undefined && known.BYTES_PER_ELEMENT === like.BYTES_PER_ELEMENT) return known;
    const place = like instanceof Uint8Array ? new Uint8Array(this.voxels) : new Float32Array(this.voxels);
    this.maps.set(key, place);
    return place;
  }

  /**
   * Where each image is cut to: into the field that holds the image as it is; else, if a single mix reads the image and has
   * it outside the cube, into that mix, whose cube is overwritten afterwards; else beside the batch. This saves copies.
   */
  private imagePlaces(work: readonly Work[]): Map<PatchSource, Float32Array> {
    const places = new Map<PatchSource, Float32Array>();
    const readers = new Map<PatchSource, number>();
    for (const { rows, into } of work) {
      if ('cut' in rows) for (const [i, row] of rows.cut.entries()) places.set(row, this.at(into, i));
      else if ('mix' in rows)
        for (const { outside, inside } of rows.mix)
          for (const row of [outside, inside]) readers.set(row, (readers.get(row) ?? 0) + 1);
    }
    let used = 0;
    for (const { rows, into } of work) {
      if (!('mix' in rows)) continue;
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

  private cutImage({ pool, caseIndex, cut, intensity, own }: ImageRow, into: Float32Array): void {
    const { image, sizeVoxels, dataset, id } = this.data[pool][caseIndex]!;
    host().cutPatch(image, sizeVoxels, cut, into);
    if (intensity !== undefined) host().augmentIntensity(into, intensity);
    if (own === undefined) return;
    const random = new RandomStream(this.seed, streams.ownAugmentations, own.step, own.sample);
    changePatch(own.names, into, { sizeVoxels: this.patch, dataset, id, random });
  }
}
