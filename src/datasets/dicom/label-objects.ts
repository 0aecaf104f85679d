import { VersemiError } from '../../errors.js';
import { shown } from '../../json-text.js';
import type { Geometry } from '../../volume/orientation.js';
import { type DicomFile, parseHeader } from './elements.js';
import { kindOf, type OtherObject } from './instance.js';
import { maskOfSegment, readSegmentation } from './segmentation.js';
import { maskOfRoi, readStructureSet } from './structures.js';

/** What a structure set or a segmentation says of itself: what it outlines, and on which images. */
export interface LabelObject {
  readonly file: string;
  /** Names of what is outlined, as written; structures without a closed contour are left out. */
  readonly names: readonly string[];
  readonly seriesUids: readonly string[];
  readonly frameOfReferenceUids: readonly string[];
  readonly studyUid?: string;
}

/** One structure in all cases: names differ in the case of letters and in spaces only. */
export function structureKey(name: string): string {
  return name.trim().replace(/\s+/g, ' ').toLowerCase();
}

/** @throws VERSEMI_FILE_FORMAT, VERSEMI_FILE_CORRUPT, VERSEMI_FILE_TRUNCATED */
export async function readLabelObject({
  file,
  kind,
  studyUid,
  frameOfReferenceUid,
}: OtherObject): Promise<LabelObject> {
  const study = studyUid === undefined ? {} : { studyUid };
  if (kind === 'structures') {
    const { rois, seriesUids, frameOfReferenceUids } = await readStructureSet(file);
    const names = rois.filter(({ contours }) => contours.length > 0).map(({ name }) => name);
    return { file: file.name, names, seriesUids, frameOfReferenceUids, ...study };
  }
  const { elements } = await parseHeader(file);
  return {
    file: file.name,
    names: elements.items('segmentSequence').map((segment) => segment.text('segmentLabel') ?? ''),
    seriesUids: elements.items('referencedSeriesSequence').flatMap((series) => series.text('seriesUid') ?? []),
    frameOfReferenceUids: frameOfReferenceUid === undefined ? [] : [frameOfReferenceUid],
    ...study,
  };
}

/** What identifies a series for the objects that refer to it. */
interface Referable {
  readonly uid: string;
  readonly studyUid: string;
  readonly frameOfReferenceUid?: string;
}

/**
 * The series that an object was drawn on: those that it names; where it names none that is here, those that share its frame of
 * reference (and, where these are several, its study).
 * @returns more than one where the references leave a doubt
 */
export function seriesMeant<T extends Referable>(object: LabelObject, series: readonly T[]): T[] {
  const named = series.filter(({ uid }) => object.seriesUids.includes(uid));
  if (named.length > 0) return named;
  const placed = series.filter(
    ({ frameOfReferenceUid: own }) => own !== undefined && object.frameOfReferenceUids.includes(own),
  );
  const ofStudy = placed.filter(({ studyUid }) => studyUid === object.studyUid);
  if (placed.length > 1 && ofStudy.length > 0) return ofStudy;
  if (placed.length > 0) return placed;
  // An object that refers to nothing at all belongs to its study.
  const bare = object.seriesUids.length === 0 && object.frameOfReferenceUids.length === 0;
  return bare ? series.filter(({ studyUid }) => studyUid === object.studyUid) : [];
}

/** A structure of an object, whose mask is drawn when it is asked for. */
export interface DrawnStructure {
  /** As written. */
  readonly name: string;
  /** 0 and 1 on the voxels of the images, in their stored orientation. */
  mask(): Promise<Uint8Array>;
}

/**
 * The structures of a structure set or a segmentation, on the voxels of their images.
 * @throws VERSEMI_FILE_FORMAT for another object, and what reading the object throws
 */
export async function drawnStructures(file: DicomFile, { sizeVoxels, affine }: Geometry): Promise<DrawnStructure[]> {
  const { elements } = await parseHeader(file);
  const kind = kindOf(elements);
  if (kind === 'structures') {
    const { rois } = await readStructureSet(file);
    return rois.map((roi) => ({ name: roi.name, mask: async () => maskOfRoi(roi, sizeVoxels, affine, file.name) }));
  }
  if (kind === 'segmentation') {
    const segmentation = await readSegmentation(file);
    return segmentation.segments.map(({ number, label }) => ({
      name: label,
      mask: () => maskOfSegment(segmentation, number, sizeVoxels, affine),
    }));
  }
  throw new VersemiError('FILE_FORMAT', {
    file: file.name,
    expected: 'a structure set (RTSTRUCT) or a segmentation (SEG)',
    found: `another DICOM object (${elements.text('modality') ?? '?'})`,
    remedy: 'Name the file of the outlines as the label.',
  });
}

/**
 * The label map that a structure set or a segmentation draws on the voxels of its images, in their stored orientation. Names without a
 * value are left out.
 * @param values by {@link structureKey}
 * @param ordered true: where structures overlap, the larger value is seen; false: overlaps are refused
 * @throws VERSEMI_LABEL_INVALID when structures overlap, and what reading the object throws
 */
export async function drawLabels(
  file: DicomFile,
  geometry: Geometry,
  values: ReadonlyMap<string, number>,
  ordered: boolean,
): Promise<Uint8Array> {
  const { sizeVoxels } = geometry;
  const parts = await drawnStructures(file, geometry);
  const valued = parts
    .map((part) => ({ ...part, value: values.get(structureKey(part.name)) ?? 0 }))
    .filter(({ value }) => value > 0)
    .sort((a, b) => a.value - b.value);
  const labels = new Uint8Array(sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2]);
  for (const { name, value, mask } of valued) {
    const inside = await mask();
    let shared = 0;
    let other = 0;
    for (let i = 0; i < labels.length; i++) {
      if (inside[i] === 0) continue;
      if (labels[i] !== 0 && labels[i] !== value) {
        shared++;
        other = labels[i]!;
      }
      labels[i] = value;
    }
    if (shared > 0 && !ordered) {
      const under = valued.find((each) => each.value === other)!.name;
      throw new VersemiError('LABEL_INVALID', {
        file: file.name,
        field: `structure ${shown(name)}`,
        expected: 'structures that share no voxel, or an order in which they lie on each other',
        found: `${shared} voxels that other structures have too, e.g. ${shown(under)}`,
        remedy:
          'Write a dataset.json with "labels", e.g. { "background": 0, "organ": 1, "tumour": 2 }: structures that it does not name are left out, and where two overlap the larger value is seen.',
      });
    }
  }
  return labels;
}
