import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { Segmenter } from './segmenter.js';

/**
 * Several models as one, for `predictVolume`, `predictWindows`, `evaluateCase`, `evaluateDataset` and `estimateMemory`: at each voxel of
 * the scan the mean of the models' probabilities of a task (each in steps of 1/256, and brought from the model's grid to that of the scan
 * as for the model alone) decides, and the largest component is taken of that. Patches, spacings, intensities and architectures may
 * differ. Of what is not computed (names and label values of tasks, post-processing, which datasets there are) the first model's plan tells.
 * The models are computed side by side, slice by slice, so that no probabilities of the whole scan are held.
 * @param models at least one, with tasks of the same names in any order; of one dataset, with the same label values
 * @returns a copy of the first model, with `others`
 * @throws VERSEMI_MODEL_INVALID naming what differs
 */
export function ensembleOf<Model extends Segmenter>(
  models: readonly Model[],
): Model & { readonly others: readonly Model[] } {
  const [first, ...others] = models;
  if (first === undefined)
    throw new VersemiError('MODEL_INVALID', {
      field: 'models',
      expected: 'at least one model',
      found: 'none',
      remedy: 'Name the models that are to be averaged.',
    });
  for (const other of others) requireAlike(first, other);
  return { ...first, others };
}

/** A model as a sentence names it. */
function nameOf(model: Segmenter): string {
  const { file } = model as { readonly file?: unknown };
  return typeof file === 'string' ? file : model.plan.name;
}

/** @throws VERSEMI_MODEL_INVALID where the mean of the two would be that of different things */
function requireAlike(first: Segmenter, other: Segmenter): void {
  const different = (field: string, expected: string, found: string, remedy: string): VersemiError =>
    new VersemiError('MODEL_INVALID', {
      file: nameOf(other),
      field,
      expected: `${expected}, as ${nameOf(first)} has it`,
      found,
      remedy,
    });
  const [names, theirs] = [first, other].map(({ plan }) => plan.tasks.map(({ name }) => name)) as [string[], string[]];
  const missing = names.filter((name) => !theirs.includes(name));
  const more = theirs.filter((name) => !names.includes(name));
  if (missing.length + more.length > 0)
    throw different(
      'tasks',
      names.join(', '),
      [
        ...(missing.length > 0 ? [`no ${missing.join(', ')}`] : []),
        ...(more.length > 0 ? [`${more.join(', ')} besides`] : []),
      ].join('; '),
      'Average models of the same tasks, for example those of the folds of one plan.',
    );
  for (const { name } of first.plan.tasks) {
    const [own, their] = [facts(first.plan, name), facts(other.plan, name)];
    if (own.dataset === their.dataset && String(own.labels) !== String(their.labels))
      throw different(
        `label values of ${name}`,
        String(own.labels),
        String(their.labels),
        'A name that means different structures cannot be averaged: leave this model out.',
      );
    if (own.channel !== their.channel)
      throw different(
        `channel of ${name}`,
        String(own.channel),
        String(their.channel),
        'One image of a scan is read for all models: leave this model out.',
      );
    if (own.crop !== their.crop)
      throw different(
        `preprocessing.crop of ${name}`,
        own.crop,
        their.crop,
        'Probabilities are averaged inside of one box of the scan: leave this model out.',
      );
  }
}

function facts({ tasks, datasets }: Plan, task: string) {
  const { dataset, labels } = tasks.find(({ name }) => name === task)!;
  const { channel, preprocessing } = datasets.find(({ name }) => name === dataset)!;
  return { dataset, labels: [...labels].sort((a, b) => a - b), channel, crop: preprocessing.crop };
}

/**
 * Refuses several models where one alone makes sense.
 * @param what is done, for the sentence
 * @throws VERSEMI_MODEL_INVALID
 */
export function requireOne(model: Segmenter, what: string): void {
  if ((model.others?.length ?? 0) === 0) return;
  throw new VersemiError('MODEL_INVALID', {
    field: what,
    expected: 'one model',
    found: `${model.others!.length + 1}, whose probabilities are to be averaged`,
    remedy: 'Give each of them alone.',
  });
}
