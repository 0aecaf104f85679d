import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { VersemiError } from '../errors.js';
import { readError, readWholeFile } from '../regular-file.js';
import { runFiles } from '../training/run-folder.js';
import { casesOf, weightsOf } from './compared-cases.js';
import { evaluationFileName, overlayFileName, overlayFolderName } from './evaluation-folder.js';
import { type OverlayPicture, type ReportInput, renderReport, type TrainingCurves } from './html.js';
import type { Series } from './plots.js';
import { type PlanFacts, type ReportedEvaluation, readEvaluation, readEvents, readPlanFacts } from './report-inputs.js';

/** What stands in a report beside the run. */
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
  const curves = runs.map(readCurves);
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
  const plan = readPlanFacts(runFiles(folder).plan);
  return renderReport({
    title: options.title ?? `versemi: ${plan?.name ?? basename(folder)}`,
    facts: facts(plan, evaluations[0]?.evaluation),
    curves: curves.filter((curve) => curve !== undefined),
    evaluations,
    overlays: readOverlays(found[0] ?? []),
  });
}

/** Writes {@link runReport} to a file, atomically. @throws as {@link runReport}; VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function writeRunReport(folder: string, file: string, options: RunReportOptions = {}): Promise<void> {
  await writeFileAtomic(file, await runReport(folder, options));
}

interface FoundEvaluation {
  readonly name: string;
  readonly folder: string;
  readonly evaluation: ReportedEvaluation;
}

async function readEvaluations(folder: string): Promise<FoundEvaluation[]> {
  const folders = ['', ...(await foldersIn(folder))];
  return folders.sort().flatMap((name) => {
    const file = join(folder, name, evaluationFileName);
    return existsSync(file) ? [{ name, folder: join(folder, name), evaluation: readEvaluation(file) }] : [];
  });
}

async function foldersIn(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    throw readError(error, folder);
  }
}

/** Pictures of evaluations have a few hundred kilobytes. */
const mostPictureBytes = 16 << 20;

function readOverlays(found: readonly FoundEvaluation[]): OverlayPicture[] {
  const first = found[0];
  if (first === undefined) return [];
  return first.evaluation.cases.flatMap(({ id, task }) => {
    const file = join(first.folder, overlayFolderName, overlayFileName(id, task));
    if (!existsSync(file)) return [];
    return [{ id, task, pngBase64: Buffer.from(readWholeFile(file, mostPictureBytes)).toString('base64') }];
  });
}

/** Points of a loss curve: each is the mean over a stretch of steps, so that long runs stay readable. */
const curvePoints = 200;
/** Loss terms and tasks of one run that are drawn; runs have a few of the first and some dozen of the second. */
const mostCurves = 1000;

/** Learning curves of a run; undefined where the folder is not that of one. @throws VERSEMI_FILE_CORRUPT */
export function readCurves(folder: string): TrainingCurves | undefined {
  const file = runFiles(folder).metrics;
  if (!existsSync(file)) return undefined;
  const events = readEvents(file);
  const losses = new Curves(file);
  const validation = new Curves(file);
  const means: (readonly [number, number])[] = [];
  for (const event of events) {
    if (event.type === 'step') losses.add(event.step, event.losses);
    else {
      validation.add(event.step, event.perTask);
      means.push([event.step, event.mean ?? Number.NaN]);
    }
  }
  const stage2Step = events.find((event) => event.type === 'step' && event.stage === 2)?.step;
  return {
    name: basename(folder),
    losses: losses.series.map(smoothed),
    validation: [...validation.series, ...(validation.series.length > 1 ? [{ name: 'mean', points: means }] : [])],
    ...(stage2Step === undefined ? {} : { stage2Step }),
  };
}

/** Values by name over steps, in order of first appearance. */
class Curves {
  private readonly byName = new Map<string, (readonly [number, number])[]>();

  constructor(private readonly file: string) {}

  add(step: number, values: Readonly<Record<string, number | null>>): void {
    for (const [name, value] of Object.entries(values)) {
      const points = this.byName.get(name);
      if (points === undefined) this.byName.set(name, [[step, value ?? Number.NaN]]);
      else points.push([step, value ?? Number.NaN]);
    }
    if (this.byName.size > mostCurves) {
      throw new VersemiError('FILE_CORRUPT', {
        file: this.file,
        expected: `at most ${mostCurves} loss terms or tasks`,
        found: `${this.byName.size}`,
        remedy: 'Give the folder of a run of versemi.',
      });
    }
  }

  get series(): Series[] {
    return [...this.byName].map(([name, points]) => ({ name, points }));
  }
}

function smoothed({ name, points: values }: Series): Series {
  const stretch = Math.max(1, Math.ceil(values.length / curvePoints));
  const points: (readonly [number, number])[] = [];
  for (let i = 0; i < values.length; i += stretch) {
    const part = values.slice(i, i + stretch);
    points.push([part.at(-1)![0], part.reduce((sum, [, value]) => sum + value, 0) / part.length]);
  }
  return { name, points };
}

function facts(plan: PlanFacts | undefined, evaluation: ReportedEvaluation | undefined): ReportInput['facts'] {
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
          ['Weights', weightsOf(evaluation)],
          ['Cases', casesOf(evaluation)],
          ['Device', evaluation.device],
          ['Evaluated', evaluation.created.slice(0, 16).replace('T', ' ')],
        ] as const)),
  ];
}
