// A small model and many small scans, for cohorts.
import { join } from 'node:path';
import { saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { parsePlan } from '../../src/config/plan.js';
import { writeNifti } from '../../src/datasets/read-volume.js';
import { VersemiNetwork } from '../../src/model/network.js';
import { registerVersemiBackends } from '../../src/tfjs/index.js';
import { scalingAffine } from '../../src/volume/affine.js';

export const cohortPlan = parsePlan({
  ...{ version: 1, name: 'small', seed: 1, patchSizeVoxels: [16, 16, 16] },
  datasets: [{ name: 'organs', path: 'organs', preprocessing: { spacingMm: [1, 1, 1], normalization: 'zscore' } }],
  tasks: [{ name: 'core', dataset: 'organs', labels: [1] }],
  network: { baseWidth: 4, levels: 2, convolutions: [1, 1] },
});

/** @param seed of the weights */
export async function writeSmallModel(file: string, seed = 1): Promise<void> {
  await registerVersemiBackends();
  const network = new VersemiNetwork({ ...cohortPlan.network, tasks: 1 }, seed);
  const history = { steps: 0, losses: [], validation: [], best: null };
  const provenance = { created: new Date(0).toISOString(), versions: {}, data: [] };
  await saveModel(file, network, modelMetadata(cohortPlan, history, provenance));
  network.dispose();
}

/** Name of a scan: scan-00007. */
export const scanName = (index: number) => `scan-${String(index).padStart(5, '0')}`;

/** A scan of 8-bit voxels. @param slices along z */
export async function writeScan(file: string, seed: number, slices = 8): Promise<void> {
  const sizeVoxels = [12, 12, slices] as const;
  const data = Uint8Array.from({ length: 144 * slices }, (_, i) => (i * (37 + seed)) % 251);
  await writeNifti(file, { data, sizeVoxels, spacingMm: [1, 1, 1], affine: scalingAffine([1, 1, 1]) });
}

/** `count` scans in a folder. */
export async function writeScans(folder: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++)
    await writeScan(join(folder, `${scanName(index)}.nii.gz`), index, 6 + (index % 5));
}
