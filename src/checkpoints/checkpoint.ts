import { writeFileAtomic } from '../atomic-file.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { bufferSpecs, networkConfig, parameterCount, parameterSpecs } from '../model/layers.js';
import type { NamedValues } from '../model/network.js';
import { readModelBytes } from './files.js';
import type { ModelMetadata } from './metadata.js';
import { averagePrefix, modelOf, modelTensors, type ParsedModel } from './model-file.js';
import { planDifference } from './plan-difference.js';
import { encodeSafetensors, parseSafetensors, tensorValues } from './safetensors.js';

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

/**
 * Writes a checkpoint, atomically: a model file, always in float32, with the moving average, plus what the optimiser remembers and,
 * under the key `versemi.training`, the step.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function saveCheckpoint(
  file: string,
  values: NamedValues,
  average: NamedValues,
  metadata: ModelMetadata,
  { step, optimizer, pending }: CheckpointState,
): Promise<void> {
  const config = networkConfig(metadata.plan);
  const specs = [...parameterSpecs(config), ...bufferSpecs(config)];
  const shape = [parameterCount(config)];
  const parts = encodeSafetensors(
    [
      ...modelTensors(specs, values, 'F32'),
      ...modelTensors(specs, average, 'F32', averagePrefix),
      ...[...optimizer].map(([name, data]) => ({ name, shape, data, dtype: 'F32' as const })),
    ],
    { versemi: JSON.stringify(metadata), 'versemi.training': JSON.stringify({ step, pending }) },
  );
  await writeFileAtomic(file, parts);
}

/**
 * Reads a checkpoint to go on with `plan`.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_MODEL_INVALID, and VERSEMI_CHECKPOINT_MISMATCH naming the first field of the plan
 *   that differs and would make the run another one
 */
export async function loadCheckpoint(file: string, plan: Plan): Promise<Checkpoint> {
  const parsed = parseSafetensors(await readModelBytes(file), file);
  const model = modelOf(parsed, file);
  const difference = planDifference(model.plan, plan);
  if (difference !== undefined)
    throw new VersemiError('CHECKPOINT_MISMATCH', {
      file,
      field: difference.field,
      expected: `${difference.checkpoint} (of the checkpoint)`,
      found: `${difference.plan} (of the plan)`,
      remedy: 'Restore the setting, or start a new run in another folder.',
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
  const training = parseTraining(parsed.metadata['versemi.training']);
  if (training === undefined) throw invalid('__metadata__.versemi.training', 'the step of a run', 'none');
  if (!model.networks.includes('ema')) throw invalid(averagePrefix, 'the moving average of the weights', 'none');
  return { model, optimizer, ...training };
}

function parseTraining(text: string | undefined): Pick<CheckpointState, 'step' | 'pending'> | undefined {
  try {
    const { step, pending } = JSON.parse(text ?? '') as CheckpointState;
    const known = Number.isSafeInteger(step) && step >= 0 && Number.isSafeInteger(pending.steps);
    return known && Object.values(pending.sums).every(Number.isFinite) ? { step, pending } : undefined;
  } catch {
    return undefined;
  }
}
