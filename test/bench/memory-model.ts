// A CT and a model to measure memory with: shapes and sizes matter, not what they show.
import { join } from 'node:path';
import { modelMetadata, saveModel } from '../../src/checkpoints/index.js';
import { parsePlan } from '../../src/config/plan.js';
import { writeNifti } from '../../src/datasets/read-volume.js';
import { VersemiNetwork } from '../../src/model/network.js';
import type { Triple } from '../../src/volume/volume.js';

export interface MemoryModel {
  readonly tasks: number;
  readonly baseWidth: number;
  readonly patchSizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly largestComponent?: boolean;
}

/** An untrained model. @returns its file */
export async function writeModel(folder: string, made: MemoryModel): Promise<string> {
  const { tasks, baseWidth, patchSizeVoxels, spacingMm, largestComponent = false } = made;
  const plan = parsePlan({
    version: 1,
    name: 'memory',
    seed: 1,
    datasets: [
      {
        name: 'ct',
        path: 'ct',
        preprocessing: { spacingMm: [...spacingMm], window: [-200, 300], normalization: 'zscore' },
        split: { labeled: 'all' },
      },
    ],
    tasks: Array.from({ length: tasks }, (_, i) => ({ name: `organ-${i + 1}`, dataset: 'ct', labels: [i + 1] })),
    network: { baseWidth, levels: 5 },
    patchSizeVoxels: [...patchSizeVoxels],
    inference: { largestComponent },
  });
  const network = new VersemiNetwork({ ...plan.network, tasks }, 1);
  const file = join(folder, 'model.safetensors');
  const history = { steps: 0, losses: [], validation: [], best: null };
  const provenance = { created: new Date(0).toISOString(), versions: {}, data: [] };
  await saveModel(file, network, modelMetadata(plan, history, provenance));
  network.dispose();
  return file;
}

/** A body of soft tissue with noise and structures in air: 16-bit integers, gzip, x to the left as scanners store it. */
export async function writeCt(folder: string, sizeVoxels: Triple, spacingMm: Triple): Promise<string> {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const [sx, sy, sz] = spacingMm;
  const data = new Int16Array(sizeX * sizeY * sizeZ);
  let state = 1;
  for (let z = 0, i = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      for (let x = 0; x < sizeX; x++, i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        const inside = (x / sizeX - 0.5) ** 2 + (1.6 * (y / sizeY - 0.5)) ** 2 < 0.18;
        data[i] = inside ? 40 + 60 * Math.sin(x / 23) * Math.sin(y / 31) * Math.sin(z / 17) + (state >>> 27) : -1000;
      }
    }
  }
  const file = join(folder, 'ct.nii.gz');
  const affine = [-sx, 0, 0, sx * sizeX, 0, sy, 0, 0, 0, 0, sz, 0, 0, 0, 0, 1];
  await writeNifti(file, { data, sizeVoxels, spacingMm, affine });
  return file;
}
