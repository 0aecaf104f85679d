import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { DatasetRecord } from '../checkpoints/case-record.js';
import { readModelBytes } from '../checkpoints/files.js';
import type { ModelProvenance } from '../checkpoints/metadata.js';
import { type ParsedModel, parseModel } from '../checkpoints/model-file.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { namedCases } from '../inference/case-selection.js';
import { bufferSpecs, initialValues, networkConfig, parameterSpecs } from '../model/layers.js';
import type { NamedValues } from '../model/network.js';

/** Fine-tuning: a run that begins with the weights of a model. */

export interface InitialModel {
  /** Of all parameters and buffers of the new network. */
  readonly values: NamedValues;
  readonly provenance: NonNullable<ModelProvenance['initial']>;
  /** Terms of the data that the model was trained on. */
  readonly data: ModelProvenance['data'];
  /** Tasks of the plan whose prompts the model knew, and those whose prompts begin at random. */
  readonly known: readonly string[];
  readonly added: readonly string[];
}

/**
 * Reads the weights with which the run of a plan is to begin. Tasks are matched by name: a task that the model has keeps what its
 * prompt has learned, the others begin as in a new network; the synthetic task keeps its own.
 * @param file a model, or a checkpoint, of which the weights are taken that its plan wants for inference
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_MODEL_INVALID; VERSEMI_PLAN_INVALID where the plan has another network
 */
export async function readInitialModel(file: string, plan: Plan): Promise<InitialModel> {
  const bytes = await readModelBytes(file);
  const model = parseModel(bytes, file);
  requireSameNetwork(plan, model, file);
  // Of a network that another program trained, and whose trunk alone was taken, the prompts have learned nothing.
  const had = model.provenance.imported?.parts === 'trunk' ? [] : model.tasks.map(({ name }) => name);
  const [known, added] = [true, false].map((wanted) =>
    plan.tasks.map(({ name }) => name).filter((name) => had.includes(name) === wanted),
  ) as [string[], string[]];
  const cases = seenCases(model);
  return {
    values: valuesFrom(model, plan),
    provenance: {
      model: basename(file),
      sha256: createHash('sha256').update(bytes).digest('hex'),
      steps: model.history.steps,
      ...(cases === undefined ? {} : { cases }),
    },
    data: model.provenance.data,
    known,
    added,
  };
}

/** What a person should know of a run that begins with a model, one sentence each. @param cases of the run */
export function initialNotes(
  { provenance: { model, steps, cases }, known, added }: InitialModel,
  ownCases: readonly DatasetRecord[],
): string[] {
  const prompts = [
    known.length === 0 ? [] : [`keeps what the prompts of ${known.join(', ')} have learned`],
    added.length === 0 ? [] : [`learns new prompts for ${added.join(', ')}`],
  ].flat();
  const notes = [`The network begins as ${model} was after ${steps} steps, and ${prompts.join(' and ')}.`];
  if (cases === undefined)
    return [...notes, `Which cases went into ${model} is not recorded: it may have seen the validation cases.`];
  const labeled = new Set(cases.flatMap((one) => one.labeled.flatMap(([, image]) => image ?? [])));
  const seen = ownCases.flatMap((one) =>
    one.validation.filter(([, image]) => image !== undefined && labeled.has(image)),
  );
  if (seen.length > 0)
    notes.push(
      `${model} was trained with the labels of ${seen.length} validation cases (${namedCases(seen.map(([id]) => id))}): their scores say nothing about new scans.`,
    );
  return notes;
}

/** All cases that went into a model, and into the model that it began with; undefined where one of both has no record. */
function seenCases({ cases, provenance: { initial } }: ParsedModel): readonly DatasetRecord[] | undefined {
  if (cases === undefined || (initial !== undefined && initial.cases === undefined)) return undefined;
  return [...cases, ...(initial?.cases ?? [])];
}

function requireSameNetwork(plan: Plan, model: ParsedModel, file: string): void {
  const { tasks: _, ...expected } = networkConfig(model.plan);
  const { tasks: __, ...found } = networkConfig(plan);
  for (const field of Object.keys({ ...expected, ...found }) as (keyof typeof expected)[])
    if (JSON.stringify(expected[field]) !== JSON.stringify(found[field]))
      throw new VersemiError('PLAN_INVALID', {
        file,
        field: `network.${field}`,
        expected: `${JSON.stringify(expected[field])}, as the model has it`,
        found: `${JSON.stringify(found[field])} in the plan`,
        remedy: `Write the model's network into the plan: "network": ${JSON.stringify(model.plan.network)}`,
      });
}

function valuesFrom(model: ParsedModel, plan: Plan): NamedValues {
  const values = model.values(model.plan.inference.network);
  const parameters = parameterSpecs(networkConfig(plan));
  const index = parameters.findIndex(({ name }) => name === 'controller.prompt');
  const spec = parameters[index]!;
  const prompts = initialValues(spec, plan.seed, index);
  const [rows, width] = spec.shape as [number, number];
  const trained = values.get(spec.name)!;
  const synthetic = model.tasks.length;
  for (let row = 0; row < rows; row++) {
    const of =
      row < plan.tasks.length ? model.tasks.findIndex(({ name }) => name === plan.tasks[row]!.name) : synthetic;
    if (of >= 0) prompts.set(trained.subarray(of * width, (of + 1) * width), row * width);
  }
  const names = [...parameters, ...bufferSpecs(networkConfig(plan))].map(({ name }) => name);
  return new Map(names.map((name) => [name, name === spec.name ? prompts : values.get(name)!]));
}
