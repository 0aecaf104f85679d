import { z } from '#zod';
import { type Plan, parsePlan } from '../config/plan.js';
import { isVersemiError, VersemiError } from '../errors.js';
import { parseJson } from '../json-text.js';
import { caseRecordSchema, type DatasetRecord } from './case-record.js';

const numbers = z.record(z.string(), z.number());

const lossesSchema = z.object({
  /** Last step of the stretch. */
  step: z.int(),
  losses: numbers,
});
const validationSchema = z.object({
  step: z.int(),
  /** Mean Dice over the tasks that have validation cases. */
  mean: z.number(),
  /** Mean Dice per task name. */
  perTask: numbers,
});
const historySchema = z.object({
  /** Steps trained. */
  steps: z.int().gte(0),
  losses: z.array(lossesSchema),
  validation: z.array(validationSchema),
  best: z.object({ step: z.int(), mean: z.number() }).nullable(),
});
const importSchema = z.object({
  /** Name of their file, without its folder. */
  file: z.string(),
  /** SHA-256 of that file. */
  sha256: z.string(),
  /** Program whose names the file has: the released VerSemi, or the V-Net of UA-MT and SSL4MIS. */
  layout: z.enum(['versemi', 'vnet']),
  /** whole: every parameter; trunk: encoder and decoder alone, so that the model must be trained before it is of use. */
  parts: z.enum(['whole', 'trunk']),
});
const initialSchema = z.object({
  /** Name of its file. */
  model: z.string(),
  sha256: z.string(),
  /** Steps that it had been trained for. */
  steps: z.int().gte(0),
  /** Cases that went into it, and into the one that it began with; absent where nobody knows. */
  cases: caseRecordSchema.exactOptional(),
});
const sittingSchema = z.object({
  /** Steps that were done in it, counted from 1. */
  firstStep: z.int().gte(1),
  lastStep: z.int().gte(1),
  /** From the start of the command, reading and validation included. */
  seconds: z.number().gte(0),
  /** Versions of versemi and Node; the commit where versemi ran from its own checkout. */
  program: z.object({ version: z.string(), commit: z.string().exactOptional(), node: z.string() }),
  /** Description of the device: instruction set, threads. */
  device: z.string(),
  machine: z.object({
    processor: z.string(),
    cores: z.int().gte(1),
    memoryBytes: z.number().gte(0),
    system: z.string(),
  }),
});
const provenanceSchema = z.object({
  /** ISO 8601. */
  created: z.string(),
  /** Program -> version. */
  versions: z.record(z.string(), z.string()),
  /** Training data and the terms that they come with. */
  data: z.array(
    z.object({ dataset: z.string(), licence: z.string().exactOptional(), reference: z.string().exactOptional() }),
  ),
  /** Ranks that trained it together when it was written; absent: one process. */
  ranks: z.int().gte(2).exactOptional(),
  /** Where and for how long it was trained, in the order of the steps; absent where nobody knows. */
  sittings: z.array(sittingSchema).exactOptional(),
  /** Weights of another program that became this model; absent where versemi trained it. */
  imported: importSchema.exactOptional(),
  /** The model with whose weights the run began; absent where it began at random. */
  initial: initialSchema.exactOptional(),
});

/** What a schema gives, as nobody changes it. */
type Immutable<T> = T extends object ? { readonly [Key in keyof T]: Immutable<T[Key]> } : T;

/** Losses of one stretch of training, averaged over its steps. */
export type LossSummary = Immutable<z.infer<typeof lossesSchema>>;

/** One validation of a run: Dice per task and their mean. */
export type ValidationSummary = Immutable<z.infer<typeof validationSchema>>;

/** How a model came to be. */
export type ModelHistory = Immutable<z.infer<typeof historySchema>>;

/** Weights of another program's network. */
export type ModelImport = Immutable<z.infer<typeof importSchema>>;

/** Steps that were done in one place: program, device, machine. With several ranks, that of rank 0. */
export type Sitting = Immutable<z.infer<typeof sittingSchema>>;

/** Where a model comes from: programs, data and their terms, the model or the weights that it began with. */
export type ModelProvenance = Immutable<z.infer<typeof provenanceSchema>>;

/** The JSON text under the key `versemi` of a model file. */
export interface ModelMetadata {
  readonly format: 1;
  readonly tasks: Plan['tasks'];
  readonly plan: Plan;
  /** Per dataset of the plan: what is done to an image before the network sees it. */
  readonly preprocessing: readonly ({ readonly dataset: string } & Plan['datasets'][number]['preprocessing'])[];
  readonly history: ModelHistory;
  readonly provenance: ModelProvenance;
  /** The cases that the run used, per dataset of the plan; absent where nobody knows. */
  readonly cases?: readonly DatasetRecord[];
}

const metadataSchema = z.object({
  format: z.literal(1),
  plan: z.unknown(),
  history: historySchema,
  provenance: provenanceSchema,
  cases: caseRecordSchema.exactOptional(),
});

/**
 * What a model file says of its model.
 * @param plan by which it was trained; paths are cut to their last part
 * @param cases that the run had
 */
export function modelMetadata(
  plan: Plan,
  history: ModelHistory,
  provenance: ModelProvenance,
  cases?: readonly DatasetRecord[],
): ModelMetadata {
  const preprocessing = plan.datasets.map(({ name, preprocessing }) => ({ dataset: name, ...preprocessing }));
  // A model travels: where the data lay on the machine that trained it is nobody's business, and of no use elsewhere.
  const datasets = plan.datasets.map((dataset) => ({ ...dataset, path: dataset.path.split(/[\\/]/).at(-1) || '.' }));
  const known = cases === undefined ? {} : { cases };
  return { format: 1, tasks: plan.tasks, plan: { ...plan, datasets }, preprocessing, history, provenance, ...known };
}

/**
 * @param text value of the key `versemi`, undefined where the file has none
 * @throws VERSEMI_MODEL_INVALID
 */
export function parseMetadata(text: string | undefined, file?: string): ModelMetadata {
  const invalid = (field: string, expected: string, found: string, cause?: unknown) =>
    new VersemiError(
      'MODEL_INVALID',
      {
        ...(file === undefined ? {} : { file }),
        field,
        expected,
        found,
        remedy: 'Give a model that was trained by versemi (model.safetensors of a run).',
      },
      cause,
    );
  if (text === undefined) throw invalid('__metadata__.versemi', 'a model of versemi', 'safetensors of something else');
  const field = '__metadata__.versemi';
  const json = parseJson(text, { ...(file === undefined ? {} : { file }), field, code: 'MODEL_INVALID' });
  const result = metadataSchema.safeParse(json);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw invalid(`__metadata__.versemi.${issue.path.join('.')}`, 'metadata of format 1', issue.message, result.error);
  }
  const { history, provenance, cases } = result.data;
  try {
    return modelMetadata(parsePlan(result.data.plan), history, provenance, cases);
  } catch (error) {
    if (!isVersemiError(error)) throw error;
    const { field, expected, found } = error.details;
    throw invalid(`__metadata__.versemi.plan.${field}`, expected ?? 'a valid plan', found ?? 'another', error);
  }
}
