import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readModel } from '../checkpoints/files.js';
import { readPlan } from '../config/read-plan.js';
import { totalSteps } from '../config/steps.js';
import { lockFileName } from '../folder-lock.js';
import { readError } from '../regular-file.js';
import { evaluationFileName } from '../reports/evaluation-folder.js';
import { runFiles } from '../training/run-folder.js';
import { factLines, formatTable } from './terminal.js';

/** A file with weights in a run folder. */
interface RunWeights {
  readonly kind: 'model' | 'best' | 'last' | 'previous';
  readonly file: string;
  readonly step: number;
  readonly bytes: number;
  /** When it was written, ISO. */
  readonly written: string;
}

/** What lies in a run folder. */
export interface RunFacts {
  readonly folder: string;
  readonly plan: string;
  readonly mode: string;
  readonly seed: number;
  /** locked: a training holds the folder, or one that was killed has left its lock. */
  readonly state: 'finished' | 'interrupted' | 'locked';
  /** Steps of which the last checkpoint or the final model knows, and those of the whole run. */
  readonly step: number;
  readonly steps: number;
  readonly checkpoints: readonly RunWeights[];
  /** Folders with an evaluation. */
  readonly evaluations: readonly string[];
}

/** Whether a path is the folder of a run: it has the plan of one, and what a run writes beside it. */
export function isRun(path: string): boolean {
  if (!existsSync(path) || !statSync(path).isDirectory()) return false;
  const { plan, metrics, last, model } = runFiles(path);
  return existsSync(plan) && [metrics, last, model].some((file) => existsSync(file));
}

/** @throws VERSEMI_PLAN_INVALID, VERSEMI_MODEL_INVALID, VERSEMI_IO_FAILED */
export async function readRun(folder: string): Promise<RunFacts> {
  const files = runFiles(folder);
  const plan = await readPlan(files.plan);
  const checkpoints: RunWeights[] = [];
  for (const kind of ['model', 'best', 'last', 'previous'] as const) {
    const file = files[kind];
    if (!existsSync(file)) continue;
    const { size, mtime } = statSync(file);
    const { history } = await readModel(file);
    checkpoints.push({ kind, file, step: history.steps, bytes: size, written: mtime.toISOString() });
  }
  const finished = checkpoints.some(({ kind }) => kind === 'model');
  return {
    folder,
    plan: plan.name,
    mode: plan.training.mode,
    seed: plan.seed,
    state: existsSync(join(folder, lockFileName)) ? 'locked' : finished ? 'finished' : 'interrupted',
    step: Math.max(0, ...checkpoints.map(({ step }) => step)),
    steps: totalSteps(plan.training),
    checkpoints,
    evaluations: ['', ...foldersIn(folder)].map((name) => join(folder, name)).filter(isEvaluation),
  };
}

function isEvaluation(folder: string): boolean {
  return existsSync(join(folder, evaluationFileName));
}

function foldersIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    throw readError(error, folder);
  }
}

export function runText({ folder, plan, mode, seed, state, step, steps, checkpoints, evaluations }: RunFacts): string {
  const where = `${step} of ${steps} steps`;
  const goesOn = `versemi train PLAN --out ${folder} --resume goes on`;
  const states = {
    finished: `finished, ${where}`,
    interrupted: `interrupted after ${where}: ${goesOn}; versemi evaluate --weights last takes it as it is`,
    locked: `${where}; a training holds the folder (${lockFileName}), or was killed: then ${goesOn}`,
  };
  const rows = checkpoints.map(({ kind, file, step: at, bytes, written }) => [
    ...[kind, String(at), `${(bytes / 2 ** 20).toFixed(1)} MiB`, `${written.slice(0, 16).replace('T', ' ')} UTC`, file],
  ]);
  return [
    folder,
    factLines([
      ['plan', `${plan}, ${mode}, seed ${seed}`],
      ['state', states[state]],
      ...(existsSync(runFiles(folder).log) ? [['log', runFiles(folder).log] as const] : []),
      ['evaluations', evaluations.length === 0 ? 'none' : evaluations.join(', ')],
    ]),
    '',
    rows.length === 0
      ? 'There is no checkpoint yet.'
      : formatTable(['weights', 'step', 'size', 'written', 'file'], rows),
  ].join('\n');
}
