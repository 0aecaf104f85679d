import { createHash } from 'node:crypto';
import { z } from '#zod';
import { type WriteOptions, writeFileAtomic } from '../atomic-file.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { parseJson } from '../json-text.js';
import { bufferSpecs, networkConfig, parameterCount, parameterSpecs } from '../model/layers.js';
import type { NamedValues } from '../model/network.js';
import { readModelBytes } from './files.js';
import type { ModelMetadata } from './metadata.js';
import { averagePrefix, modelOf, modelTensors, type ParsedModel } from './model-file.js';
import { planDifference } from './plan-difference.js';
import { encodeSafetensors, parseSafetensors, type SafetensorsFile, tensorValues } from './safetensors.js';

/** What training needs besides the model to go on as if it had never stopped. */
export interface CheckpointState {
  /** Steps done. */
  readonly step: number;
  /** What the optimiser remembers, by the names of `optimizerMemory`: each value over all parameters in their order. */
  readonly optimizer: NamedValues;
  /** Losses since the last entry of the history: sums over `steps` steps. */
  readonly pending: { readonly steps: number; readonly sums: Readonly<Record<string, number>> };
}

export interface Checkpoint extends CheckpointState {
  readonly model: ParsedModel;
}

/** Names of what an optimiser remembers from step to step: the moments of Adam, or the velocity of gradient descent. */
export const optimizerMemory: Readonly<Record<Plan['training']['optimizer'], readonly string[]>> = {
  adam: ['adam.first', 'adam.second'],
  sgd: ['sgd.velocity'],
};

const trainingKey = 'versemi.training';
const digestKey = 'versemi.sha256';

/**
 * Writes a checkpoint, atomically: a model file, always in float32, with the moving average, plus what the optimiser remembers and,
 * under the key `versemi.training`, the step. A digest lies beside it, so that damage is found before a run goes on from it.
 * @param options `keep`: the checkpoint that is replaced stays under this name
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function saveCheckpoint(
  file: string,
  values: NamedValues,
  average: NamedValues,
  metadata: ModelMetadata,
  { step, optimizer, pending }: CheckpointState,
  options: WriteOptions = {},
): Promise<void> {
  const config = networkConfig(metadata.plan);
  const specs = [...parameterSpecs(config), ...bufferSpecs(config)];
  const shape = [parameterCount(config)];
  const tensors = [
    ...modelTensors(specs, values, 'F32'),
    ...modelTensors(specs, average, 'F32', averagePrefix),
    ...[...optimizer].map(([name, data]) => ({ name, shape, data, dtype: 'F32' as const })),
  ];
  const texts = { versemi: JSON.stringify(metadata), [trainingKey]: JSON.stringify({ step, pending }) };
  const digest = digestOf(
    texts,
    tensors.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  );
  await writeFileAtomic(file, encodeSafetensors(tensors, { ...texts, [digestKey]: digest }), options);
}

function bytesOfTensors({ tensors }: SafetensorsFile): Uint8Array[] {
  return [...tensors.values()].map(({ bytes }) => bytes);
}

/** SHA-256 of what a run goes on from: the texts of the header, and the tensors in the order of the file. */
function digestOf(texts: Readonly<Record<string, string | undefined>>, tensors: Iterable<Uint8Array>): string {
  const hash = createHash('sha256').update(JSON.stringify([texts.versemi, texts[trainingKey]]));
  for (const bytes of tensors) hash.update(bytes);
  return hash.digest('hex');
}

/**
 * Reads a checkpoint to go on with `plan`.
 * @param extended the last stage of the plan may have another length than that of the checkpoint
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_MODEL_INVALID (also when the digest tells of damage), and VERSEMI_CHECKPOINT_MISMATCH naming the first field of the plan
 *   that differs and would make the run another one
 */
export async function loadCheckpoint(file: string, plan: Plan, extended = false): Promise<Checkpoint> {
  const parsed = parseSafetensors(await readModelBytes(file), file);
  const model = modelOf(parsed, file);
  const difference = planDifference(model.plan, plan, extended);
  const digest = parsed.metadata[digestKey];
  const damaged = digest !== undefined && digest !== digestOf(parsed.metadata, bytesOfTensors(parsed));
  // A damaged text is no other plan.
  if (difference !== undefined && !damaged)
    throw new VersemiError('CHECKPOINT_MISMATCH', {
      file,
      field: difference.field,
      expected: `${difference.checkpoint} (of the checkpoint)`,
      found: `${difference.plan} (of the plan)`,
      remedy: /^training\.stage[12]Steps$/.test(difference.field)
        ? 'Restore the setting, say how many steps the run is to have (versemi train --steps), or start a new run in another folder.'
        : 'Restore the setting, or start a new run in another folder.',
    });
  const invalid = (field: string, expected: string, found: string) =>
    new VersemiError('MODEL_INVALID', {
      file,
      field,
      expected,
      found,
      remedy: 'Resume from checkpoints/last.safetensors of the run.',
    });
  const count = parameterCount(networkConfig(plan));
  const remembered = (name: string) => {
    const tensor = parsed.tensors.get(name);
    const values = tensor && tensorValues(tensor);
    if (values?.length !== count) throw invalid(name, `a tensor [${count}]`, tensor ? `[${tensor.shape}]` : 'none');
    return values;
  };
  const optimizer = new Map(optimizerMemory[plan.training.optimizer].map((name) => [name, remembered(name)]));
  const training = parseTraining(parsed.metadata[trainingKey]);
  if (training === undefined) throw invalid(`__metadata__.${trainingKey}`, 'the step of a run', 'none');
  if (!model.networks.includes('ema')) throw invalid(averagePrefix, 'the moving average of the weights', 'none');
  // Last, since a part that is missing tells more.
  if (damaged)
    throw new VersemiError('MODEL_INVALID', {
      file,
      field: `__metadata__.${digestKey}`,
      expected: 'the digest of what lies in the file',
      found: 'another: the file is damaged',
      remedy: 'Copy the checkpoint again, or put an older one in its place.',
    });
  return { model, optimizer, ...training };
}

const trainingSchema = z.object({
  step: z.int().gte(0),
  pending: z.object({ steps: z.int(), sums: z.record(z.string(), z.number()) }),
});

function parseTraining(text: string | undefined): Pick<CheckpointState, 'step' | 'pending'> | undefined {
  try {
    return trainingSchema.parse(parseJson(text ?? '', { code: 'MODEL_INVALID' }));
  } catch {
    return undefined;
  }
}
