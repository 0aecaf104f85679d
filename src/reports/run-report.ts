import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { Evaluation } from '../inference/evaluate.js';
import { parseJson } from '../json-text.js';
import { runFiles } from '../training/run-folder.js';
import { evaluationFileName, overlayFileName, overlayFolderName } from './evaluation-folder.js';
import { type OverlayPicture, type ReportInput, renderReport, type TrainingCurves } from './html.js';
import type { Series } from './plots.js';

export interface RunReportOptions {
  /** Folders of other runs to stand beside, e.g. the supervised baseline; named by their last folder. */
  readonly compare?: readonly string[];
  readonly title?: string;
}

/**
 * The report of a run as one HTML file: learning curves from metrics.jsonl, and every evaluation found in the run
 * folder or one folder below (evaluation.json, overlays/).
 * @param folder of a run, or of an evaluation
 * @returns the HTML
 * @throws VERSEMI_FILE_NOT_FOUND when there is nothing to report on in one of the folders, VERSEMI_FILE_CORRUPT
 */
export async function runReport(folder: string, options: RunReportOptions = {}): Promise<string> {
  const runs = [folder, ...(options.compare ?? [])];
  const curves = await Promise.all(runs.map(readCurves));
  const found = await Promise.all(runs.map(readEvaluations));
  const empty = runs.find((_, i) => curves[i] === undefined && found[i]!.length === 0);
  if (empty !== undefined) {
    throw new VersemiError('FILE_NOT_FOUND', {
      file: empty,
      expected: 'metrics.jsonl of a run, or evaluation.json of an evaluation',
      found: 'neither',
      remedy: 'Give the folder of a run (versemi train --out) or of an evaluation (versemi evaluate --out).',
    });
  }
  const evaluations = found.flatMap((entries, i) =>
    entries.map(({ evaluation, name }) => ({
      name: [basename(runs[i]!), ...(entries.length > 1 ? [name] : [])].join(' / '),
      evaluation,
    })),
  );
  const plan = await readPlanOf(folder);
  return renderReport({
    title: options.title ?? `versemi: ${plan?.name ?? basename(folder)}`,
    facts: facts(plan, evaluations[0]?.evaluation),
    curves: curves.filter((curve) => curve !== undefined),
    evaluations,
    overlays: await readOverlays(found[0] ?? []),
  });
}

/** Writes {@link runReport} to a file, atomically. */
export async function writeRunReport(folder: string, file: string, options: RunReportOptions = {}): Promise<void> {
  await writeFileAtomic(file, await runReport(folder, options));
}

interface FoundEvaluation {
  readonly name: string;
  readonly folder: string;
  readonly evaluation: Evaluation;
}

async function readEvaluations(folder: string): Promise<FoundEvaluation[]> {
  const names = existsSync(folder) ? await readdir(folder, { withFileTypes: true }) : [];
  const folders = ['', ...names.filter((entry) => entry.isDirectory()).map(({ name }) => name)];
  const result: FoundEvaluation[] = [];
  for (const name of folders.sort()) {
    const file = join(folder, name, evaluationFileName);
    if (!existsSync(file)) continue;
    result.push({ name, folder: join(folder, name), evaluation: await readJson<Evaluation>(file) });
  }
  return result;
}

async function readOverlays(found: readonly FoundEvaluation[]): Promise<OverlayPicture[]> {
  const first = found[0];
  if (first === undefined) return [];
  const pictures: OverlayPicture[] = [];
  for (const { id, task } of first.evaluation.cases) {
    const file = join(first.folder, overlayFolderName, overlayFileName(id, task));
    if (existsSync(file)) pictures.push({ id, task, pngBase64: (await readFile(file)).toString('base64') });
  }
  return pictures;
}

/** A line of metrics.jsonl, as far as curves need it. */
interface LoggedEvent {
  readonly type: string;
  readonly step?: number;
  readonly stage?: number;
  readonly losses?: Readonly<Record<string, number>>;
  readonly perTask?: Readonly<Record<string, number | null>>;
  readonly mean?: number;
}

/** Points of a loss curve: each is the mean over a stretch of steps, so that long runs stay readable. */
const curvePoints = 200;

/** Learning curves of a run; undefined where the folder is not that of one. @throws VERSEMI_FILE_CORRUPT */
export async function readCurves(folder: string): Promise<TrainingCurves | undefined> {
  const file = runFiles(folder).metrics;
  if (!existsSync(file)) return undefined;
  // What follows the last line break is a line that a killed run did not finish.
  const lines = (await readFile(file, 'utf8')).split('\n').slice(0, -1);
  const events = lines.map(
    (line, i) => parseJson(line, { file, field: `line ${i + 1}`, code: 'FILE_CORRUPT' }) as LoggedEvent,
  );
  const steps = events.filter((event) => event.type === 'step');
  const validations = events.filter((event) => event.type === 'validation');
  const stage2Step = steps.find((event) => event.stage === 2)?.step;
  const terms = [...new Set(steps.flatMap((event) => Object.keys(event.losses ?? {})))];
  const tasks = [...new Set(validations.flatMap((event) => Object.keys(event.perTask ?? {})))];
  const perTask = (event: LoggedEvent, task: string) => event.perTask?.[task] ?? Number.NaN;
  return {
    name: basename(folder),
    losses: terms.map((name) => smoothed(name, steps)),
    validation: [
      ...tasks.map((name) => ({ name, points: validations.map((e) => [e.step ?? 0, perTask(e, name)] as const) })),
      ...(tasks.length > 1
        ? [{ name: 'mean', points: validations.map((event) => [event.step ?? 0, event.mean ?? Number.NaN] as const) }]
        : []),
    ],
    ...(stage2Step === undefined ? {} : { stage2Step }),
  };
}

function smoothed(name: string, steps: readonly LoggedEvent[]): Series {
  const values = steps.flatMap(({ step, losses }) =>
    losses?.[name] === undefined ? [] : [[step ?? 0, losses[name]] as const],
  );
  const stretch = Math.max(1, Math.ceil(values.length / curvePoints));
  const points: (readonly [number, number])[] = [];
  for (let i = 0; i < values.length; i += stretch) {
    const part = values.slice(i, i + stretch);
    points.push([part.at(-1)![0], part.reduce((sum, [, value]) => sum + value, 0) / part.length]);
  }
  return { name, points };
}

async function readPlanOf(folder: string): Promise<Plan | undefined> {
  const file = runFiles(folder).plan;
  return existsSync(file) ? readJson<Plan>(file) : undefined;
}

async function readJson<T>(file: string): Promise<T> {
  return parseJson(await readFile(file), { file, code: 'FILE_CORRUPT' }) as T;
}

function facts(plan: Plan | undefined, evaluation: Evaluation | undefined): ReportInput['facts'] {
  return [
    ...(plan === undefined
      ? []
      : ([
          ['Training', `${plan.training.mode}, ${plan.training.stage1Steps} + ${plan.training.stage2Steps} steps`],
          ['Tasks', plan.tasks.map((task) => `${task.name} (${task.dataset})`).join(', ')],
          [
            'Network',
            `width ${plan.network.baseWidth}, ${plan.network.levels} levels, patch ${plan.patchSizeVoxels.join(' × ')} voxels`,
          ],
        ] as const)),
    ...(evaluation === undefined
      ? []
      : ([
          ['Model', evaluation.model],
          ['Device', evaluation.device],
          ['Evaluated', evaluation.created.slice(0, 16).replace('T', ' ')],
        ] as const)),
  ];
}
