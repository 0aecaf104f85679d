import type { Plan } from '../src/config/plan.js';
import { encodeSegmentation } from '../src/datasets/dicom/write-segmentation.js';
import { encodeStructureSet } from '../src/datasets/dicom/write-structures.js';
import { encodeNifti } from '../src/datasets/nifti-bytes.js';
import { encodeNrrd } from '../src/datasets/nrrd-encode.js';
import { VersemiError } from '../src/errors.js';
import { fileNameOf } from '../src/file-name.js';
import { labelMaps, paintedTasks, paintMap } from '../src/inference/label-map.js';
import { taskCodes } from '../src/inference/task-identity.js';
import { MaskVolume } from '../src/scans/mask-volume.js';
import type { Scan } from '../src/scans/scan.js';
import { host } from '../src/wasm/host.js';
import type { ReadScan } from './intake.js';
import type { LabelMap, NamedMask, Saved, SavedFile, SaveWanted } from './protocol.js';
import { version } from './version.js';
import { volumeEnding } from './volume-files.js';

/** The scan that masks lie on, and the plan of the model that made them. */
interface Source {
  readonly read: ReadScan;
  readonly scan: Scan;
  readonly model: string;
  readonly plan: Plan;
}

/**
 * Masks as files: one per task for NIfTI and NRRD, one with all tasks for the objects of DICOM. Label maps have the values that the plan
 * gives the tasks, one map for each dataset, as those of `versemi predict --label-map`.
 * @throws VERSEMI_FORMAT_UNSUPPORTED when a DICOM object is asked for and the scan is no DICOM series; VERSEMI_VOLUME_INVALID when
 *   a segmentation would hold no voxel; VERSEMI_PLAN_CONTRADICTION when two tasks would get the same value
 */
export async function saved(
  { read, scan, model, plan }: Source,
  { format, masks, deidentify }: SaveWanted,
): Promise<Saved> {
  const base = read.name.replace(volumeEnding, '');
  const onSource = maskVolumes(scan, masks);
  if (format === 'nifti' || format === 'nrrd') {
    const files: SavedFile[] = [];
    for (const { task, mask } of onSource) {
      const bytes = await (format === 'nifti' ? encodeNifti(mask) : encodeNrrd(mask));
      files.push({ name: fileNameOf(`${base}_${task}.${format === 'nifti' ? 'nii.gz' : 'nrrd'}`), bytes });
    }
    return { files, notices: [] };
  }
  if (format === 'labels') {
    const files: SavedFile[] = [];
    const notices: string[] = [];
    for (const map of labelMaps(plan, onSource)) {
      const name = fileNameOf(`${base}_${map.dataset}-labels.nii.gz`);
      files.push({ name, bytes: await encodeNifti(map) });
      notices.push(`Values: ${map.painted.map(({ task, value }) => `${value} ${task}`).join(', ')}.`);
      const contested = map.contested();
      if (contested > 0) notices.push(`${contested} voxels are in the masks of two tasks; the later one is seen.`);
    }
    return { files, notices };
  }
  if (read.placed === undefined)
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: read.name,
      field: 'format',
      expected: 'a DICOM series, to whose images SEG and RTSTRUCT refer',
      found: 'a scan of another format',
      remedy: 'Save as NIfTI or NRRD, or open the DICOM images.',
    });
  const labelled = onSource.map(({ task, mask }, i) => ({
    ...{ name: task, colour: masks[i]!.colour, data: mask.data },
    ...taskCodes(plan, task),
  }));
  const encode = format === 'seg' ? encodeSegmentation : encodeStructureSet;
  const bytes = await encode(read.placed, labelled, { model, version, deidentify });
  const [columns, rows] = read.placed.grid.sizeVoxels;
  const misread = format === 'seg' && (columns * rows) % 8 !== 0;
  return {
    files: [{ name: fileNameOf(`${base}.${format}.dcm`), bytes }],
    notices: misread
      ? [
          `Planes of ${columns} × ${rows} pixels fill no whole bytes: 3D Slicer misreads such a SEG; give it RTSTRUCT or NRRD.`,
        ]
      : [],
  };
}

/** Masks as one label map whose values are the places of the tasks in it, parts over their wholes. */
export async function labelMapOf(
  { scan, plan }: Pick<Source, 'scan' | 'plan'>,
  masks: readonly NamedMask[],
): Promise<LabelMap> {
  const order = plan.datasets.flatMap(({ name }) => paintedTasks(plan, name).map(({ task }) => task));
  const ordered = maskVolumes(scan, masks).sort((a, b) => order.indexOf(a.task) - order.indexOf(b.task));
  const layers = ordered.map(({ task, mask }, i) => ({ task, mask, value: i + 1 }));
  return { bytes: await encodeNifti(paintMap(plan, '', layers)), tasks: ordered.map(({ task }) => task) };
}

function maskVolumes(scan: Scan, masks: readonly NamedMask[]) {
  return masks.map(({ task, data }) => ({ task, mask: new MaskVolume(scan, host().packMask(data, scan.sizeVoxels)) }));
}
