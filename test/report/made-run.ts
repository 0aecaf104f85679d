// A run folder whose curves, masks and scores are known.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CaseOutcome, EvaluatedCase } from '../../src/inference/evaluate.js';
import { segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { summarize } from '../../src/metrics/summary.js';
import { writeEvaluation, writeOverlay, writeSlices } from '../../src/reports/evaluation-folder.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { asScan } from '../../src/scans/scan.js';
import type { Affine, Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { inferenceSettings } from '../unit/reports-support.js';

export const sizeVoxels: Triple = [40, 32, 20];
const affine: Affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1];
const geometry = { sizeVoxels, spacingMm: [1, 1, 2] as Triple, affine };

/** Boxes from here to there, ends excluded. */
export interface MadeCase {
  readonly id: string;
  readonly reference: readonly [Triple, Triple];
  readonly prediction: readonly [Triple, Triple];
}

export const madeCases: readonly MadeCase[] = [
  {
    id: 'case-1',
    reference: [
      [10, 8, 5],
      [30, 24, 15],
    ],
    prediction: [
      [10, 8, 5],
      [30, 24, 15],
    ],
  },
  {
    id: 'case-2',
    reference: [
      [10, 8, 5],
      [30, 24, 15],
    ],
    prediction: [
      [20, 8, 5],
      [34, 24, 15],
    ],
  },
  {
    id: 'case-10',
    reference: [
      [10, 8, 5],
      [30, 24, 15],
    ],
    prediction: [
      [12, 8, 5],
      [30, 24, 15],
    ],
  },
];

export const steps = 300;
/** Value of a loss term at a step. */
export const lossAt = (term: 'total' | 'dice', step: number): number =>
  (term === 'dice' ? 0.5 : 1) / step + (step % 2) / 4;

function box([from, to]: readonly [Triple, Triple]): Uint8Array {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const mask = new Uint8Array(sizeX * sizeY * sizeZ);
  for (let z = from[2]; z < to[2]; z++)
    for (let y = from[1]; y < to[1]; y++)
      mask.fill(1, from[0] + sizeX * (y + sizeY * z), to[0] + sizeX * (y + sizeY * z));
  return mask;
}

/** Writes a run as training and `versemi evaluate --out` leave it. @param cases default: {@link madeCases} */
export async function makeRun(folder: string, cases: readonly MadeCase[] = madeCases): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const events = [
    {
      ...{ type: 'start', step: 0, steps, device: 'cpu', why: 'cpu: asked for', parameters: 9 },
      cases: { labeled: 2, unlabeled: 5, validation: 1 },
      ...{ created: '2026-01-02T03:04:05.678Z', program: { version: '1.2.3' } },
    },
    ...Array.from({ length: steps }, (_, i) => ({
      ...{ type: 'step', step: i + 1, stage: i < 100 ? 1 : 2, secondsPerStep: 1 },
      losses: { total: lossAt('total', i + 1), dice: lossAt('dice', i + 1) },
    })),
    ...[100, 200, 300].map((step) => ({
      ...{ type: 'validation', step, perTask: { organ: step / 400 }, mean: step / 400, best: true, seconds: 1 },
    })),
    { type: 'end', step: steps, reason: 'finished', seconds: 300 },
  ];
  writeFileSync(join(folder, 'metrics.jsonl'), events.map((event) => `${JSON.stringify(event)}\n`).join(''));
  const image = asScan({ ...geometry, data: Float32Array.from({ length: 40 * 32 * 20 }, (_, i) => i % 40) });
  const masks = (corners: MadeCase['reference']) => new MaskVolume(geometry, host().packMask(box(corners), sizeVoxels));
  const rows: EvaluatedCase[] = [];
  for (const { id, reference, prediction } of cases) {
    const metrics = segmentationMetrics(box(prediction), box(reference), sizeVoxels, geometry.spacingMm, {
      voxelMm3: 2,
    });
    const own = { 'own.voxelsTooMany': Math.round((metrics.volumePredictionMl - metrics.volumeReferenceMl) * 500) };
    const result: EvaluatedCase = { id, dataset: 'data', task: 'organ', ...metrics, ...own };
    const outcome: CaseOutcome = { result, image, prediction: masks(prediction), reference: masks(reference) };
    rows.push(result);
    await writeOverlay(join(folder, 'evaluation'), outcome);
    await writeSlices(join(folder, 'evaluation'), [outcome]);
  }
  await writeEvaluation(join(folder, 'evaluation'), {
    ...{ format: 1, model: 'model.safetensors', device: 'a device', created: '2026-01-02T03:04:05.000Z' },
    inference: inferenceSettings,
    cases: rows,
    summary: summarize(rows),
  });
}
