// Cases, masks and run folders whose scores are known, for the tests of reports.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CaseOutcome, EvaluatedCase, Evaluation } from '../../src/inference/evaluate.js';
import type { InferenceSettings } from '../../src/inference/segmenter.js';
import { segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { summarize } from '../../src/metrics/summary.js';
import { type ComparedRun, evaluationFolderName, runFolderOf } from '../../src/reports/comparison.js';
import { evaluationFileName, writeEvaluation, writeOverlay, writeSlices } from '../../src/reports/evaluation-folder.js';
import type { PageData } from '../../src/reports/page-data.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { asScan } from '../../src/scans/scan.js';
import type { Affine, Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';

/** A box of ones, ends excluded. */
export function box([sizeX, sizeY, sizeZ]: Triple, from: Triple, to: Triple): Uint8Array {
  const mask = new Uint8Array(sizeX * sizeY * sizeZ);
  for (let z = from[2]; z < to[2]; z++)
    for (let y = from[1]; y < to[1]; y++) for (let x = from[0]; x < to[0]; x++) mask[x + sizeX * (y + sizeY * z)] = 1;
  return mask;
}

export const size: Triple = [20, 16, 10];
export const ramp = Float32Array.from({ length: 20 * 16 * 10 }, (_, i) => i % 20);

/** Real metrics of masks made to have a Dice near `dice`. */
export function evaluated(id: string, task: string, overlap: number): EvaluatedCase {
  const metrics = segmentationMetrics(
    box(size, [0, 0, 0], [10, 8, 5]),
    box(size, [10 - overlap, 0, 0], [20 - overlap, 8, 5]),
    size,
    [1, 1, 2],
  );
  return { id, dataset: 'data', task, ...metrics };
}

/** How the masks of an evaluation were made, where a test does not care. */
export const inferenceSettings: InferenceSettings = {
  protocol: 'default',
  overlap: 0.5,
  weighting: 'gaussian',
  mirror: false,
  largestComponent: false,
  largestComponentOf: 'task',
};

export const evaluation = (cases: readonly EvaluatedCase[], more: Partial<Evaluation> = {}): Evaluation => ({
  format: 1,
  model: 'run/model.safetensors',
  device: 'test',
  inference: inferenceSettings,
  created: '2026-01-02T03:04:05.000Z',
  cases,
  summary: summarize(cases),
  ...more,
});

/** What a comparison reads of an evaluated case. */
interface ScoredCase {
  readonly id: string;
  readonly dataset: string;
  readonly task: string;
  readonly dice: number | null;
}

/** Writes the evaluation of a run of a comparison, of nothing but Dice. */
export function writeScores(folder: string, run: ComparedRun, scores: readonly ScoredCase[]): void {
  const evaluated = join(runFolderOf(folder, run), evaluationFolderName);
  const { format, model, device, created } = evaluation([]);
  mkdirSync(evaluated, { recursive: true });
  writeFileSync(
    join(evaluated, evaluationFileName),
    JSON.stringify({ format, model, device, created, summary: {}, cases: scores }),
  );
}

export const cases = [
  evaluated('case1', 'liver', 9),
  evaluated('case2', 'liver', 2),
  evaluated('case3', 'a<b>&"c"', 6),
];

export const dataOf = (page: string) => JSON.parse(/id="page-data">([^<]*)</.exec(page)![1]!) as PageData;
/** @param last text behind the last whole line */
export function writeMetrics(folder: string, last = '', end?: object): void {
  mkdirSync(folder, { recursive: true });
  const step = (n: number, stage: number) => ({
    ...{ type: 'step', step: n, stage, losses: { total: 2 / n, dice: n === 2 ? null : 1 / n }, secondsPerStep: 30 },
  });
  const start = {
    ...{ type: 'start', step: 0, steps: 4, device: 'cpu', why: 'cpu: asked for', parameters: 9 },
    cases: { labeled: 2, unlabeled: 5, validation: 1 },
    created: '2026-01-02T03:04:05.678Z',
    program: { version: '1.2.3', commit: '0123456789ab' },
  };
  const validation = {
    ...{ type: 'validation', step: 4, perTask: { liver: 0.5, spleen: null }, mean: 0.5, best: true, seconds: 5 },
  };
  const events = [
    start,
    step(1, 1),
    step(2, 1),
    step(3, 2),
    step(4, 2),
    validation,
    ...(end === undefined ? [] : [end]),
  ];
  writeFileSync(join(folder, 'metrics.jsonl'), `${events.map((event) => JSON.stringify(event)).join('\n')}\n${last}`);
}

export const finished = { type: 'end', step: 4, reason: 'finished', model: 'model.safetensors', seconds: 125 };
export const plan = {
  ...{ name: 'a <plan>', seed: 17, network: { baseWidth: 8, levels: 4 }, patchSizeVoxels: [64, 64, 32] },
  training: { mode: 'semi-supervised', stage1Steps: 2, stage2Steps: 2 },
  tasks: [{ name: 'liver', dataset: 'data' }],
};

export const geometry = {
  sizeVoxels: size,
  spacingMm: [1, 1, 2] as Triple,
  affine: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1] as Affine,
};

export function outcomeOf(result: EvaluatedCase, prediction: Uint8Array, reference = prediction): CaseOutcome {
  const packed = (mask: Uint8Array) => new MaskVolume(geometry, host().packMask(mask, size));
  const image = asScan({ data: ramp, ...geometry });
  return { result, image, prediction: packed(prediction), reference: packed(reference) };
}

/** A run folder as training and evaluation leave it. */
export async function writeRun(folder: string, rows = cases, end: object | undefined = finished): Promise<void> {
  writeMetrics(folder, '', end);
  writeFileSync(join(folder, 'plan.json'), JSON.stringify(plan));
  const more = { weights: { step: 4, network: 'ema' as const }, program: { version: '1.2.4' }, seconds: 75 };
  await writeEvaluation(join(folder, 'evaluation'), evaluation(rows, more));
  const mask = box(size, [1, 1, 1], [9, 9, 9]);
  for (const result of rows) {
    await writeOverlay(join(folder, 'evaluation'), outcomeOf(result, mask));
    await writeSlices(join(folder, 'evaluation'), [outcomeOf(result, mask)]);
  }
}

/** The table that compares evaluations, the best marked by a star, and the note below it. */
export function comparedIn(html: string) {
  const text = html.slice(html.indexOf('<h3>Mean Dice</h3>'), html.indexOf('<h3>Mean ± standard deviation'));
  const rows = [...text.matchAll(/<tr[^>]*><th scope="row">([^<]*)<\/th>(.*?)<\/tr>/g)].map(([, name, cells]) => [
    name,
    [...cells!.matchAll(/<td( class="[a-z]+")?>([^<]*)<\/td>/g)].map(
      ([, mark, value]) => `${value}${mark?.includes('best') ? '*' : ''}`,
    ),
  ]);
  const facts = rows.splice(-2);
  return { rows, facts, note: /<p class="note">([^<]*)<\/p>/.exec(text)?.[1] };
}
