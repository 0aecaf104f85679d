import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from '#zod';
import { VersemiError } from '../errors.js';
import type { Evaluation } from '../inference/evaluate.js';
import { summarize } from '../metrics/summary.js';
import { readJsonFile } from '../regular-file.js';
import { readEvaluation } from '../reports/report-inputs.js';
import type { TaskVolume } from '../reports/volumes.js';
import { type CaseLine, readManifest } from './manifest.js';

/** A case of a joined cohort. */
export interface MergedCase {
  readonly key: string;
  readonly manifest: string;
  /** `unfinished`: begun, and no more is known; `missing`: never begun. */
  readonly state: 'done' | 'failed' | 'unfinished' | 'missing';
  readonly line: CaseLine | undefined;
}

/** What there is to join: files of evaluations, and manifests. */
export interface MergeInputs {
  readonly manifests: readonly string[];
  readonly evaluations: readonly string[];
}

const ofPart = /-(\d+)-of-(\d+)\.[^.]+$/;

/**
 * Sorts what was named: manifests (.jsonl) and evaluations (.json); a folder stands for those in it whose names are of parts.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_FORMAT
 */
export function mergeInputs(paths: readonly string[]): MergeInputs {
  const files = paths.flatMap((path) => {
    if (!existsSync(path)) throw new VersemiError('FILE_NOT_FOUND', { file: path, remedy: 'Check the path.' });
    if (!statSync(path).isDirectory()) return [path];
    const inside = readdirSync(path).filter((name) => ofPart.test(name) && /\.jsonl?$/.test(name));
    if (inside.length === 0)
      throw new VersemiError('FILE_NOT_FOUND', {
        file: path,
        expected: 'files of parts, such as manifest-1-of-8.jsonl or evaluation-1-of-8.json',
        found: 'none in this folder',
        remedy: 'Name the files themselves.',
      });
    return inside.sort().map((name) => join(path, name));
  });
  const unknown = files.find((file) => !/\.jsonl?$/.test(file));
  if (unknown !== undefined)
    throw new VersemiError('FILE_FORMAT', {
      file: unknown,
      expected: 'a manifest (.jsonl), an evaluation (.json), or a folder of them',
      found: 'another name',
      remedy: 'Name the manifests of the parts, or the evaluations that versemi evaluate has written of each.',
    });
  const unique = [...new Set(files)];
  return {
    manifests: unique.filter((file) => file.endsWith('.jsonl')),
    evaluations: unique.filter((file) => file.endsWith('.json')),
  };
}

/** @throws VERSEMI_USAGE naming the parts that are not there, and what two files have both */
function requireParts(
  parts: readonly { readonly file: string; readonly index: number; readonly count: number }[],
): void {
  const [first] = parts;
  if (first === undefined) return;
  const refuse = (found: string, remedy: string) =>
    new VersemiError('USAGE', { field: 'parts', expected: `parts 1 to ${first.count}, each once`, found, remedy });
  const other = parts.find(({ count }) => count !== first.count);
  if (other !== undefined)
    throw refuse(
      `${first.file} of ${first.count} parts and ${other.file} of ${other.count}`,
      'Join parts of one division.',
    );
  const seen = new Map<number, string>();
  for (const { index, file } of parts) {
    const twice = seen.get(index);
    if (twice !== undefined) throw refuse(`part ${index} in ${twice} and in ${file}`, 'Name each part once.');
    seen.set(index, file);
  }
  const missing = Array.from({ length: first.count }, (_, i) => i + 1).filter((index) => !seen.has(index));
  if (missing.length > 0)
    throw refuse(
      `no part ${missing.slice(0, 10).join(', ')}${missing.length > 10 ? ` and ${missing.length - 10} more` : ''}`,
      'Wait for these parts, or run them: --part I/N of versemi predict, evaluate or preprocess.',
    );
}

/**
 * The cases of all parts of a cohort, by name.
 * @throws VERSEMI_USAGE where parts are missing, or are of different cohorts; VERSEMI_FILE_CORRUPT
 */
export function mergeManifests(files: readonly string[]): MergedCase[] {
  const merged = new Map<string, MergedCase>();
  const parts: { file: string; index: number; count: number; same: string }[] = [];
  let expected: number | undefined;
  for (const file of files) {
    const { cohort, cases } = readManifest(file);
    if (cohort === undefined)
      throw new VersemiError('FILE_CORRUPT', {
        file,
        expected: 'a manifest, which begins with a line about its cohort',
        found: 'no such line',
        remedy: 'Name a manifest that a command has written, or run that part again.',
      });
    const { part, names, command, settings } = cohort;
    expected = cohort.cases;
    parts.push({
      file,
      index: part?.index ?? 1,
      count: part?.count ?? 1,
      same: JSON.stringify([command, names, settings]),
    });
    for (const key of cohort.mine) {
      const history = cases.get(key);
      const other = merged.get(key);
      if (other !== undefined) throw twoFiles(key, other.manifest, file);
      const { last, lost = 0 } = history ?? {};
      const state = last?.state ?? (lost > 0 ? 'unfinished' : 'missing');
      merged.set(key, { key, manifest: file, state, line: last });
    }
  }
  requireParts(parts);
  const odd = parts.find(({ same }) => same !== parts[0]!.same);
  if (odd !== undefined)
    throw new VersemiError('USAGE', {
      field: 'parts',
      expected: 'manifests of one command, with the same model and options, over the same cases',
      found: `${parts[0]!.file} and ${odd.file}, which differ`,
      remedy: 'Run the parts again alike; what is done and has not changed is passed over.',
    });
  if (expected !== undefined) requireAll(merged.size, expected);
  return [...merged.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

const runAgain = 'Run the parts again over the same inputs and with the same number of parts.';

/** Parts that were divided while files were still being copied, for example, may leave a case out. @throws VERSEMI_USAGE */
function requireAll(found: number, expected: number): void {
  if (found === expected) return;
  throw new VersemiError('USAGE', {
    field: 'parts',
    expected: `${expected} cases, each in one part`,
    found: `${found} cases`,
    remedy: runAgain,
  });
}

function twoFiles(key: string, one: string, other: string): VersemiError {
  return new VersemiError('USAGE', {
    field: 'parts',
    expected: 'each case in one part',
    found: `${key} in ${one} and in ${other}`,
    remedy: runAgain,
  });
}

const intensity = z.object({ mean: z.number(), standardDeviation: z.number(), min: z.number(), max: z.number() });
const predicted = z.object({
  volumes: z.array(
    z.object({
      ...{ id: z.string(), input: z.string(), task: z.string() },
      ...{ voxels: z.int().gte(0), volumeMl: z.number().gte(0), intensity: intensity.nullable() },
    }),
  ),
});

/**
 * Volumes of all cases that are done, as `predict` notes them, in the order of the cases.
 * @throws VERSEMI_FILE_CORRUPT where the manifests are of another command
 */
export function volumesOf(cases: readonly MergedCase[]): TaskVolume[] {
  return cases.flatMap(({ key, manifest, line }) => {
    if (line?.state !== 'done') return [];
    const found = predicted.safeParse(line.result);
    if (found.success) return found.data.volumes;
    throw new VersemiError('FILE_CORRUPT', {
      file: manifest,
      field: `${key}, volumes`,
      expected: 'what versemi predict notes of a case',
      found: found.error.issues[0]!.message,
      remedy: 'Leave --volumes of versemi merge out: manifests of other commands have none.',
    });
  });
}

const evaluationPart = z.object({
  part: z.object({ index: z.int().gte(1), count: z.int().gte(1) }).exactOptional(),
  inference: z.record(z.string(), z.unknown()).exactOptional(),
});

/**
 * One evaluation of all parts, as one process would have written it.
 * @throws VERSEMI_USAGE where parts are missing or are of different models, options or cases; VERSEMI_FILE_CORRUPT
 */
export function mergeEvaluations(files: readonly string[]): Evaluation {
  const read = files.map((file) => {
    // Checked as a report checks it; what a report does not show is taken over as it is.
    readEvaluation(file);
    const value = readJsonFile(file, 'FILE_CORRUPT');
    const found = evaluationPart.safeParse(value);
    if (!found.success)
      throw new VersemiError('FILE_CORRUPT', {
        file,
        field: found.error.issues[0]!.path.map(String).join('.'),
        expected: 'what versemi evaluate writes',
        found: found.error.issues[0]!.message,
        remedy: 'Evaluate that part again.',
      });
    return { file, evaluation: value as Evaluation };
  });
  const [first] = read;
  requireParts(read.map(({ file, evaluation }) => ({ file, ...(evaluation.part ?? { index: 1, count: 1 }) })));
  const same = ({ inference, weights, models, masks, deviceSettings, selections }: Evaluation) =>
    JSON.stringify([inference, weights, models, masks, deviceSettings, selections]);
  for (const { file, evaluation } of read)
    if (same(evaluation) !== same(first!.evaluation))
      throw new VersemiError('USAGE', {
        field: 'parts',
        expected: 'evaluations with the same weights and options, of the same cases',
        found: `${first!.file} and ${file}, which differ`,
        remedy: 'Evaluate the parts again with the same options.',
      });
  const seen = new Map<string, string>();
  for (const { file, evaluation } of read)
    for (const { dataset, id, task } of evaluation.cases) {
      const key = JSON.stringify([dataset, id, task]);
      if (seen.has(key)) throw twoFiles(`${dataset}/${id}, ${task}`, seen.get(key)!, file);
      seen.set(key, file);
    }
  const cased = read.flatMap(({ evaluation }) => [...evaluation.cases, ...(evaluation.failures ?? [])]);
  const { selections } = first!.evaluation;
  if (selections !== undefined)
    requireAll(
      new Set(cased.map(({ dataset, id }) => JSON.stringify([dataset, id]))).size,
      selections.reduce((sum, { count }) => sum + count, 0),
    );
  const text = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  const order = new Map((selections ?? []).map(({ dataset }, i) => [dataset, i]));
  const cases = read
    .flatMap(({ evaluation }) => evaluation.cases)
    .sort(
      (a, b) =>
        (order.get(a.dataset) ?? 0) - (order.get(b.dataset) ?? 0) || text(a.dataset, b.dataset) || text(a.id, b.id),
    );
  const failures = read.flatMap(({ evaluation }) => evaluation.failures ?? []);
  const { part: _, failures: _failures, seconds: _seconds, ...rest } = first!.evaluation;
  const seconds = read.map((one) => one.evaluation.seconds ?? Number.NaN).reduce((sum, own) => sum + own, 0);
  const devices = [...new Set(read.flatMap(({ evaluation }) => evaluation.device ?? []))];
  return {
    ...rest,
    ...(Number.isNaN(seconds) ? {} : { seconds }),
    ...(devices.length === 0 ? {} : { device: devices.join('; ') }),
    created: new Date().toISOString(),
    cases,
    ...(failures.length === 0 ? {} : { failures }),
    summary: summarize(cases),
  };
}
