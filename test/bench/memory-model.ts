// A CT and a model to measure memory with: shapes and sizes matter, not what they show.
import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
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

/** The body of {@link writeCt}: an ellipse of the plane, as far as a body fills the field of view. */
function inBody(x: number, y: number, [sizeX, sizeY]: Triple): boolean {
  return (x / sizeX - 0.5) ** 2 + (1.6 * (y / sizeY - 0.5)) ** 2 < 0.18;
}

const affineOf = ([sizeX]: Triple, [sx, sy, sz]: Triple) =>
  [-sx, 0, 0, sx * sizeX, 0, sy, 0, 0, 0, 0, sz, 0, 0, 0, 0, 1] as const;

/** A dataset of the CT of {@link writeCt} and a label map in which every task has a part of the body. @returns its folder */
export async function writeLabeledCt(
  folder: string,
  sizeVoxels: Triple,
  spacingMm: Triple,
  tasks: number,
): Promise<string> {
  const dataset = join(folder, 'dataset');
  await mkdir(join(dataset, 'labels'), { recursive: true });
  const image = await writeCt(dataset, sizeVoxels, spacingMm);
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const plane = new Uint8Array(sizeX * sizeY);
  for (let y = 0, i = 0; y < sizeY; y++)
    for (let x = 0; x < sizeX; x++, i++) if (inBody(x, y, sizeVoxels)) plane[i] = 1 + Math.floor((tasks * x) / sizeX);
  const data = new Uint8Array(plane.length * sizeZ);
  for (let z = 0; z < sizeZ; z++) data.set(plane, z * plane.length);
  const label = join(dataset, 'labels', 'ct.nii.gz');
  await writeNifti(label, { data, sizeVoxels, spacingMm, affine: affineOf(sizeVoxels, spacingMm) });
  const labels = Object.fromEntries(Array.from({ length: tasks }, (_, i) => [`organ ${i + 1}`, i + 1]));
  const description = {
    name: 'ct',
    channel_names: { 0: 'CT' },
    labels: { background: 0, ...labels },
    training: [{ image, label }].map((files) => ({
      image: relative(dataset, files.image),
      label: relative(dataset, files.label),
    })),
  };
  await writeFile(join(dataset, 'dataset.json'), JSON.stringify(description));
  return dataset;
}

/** A body of soft tissue with noise and structures in air: 16-bit integers, gzip, x to the left as scanners store it. */
export async function writeCt(folder: string, sizeVoxels: Triple, spacingMm: Triple): Promise<string> {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const data = new Int16Array(sizeX * sizeY * sizeZ);
  let state = 1;
  for (let z = 0, i = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      for (let x = 0; x < sizeX; x++, i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        data[i] = inBody(x, y, sizeVoxels)
          ? 40 + 60 * Math.sin(x / 23) * Math.sin(y / 31) * Math.sin(z / 17) + (state >>> 27)
          : -1000;
      }
    }
  }
  const file = join(folder, 'ct.nii.gz');
  await writeNifti(file, { data, sizeVoxels, spacingMm, affine: affineOf(sizeVoxels, spacingMm) });
  return file;
}
