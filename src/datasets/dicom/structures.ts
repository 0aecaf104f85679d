import { VersemiError } from '../../errors.js';
import { shown } from '../../json-text.js';
import { invertAffine } from '../../volume/affine.js';
import type { Affine, Triple } from '../../volume/volume.js';
import { type DicomFile, parseDicom } from './elements.js';

/** A region that a structure set outlines: closed polygons, each in one plane. */
export interface Roi {
  readonly number: number;
  readonly name: string;
  /** Points x, y, z, x, y, z, … in millimetres, LPS. */
  readonly contours: readonly Float64Array[];
}

export interface StructureSet {
  readonly rois: readonly Roi[];
  readonly frameOfReferenceUids: readonly string[];
  /** Series that the outlines were drawn on. */
  readonly seriesUids: readonly string[];
}

/** @throws VERSEMI_FILE_FORMAT, VERSEMI_FILE_CORRUPT */
export async function readStructureSet(file: DicomFile): Promise<StructureSet> {
  const { elements } = await parseDicom(await file.bytes(), file.name);
  const names = new Map(
    elements.items('structureSetRois').map((roi) => [roi.whole('roiNumber', 0, 2 ** 31), roi.text('roiName') ?? '']),
  );
  const rois = elements.items('roiContours').map((roi) => {
    const number = roi.whole('referencedRoiNumber', 0, 2 ** 31);
    const contours = roi.items('contourSequence').flatMap((contour) => {
      const type = contour.text('contourGeometricType');
      // Points and open lines mark no volume.
      if (type !== 'CLOSED_PLANAR' && type !== 'CLOSEDPLANAR_XOR') return [];
      const points = Float64Array.from(contour.numbers('contourData'));
      if (points.length % 3 !== 0) throw contour.wrong('contourData', 'three numbers for each point');
      return [points];
    });
    return { number, name: names.get(number) ?? `ROI ${number}`, contours };
  });
  const frames = elements.items('referencedFramesOfReference');
  const series = frames
    .flatMap((frame) => frame.items('rtReferencedStudies'))
    .flatMap((study) => study.items('rtReferencedSeries'))
    .flatMap((each) => each.text('seriesUid') ?? []);
  const own = frames.flatMap((frame) => frame.text('frameOfReferenceUid') ?? []);
  return { rois, frameOfReferenceUids: own, seriesUids: series };
}

/** Points of a contour may lie beside their slice by this part of a slice. */
const planeTolerance = 0.5;

/**
 * The voxels whose centres lie inside an odd number of a region's contours, slice by slice: a contour within another one is a hole.
 * A contour belongs to the slice that is next to it, whatever its references to images say.
 * @param sizeVoxels of the grid, columns, rows, slices
 * @param affine of the grid, to millimetres in RAS+
 * @returns 0 and 1
 * @throws VERSEMI_LABEL_INVALID when a contour crosses slices or lies outside of the volume
 */
export function maskOfRoi(roi: Roi, sizeVoxels: Triple, affine: Affine, file: string): Uint8Array {
  const [columns, rows, slices] = sizeVoxels;
  const toVoxel = invertAffine(affine)!;
  const mask = new Uint8Array(columns * rows * slices);
  for (const contour of roi.contours) {
    const count = contour.length / 3;
    const xy = new Float64Array(2 * count);
    let [lowest, highest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let i = 0; i < count; i++) {
      const [x, y, z] = [-contour[3 * i]!, -contour[3 * i + 1]!, contour[3 * i + 2]!];
      const at = (r: number) =>
        toVoxel[4 * r]! * x + toVoxel[4 * r + 1]! * y + toVoxel[4 * r + 2]! * z + toVoxel[4 * r + 3]!;
      xy[2 * i] = at(0);
      xy[2 * i + 1] = at(1);
      const slice = at(2);
      lowest = Math.min(lowest, slice);
      highest = Math.max(highest, slice);
    }
    if (count < 3) continue;
    const slice = Math.round((lowest + highest) / 2);
    if (highest - lowest > planeTolerance || slice < 0 || slice >= slices) {
      const across = highest - lowest > planeTolerance;
      throw new VersemiError('LABEL_INVALID', {
        file,
        field: `region ${shown(roi.name)}`,
        expected: across
          ? 'contours that lie in the slices of the images'
          : `contours in the ${slices} slices of the images`,
        found: across
          ? `one from slice ${(lowest + 1).toFixed(1)} to ${(highest + 1).toFixed(1)}`
          : `one at slice ${slice + 1}`,
        remedy: 'Check that the structure set belongs to these images, and that no image of the series is missing.',
      });
    }
    flipInside(mask.subarray(slice * columns * rows, (slice + 1) * columns * rows), columns, rows, xy);
  }
  return mask;
}

/**
 * Turns 0 into 1 and 1 into 0 at pixels whose centre is inside a polygon. A centre on its outline counts as inside at the left and upper edges
 * only, so that polygons that share an edge share no pixel.
 * @param xy points in pixels
 */
function flipInside(plane: Uint8Array, columns: number, rows: number, xy: Float64Array): void {
  const count = xy.length / 2;
  const crossings: number[] = [];
  let [upper, lower] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 1; i < xy.length; i += 2) {
    upper = Math.min(upper, xy[i]!);
    lower = Math.max(lower, xy[i]!);
  }
  for (let y = Math.max(0, Math.ceil(upper)); y < rows && y <= lower; y++) {
    crossings.length = 0;
    for (let i = 0, j = count - 1; i < count; j = i++) {
      const [y0, y1] = [xy[2 * j + 1]!, xy[2 * i + 1]!];
      if (y0 <= y === y1 <= y) continue;
      crossings.push(xy[2 * j]! + ((y - y0) / (y1 - y0)) * (xy[2 * i]! - xy[2 * j]!));
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const from = Math.max(0, Math.ceil(crossings[k]!));
      const to = Math.min(columns, Math.ceil(crossings[k + 1]!));
      for (let x = from; x < to; x++) plane[y * columns + x]! ^= 1;
    }
  }
}
