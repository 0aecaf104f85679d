import { encodeSegmentation } from '../src/datasets/dicom/write-segmentation.js';
import { encodeStructureSet } from '../src/datasets/dicom/write-structures.js';
import { encodeNifti } from '../src/datasets/nifti-bytes.js';
import { encodeNrrd } from '../src/datasets/nrrd-encode.js';
import { VersemiError } from '../src/errors.js';
import { fileNameOf } from '../src/file-name.js';
import { toStored } from '../src/scans/canonical.js';
import type { Scan } from '../src/scans/scan.js';
import type { ReadScan } from './intake.js';
import type { SavedFile, SaveWanted } from './protocol.js';
import { version } from './version.js';

/**
 * Masks as files: one per task for NIfTI and NRRD, one with all tasks for the objects of DICOM. A label map holds 1, 2, ... in the
 * order of the masks, a later one over an earlier one.
 * @throws VERSEMI_FORMAT_UNSUPPORTED when a DICOM object is asked for and the scan is no DICOM series; VERSEMI_VOLUME_INVALID when
 *   a segmentation would hold no voxel
 */
export async function saved(
  { read, scan }: { readonly read: ReadScan; readonly scan: Scan },
  { format, masks, model, deidentify }: SaveWanted,
): Promise<SavedFile[]> {
  const { sizeVoxels, spacingMm, affine, stored } = scan;
  const base = read.name.replace(/\.nii(\.gz)?$/i, '');
  const onSource = masks.map(({ task, colour, data }) => ({
    name: task,
    colour,
    volume: toStored({ data, sizeVoxels, spacingMm, affine, stored }),
  }));
  if (format === 'nifti' || format === 'nrrd') {
    const files: SavedFile[] = [];
    for (const { name, volume } of onSource) {
      const bytes = await (format === 'nifti' ? encodeNifti(volume) : encodeNrrd(volume));
      files.push({ name: fileNameOf(`${base}_${name}.${format === 'nifti' ? 'nii.gz' : 'nrrd'}`), bytes });
    }
    return files;
  }
  if (format === 'labels') {
    const data = new Uint8Array(onSource[0]!.volume.data.length);
    for (const [i, { volume }] of onSource.entries())
      for (let voxel = 0; voxel < data.length; voxel++) if (volume.data[voxel] !== 0) data[voxel] = i + 1;
    return [{ name: fileNameOf(`${base}_labels.nii.gz`), bytes: await encodeNifti({ ...onSource[0]!.volume, data }) }];
  }
  if (read.placed === undefined)
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: read.name,
      field: 'format',
      expected: 'a DICOM series, to whose images SEG and RTSTRUCT refer',
      found: 'a scan of another format',
      remedy: 'Save as NIfTI or NRRD, or open the DICOM images.',
    });
  const labelled = onSource.map(({ name, colour, volume }) => ({ name, colour, data: volume.data }));
  const encode = format === 'seg' ? encodeSegmentation : encodeStructureSet;
  const bytes = await encode(read.placed, labelled, { model, version, deidentify });
  return [{ name: fileNameOf(`${base}.${format}.dcm`), bytes }];
}
