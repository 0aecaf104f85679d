import { join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import { RandomStream, streams } from '../random.js';
import type { VerbOptions } from '../verb-options.js';
import { multiplyAffines, scalingAffine } from '../volume/affine.js';
import type { Affine, Triple, Volume } from '../volume/volume.js';
import { writeNifti } from './nifti-file.js';
import { renderScene } from './phantom-render.js';
import { type PhantomKind, type PhantomKindName, phantomKinds } from './phantom-scenes.js';

export { type PhantomKind, type PhantomKindName, phantomKinds } from './phantom-scenes.js';

/** How many cases of which role a dataset of phantoms has. */
export interface PhantomOptions extends Omit<VerbOptions<PhantomProgress>, 'onNotice'> {
  /** Training cases: labelled, validation and unlabelled ones together. */
  readonly cases: number;
  /** How many of them are labelled for training. */
  readonly labeledCases: number;
  /** How many of them have label files for choosing a model; default 2. The rest has no label files. */
  readonly validationCases?: number;
  /** Cases beyond `cases`, with labels, in imagesTs and labelsTs; default 4. */
  readonly testCases?: number;
  /** The same seed and kind give the same files. */
  readonly seed: number;
}

/** A case has been written. */
export interface PhantomProgress {
  readonly id: string;
  /** Counts from 1 to total, cases for testing included. */
  readonly index: number;
  readonly total: number;
}

/**
 * Makes a dataset of phantoms that look like CT or MR scans, in Decathlon form: imagesTr, labelsTr, imagesTs, labelsTs,
 * dataset.json, and splits.json with the lists `labeled`, `validation`, `unlabeled` and `all`. Shapes, sizes, contrast,
 * noise and field of view differ from case to case. dataset.json comes last: what was ended early is no dataset.
 * @throws VERSEMI_ABORTED by `signal`, between two cases; VERSEMI_USAGE for an unknown kind or counts that do not fit, VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function makePhantomDataset(
  folder: string,
  kind: PhantomKindName,
  options: PhantomOptions,
): Promise<void> {
  const { cases, labeledCases, validationCases = 2, testCases = 4, seed, signal, onProgress } = options;
  const counts = [cases, labeledCases, validationCases, testCases];
  if (!counts.every((n) => Number.isSafeInteger(n) && n >= 0) || cases < 1 || labeledCases + validationCases > cases) {
    throw new VersemiError('USAGE', {
      field: 'phantom cases',
      expected: 'at least one case, and labelled and validation cases together no more than that',
      found: `${cases} cases, ${labeledCases} labelled, ${validationCases} for validation, ${testCases} for testing`,
    });
  }
  if (!Object.hasOwn(phantomKinds, kind)) {
    throw new VersemiError('USAGE', {
      field: 'phantom kind',
      expected: Object.keys(phantomKinds).join(' or '),
      found: kind,
    });
  }
  const { description, modality, labels }: PhantomKind = phantomKinds[kind];
  const name = (i: number) => `${kind}_${String(i + 1).padStart(3, '0')}`;
  const ids = Array.from({ length: cases }, (_, i) => name(i));
  const withLabel = labeledCases + validationCases;
  for (let i = 0; i < cases + testCases; i++) {
    throwIfAborted(signal, 'phantoms');
    const { image, label } = phantomCase(kind, seed, i);
    const suffix = i < cases ? 'Tr' : 'Ts';
    const path = (role: string) => join(folder, `${role}${suffix}`, `${name(i)}.nii.gz`);
    await Promise.all([
      writeNifti(path('images'), image),
      ...(i < withLabel || i >= cases ? [writeNifti(path('labels'), label)] : []),
    ]);
    onProgress?.({ id: name(i), index: i + 1, total: cases + testCases });
  }
  const entry = (i: number) => {
    const suffix = i < cases ? 'Tr' : 'Ts';
    const image = `./images${suffix}/${name(i)}.nii.gz`;
    return i < withLabel || i >= cases ? { image, label: `./labels${suffix}/${name(i)}.nii.gz` } : { image };
  };
  const json = {
    name: kind,
    description,
    licence: 'CC0 1.0',
    reference: 'synthetic: versemi phantoms',
    tensorImageSize: '3D',
    modality: { 0: modality },
    labels,
    numTraining: cases,
    numTest: testCases,
    training: ids.map((_, i) => entry(i)),
    test: Array.from({ length: testCases }, (_, i) => entry(cases + i)),
  };
  const splits = {
    labeled: ids.slice(0, labeledCases),
    validation: ids.slice(labeledCases, withLabel),
    unlabeled: ids.slice(withLabel),
    all: ids,
  };
  await writeFileAtomic(join(folder, 'splits.json'), `${JSON.stringify(splits, undefined, 1)}\n`);
  await writeFileAtomic(join(folder, 'dataset.json'), `${JSON.stringify(json, undefined, 1)}\n`);
}

/**
 * Image and label of case `index` of a kind, a pure function of its arguments. CT is stored as LPS, as most CT is; MR as
 * RAS with the couch a little turned.
 */
export function phantomCase(
  kind: PhantomKindName,
  seed: number,
  index: number,
): { image: Volume<Int16Array>; label: Volume<Uint8Array> } {
  const step = Object.keys(phantomKinds).indexOf(kind);
  const random = new RandomStream(seed, streams.phantom, step, index);
  const scene = phantomKinds[kind].draw(random);
  const { image, label } = renderScene(scene, random, { seed, step, sample: index });
  const { sizeVoxels, spacingMm } = scene;
  const position: Triple = [
    random.uniformBetween(-20, 20),
    random.uniformBetween(-20, 20),
    random.uniformBetween(-300, 0),
  ];
  const geometry = { sizeVoxels, spacingMm };
  const upright = centred(sizeVoxels, spacingMm, position);
  if (phantomKinds[kind].modality === 'CT') {
    // Half a turn about the long axis of the body: the data reversed along x and y, and the affine with it.
    const affine = multiplyAffines(upright, [
      ...[-1, 0, 0, sizeVoxels[0] - 1],
      ...[0, -1, 0, sizeVoxels[1] - 1],
      ...[0, 0, 1, 0],
      ...[0, 0, 0, 1],
    ]);
    const turned = <T extends Int16Array | Uint8Array>(data: T) => reversedInPlane(data, sizeVoxels);
    return { image: { ...geometry, affine, data: turned(image) }, label: { ...geometry, affine, data: turned(label) } };
  }
  const angle = random.uniformBetween(-0.15, 0.15);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const affine = multiplyAffines([c, -s, 0, 0, s, c, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], upright);
  return { image: { ...geometry, affine, data: image }, label: { ...geometry, affine, data: label } };
}

/** Affine that puts the middle of the volume at `position`. */
function centred(sizeVoxels: Triple, spacingMm: Triple, position: Triple): Affine {
  const origin = position.map((p, i) => p - (spacingMm[i]! * (sizeVoxels[i]! - 1)) / 2) as unknown as Triple;
  return scalingAffine(spacingMm, origin);
}

/** x and y reversed: each slice backwards. */
function reversedInPlane<T extends Int16Array | Uint8Array>(data: T, [sizeX, sizeY]: Triple): T {
  const result = data.slice() as T;
  const plane = sizeX * sizeY;
  for (let start = 0; start < result.length; start += plane) result.subarray(start, start + plane).reverse();
  return result;
}
