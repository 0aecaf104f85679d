import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Plan, parsePlan } from '../config/plan.js';
import { planGrid, wholeBox } from '../preprocessing/grid.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { RandomStream, streams } from '../random.js';
import type { StepBatch } from '../sampling/fields.js';
import type { SamplingData } from '../sampling/rows.js';
import { createSampler } from '../sampling/sampler.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { type BenchCase, pythons } from './run.js';

const datasets = ['a', 'b', 'c', 'd'] as const;
/** Cases of each dataset with labels, and as many without. */
const casesPerDataset = 2;

/** The paper's batch: 8 + 8, one task of each of four datasets, random crops and CutMix and no other augmentation. */
export function batchPlan(patch: number): Plan {
  return parsePlan({
    version: 1,
    name: 'bench',
    datasets: datasets.map((name) => ({ name, path: name, preprocessing: { spacingMm: [1, 1, 1] } })),
    tasks: datasets.map((name) => ({ name, dataset: name, labels: [1] })),
    patchSizeVoxels: [patch, patch, patch],
    training: { labeledBatchSize: 8, unlabeledBatchSize: 8, stage1Steps: 0, stage2Steps: 1_000_000 },
    losses: { auxiliaryInStage2: true },
  });
}

/** 180 x 180 x 100 voxels for a patch of 96^3, as cropped scans of organs are. */
export function volumeSize(patch: number): Triple {
  return [Math.round((patch * 180) / 96), Math.round((patch * 180) / 96), Math.round((patch * 100) / 96)];
}

/** Volumes of noise: a patch from elsewhere is another patch. */
export function noiseCases(sizeVoxels: Triple, labeled: boolean): PreprocessedCase[] {
  const affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] as const;
  const grid = planGrid({ sizeVoxels, spacingMm: [1, 1, 1], affine }, wholeBox(sizeVoxels), [1, 1, 1]);
  return datasets.flatMap((dataset, d) =>
    Array.from({ length: casesPerDataset }, (_, i) => {
      const random = new RandomStream(2 * (casesPerDataset * d + i) + (labeled ? 1 : 0), streams.test);
      // To draw each voxel would take longer than what is timed; the length is prime, so that no row repeats another.
      const pool = Float32Array.from({ length: 65_521 }, () => random.normal());
      const image = Float32Array.from({ length: voxelCount(sizeVoxels) }, (_, voxel) => pool[voxel % pool.length]!);
      const label = Uint8Array.from(image, (value) => (value > 0.8 ? 1 : 0));
      const facts = { id: String(i), dataset, sizeVoxels, spacingMm: [1, 1, 1] as const, grid };
      return labeled ? { ...facts, image, label } : { ...facts, image };
    }),
  );
}

/** A number for each field of a batch that changes with values and with where they lie. */
export function fingerprintOf({ fields }: StepBatch): Record<string, number> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, array]) => {
      let sum = 0;
      // In double, as numpy sums it; squares, so that the sum of noise does not come near 0.
      for (let i = 0; i < array.length; i++) sum += array[i]! ** 2 * (i % 1009);
      return [name, sum];
    }),
  );
}

/** numpy's file format, version 1: a header of text in front of the values as they lie in memory. */
function npy(data: Float32Array | Uint8Array, [sizeX, sizeY, sizeZ]: Triple): Uint8Array {
  const type = data instanceof Float32Array ? '<f4' : '|u1';
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${sizeZ}, ${sizeY}, ${sizeX}), }`;
  const header = `${text.padEnd(118 - 1)}\n`;
  const prefix = Uint8Array.of(0x93, ...Buffer.from('NUMPY'), 1, 0, header.length, 0);
  return Buffer.concat([prefix, Buffer.from(header), new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}

/** Writes the cached volumes and the decisions of the steps for the peer. */
async function writeForPeer(
  folder: string,
  plan: Plan,
  data: SamplingData,
  recipes: readonly unknown[],
): Promise<void> {
  for (const [pool, cases] of Object.entries(data) as [keyof SamplingData, readonly PreprocessedCase[]][])
    for (const [i, { image, label, sizeVoxels }] of cases.entries()) {
      await writeFile(join(folder, `${pool}-${i}-image.npy`), npy(image, sizeVoxels));
      if (label !== undefined) await writeFile(join(folder, `${pool}-${i}-label.npy`), npy(label, sizeVoxels));
    }
  const counts = { labeled: data.labeled.length, unlabeled: data.unlabeled.length };
  const tasks = plan.tasks.map(({ labels }) => labels);
  const datasetOf = data.labeled.map(({ dataset }) => dataset);
  const text = JSON.stringify({ patch: plan.patchSizeVoxels, counts, tasks, datasetOf, recipes });
  await writeFile(join(folder, 'batch.json'), text);
}

/** Patches and CutMix of a step of the second stage with all terms of the paper, beside numpy, which makes the same batch. */
export const batchCase: BenchCase = {
  name: 'batch-8-8',
  host: true,
  prepare: async ({ patch, runs, peers }) => {
    const plan = batchPlan(patch);
    const sizeVoxels = volumeSize(patch);
    const data = { labeled: noiseCases(sizeVoxels, true), unlabeled: noiseCases(sizeVoxels, false) };
    const sampler = createSampler(plan, data);
    const folder = await mkdtemp(join(tmpdir(), 'versemi-batch-'));
    const steps = Array.from({ length: runs + 1 }, (_, step) => step);
    await writeForPeer(
      folder,
      plan,
      data,
      steps.map((step) => sampler.recipe(step)),
    );
    let step = 0;
    let batch: StepBatch | undefined;
    return {
      run: () => {
        batch = sampler.batch(step++);
      },
      dispose: () => rm(folder, { recursive: true }),
      results: () => fingerprintOf(batch!),
      peers: [
        { name: 'numpy, slices', commands: pythons, args: [join(peers, 'batch.py'), folder, 'slices'] },
        { name: 'numpy, masks', commands: pythons, args: [join(peers, 'batch.py'), folder, 'masks'] },
      ],
    };
  },
};
