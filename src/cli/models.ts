import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type LoadedModel, loadModel } from '../checkpoints/files.js';
import { ensembleOf } from '../inference/ensemble.js';
import type { Evaluation } from '../inference/evaluate.js';
import { membersOf } from '../inference/segmenter.js';
import { runFiles } from '../training/run-folder.js';
import { modelFileOf, type WeightsArgument, weightsOf } from './inference-options.js';

/** The model of a call, which may be several that are averaged. */
export interface LoadedModels {
  /** With `others` where there are several. */
  readonly model: LoadedModel & { readonly others?: readonly LoadedModel[] };
  /** One per model. */
  readonly files: readonly string[];
  /** Whether a folder of folds was named, and not each of its runs. */
  readonly byFolder: boolean;
  /** One per model. */
  readonly weights: readonly NonNullable<Evaluation['weights']>[];
  /** Frees all of them. */
  dispose(): void;
}

/**
 * Reads the models that a person names.
 * @param paths model files, folders of runs, and folders of the runs of all folds
 * @throws as {@link modelFileOf}, {@link weightsOf} and `ensembleOf`, and what reading a model throws
 */
export async function loadModels(paths: readonly string[], which: WeightsArgument): Promise<LoadedModels> {
  const runs = paths.flatMap(runsOf);
  const byFolder = runs.some((run) => !paths.includes(run));
  const files = runs.map((path) => modelFileOf(path, which.checkpoint));
  const loaded: LoadedModel[] = [];
  const dispose = () => {
    for (const { network } of loaded) network.dispose();
  };
  try {
    for (const file of files)
      loaded.push(await loadModel(file, which.network === undefined ? {} : { network: which.network }));
    const weights = loaded.map((model) => weightsOf(model, which.network));
    return { model: loaded.length === 1 ? loaded[0]! : ensembleOf(loaded), files, byFolder, weights, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** What results as JSON say of the models, where there are several. */
export function modelsIn({ files, weights }: Pick<LoadedModels, 'files' | 'weights'>): Pick<Evaluation, 'models'> {
  return files.length === 1 ? {} : { models: files.map((model, i) => ({ model, weights: weights[i]! })) };
}

/** What a person should know of models that are averaged: which they are, and which of their folds are not there. */
export function modelNotes({ model, files, byFolder }: Omit<LoadedModels, 'weights' | 'dispose'>): string[] {
  if (files.length === 1 && !byFolder) return [];
  const folds = membersOf<Pick<LoadedModel, 'plan'>>(model).flatMap(({ plan }) => plan.datasets[0]?.split.fold ?? []);
  const there = new Set(folds.filter((_, i) => i % 2 === 0));
  const count = Math.max(0, ...folds.filter((_, i) => i % 2 === 1));
  const missing = Array.from({ length: count }, (_, fold) => fold).filter((fold) => !there.has(fold));
  const lacking = missing.length === 0 ? '' : ` Of ${count} folds, these are not among them: ${missing.join(', ')}.`;
  const which = files.length === 1 ? 'One model' : `The mean of ${files.length} models`;
  return [`${which}: ${files.join(', ')}.${lacking}`];
}

/** A model in the header of a DICOM file, whose lines have 64 characters at most: the end of its path says most. */
export function shortName(file: string): string {
  const path = basename(file) === basename(runFiles('').model) ? dirname(file) : file;
  return path.replaceAll('\\', '/').slice(-64).trim();
}

const foldFolder = /^fold[-_]?(\d+)$/;

/** The runs that a path stands for: those of all folds, in their order, where it is a folder of such; else the path. */
function runsOf(path: string): string[] {
  if (!existsSync(path) || !statSync(path).isDirectory()) return [path];
  const { model, best, last } = runFiles(path);
  if ([model, best, last].some((file) => existsSync(file))) return [path];
  const folds = readdirSync(path).filter((name) => foldFolder.test(name) && statSync(join(path, name)).isDirectory());
  const index = (name: string) => Number(foldFolder.exec(name)![1]);
  return folds.length === 0 ? [path] : folds.sort((a, b) => index(a) - index(b)).map((name) => join(path, name));
}
