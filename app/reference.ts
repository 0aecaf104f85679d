import { drawnStructures, readLabelObject, seriesMeant } from '../src/datasets/dicom/label-objects.js';
import { instancesOf, readContents } from '../src/datasets/dicom/series.js';
import { labelBytes } from '../src/datasets/label-values.js';
import { VersemiError } from '../src/errors.js';
import { toCanonical, turnedVolume } from '../src/scans/canonical.js';
import type { Scan } from '../src/scans/scan.js';
import { turnOnto } from '../src/volume/geometry.js';
import type { ReadScan } from './intake.js';
import { asDicom, baseName, type PageFile, unpacked } from './page-file.js';
import type { GivenFile } from './protocol.js';
import { type VolumeFile, volumeFiles } from './volume-files.js';

/** Masks that predictions are compared with. */
export interface ReferenceMasks {
  readonly name: string;
  /** Values of a label map, or names of outlines and segments. */
  readonly labels: readonly string[];
  /** One of them by its place, or all together: not zero inside, on the canonical grid. @throws what drawing an outline throws */
  mask(label: number | 'all'): Promise<Uint8Array>;
}

/**
 * Reads reference masks of the scan that is open: a label map on its voxels, in whatever order they are stored, or a structure set or a
 * segmentation that was drawn on its series.
 * @throws VERSEMI_GEOMETRY_MISMATCH, VERSEMI_LABEL_INVALID, VERSEMI_FORMAT_UNSUPPORTED when the files are no single reference, and
 *   what reading throws
 */
export async function readReference(
  given: readonly GivenFile[],
  open: { readonly read: ReadScan; readonly scan: Scan },
): Promise<ReferenceMasks> {
  const { volumes, rest } = await volumeFiles((await Promise.all(given.map(unpacked))).flat());
  if (volumes.length === 1 && rest.length === 0) return labelMap(volumes[0]!, open.scan);
  if (volumes.length === 0 && rest.length === 1) return drawn(rest[0]!, open.read);
  throw noReference(given[0]?.name ?? 'reference', `${volumes.length + rest.length} files`);
}

function noReference(file: string, found: string): VersemiError {
  return new VersemiError('FORMAT_UNSUPPORTED', {
    file,
    field: 'reference',
    expected: 'one label map (NIfTI, NRRD, MetaImage), structure set (RTSTRUCT) or segmentation (SEG)',
    found,
    remedy: 'Give the file of the reference alone.',
  });
}

async function labelMap({ path, volumes, read }: VolumeFile, scan: Scan): Promise<ReferenceMasks> {
  if (volumes > 1) throw noReference(path, `${volumes} volumes in one file`);
  const { volume, slope, intercept } = await read();
  const { axes, flipped } = turnOnto(scan, volume, { image: 'scan', label: baseName(path) });
  const { data } = turnedVolume(
    { ...volume, data: labelBytes(volume.data, { slope, intercept }, path) },
    axes,
    flipped,
  );
  const values = [...new Set(data)].filter((value) => value !== 0).sort((a, b) => a - b);
  return {
    name: baseName(path),
    labels: values.map(String),
    mask: async (label) => (label === 'all' ? data : data.map((value) => (value === values[label] ? 1 : 0))),
  };
}

async function drawn(file: PageFile, { volume, placed }: ReadScan): Promise<ReferenceMasks> {
  const dicom = asDicom(file);
  const [object] = (await readContents([dicom])).others.filter(({ kind }) => kind !== 'other');
  if (object === undefined) throw noReference(file.name, 'a file of another kind');
  if (placed !== undefined) {
    const { uid, studyUid } = placed.series;
    const [first] = instancesOf(placed.series);
    const frame = first?.frameOfReferenceUid;
    const here = { uid, studyUid, ...(frame === undefined ? {} : { frameOfReferenceUid: frame }) };
    if (seriesMeant(await readLabelObject(object), [here]).length === 0)
      throw new VersemiError('GEOMETRY_MISMATCH', {
        file: file.name,
        field: 'referenced series',
        expected: `the series that is open (${uid}), or its frame of reference`,
        found: 'others',
        remedy: 'Open the series that it was drawn on, or give the reference of this one.',
      });
  }
  const structures = await drawnStructures(dicom, volume);
  const canonical = async (place: number) => toCanonical({ ...volume, data: await structures[place]!.mask() }).data;
  return {
    name: baseName(file.name),
    labels: structures.map(({ name }) => name),
    async mask(label) {
      if (label !== 'all') return canonical(label);
      const union = new Uint8Array(volume.data.length);
      for (const place of structures.keys()) {
        const mask = await canonical(place);
        for (let i = 0; i < union.length; i++) union[i]! |= mask[i]!;
      }
      return union;
    },
  };
}
