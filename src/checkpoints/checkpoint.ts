import { writeFileAtomic } from '../atomic-file.js';
import type { Plan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { parseJson } from '../json-text.js';
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
  /** Both moments of Adam, each over all parameters in their order. */
  readonly moments: { readonly first: Float32Array; readonly second: Float32Array };
  /** Losses since the last entry of the history: sums over `steps` steps. */
  readonly pending: { readonly steps: number; readonly sums: Readonly<Record<string, number>> };
}

export interface Checkpoint extends CheckpointState {
  readonly model: ParsedModel;
}

const firstName = 'adam.first';
const secondName = 'adam.second';

/**
 * Writes a checkpoint, atomically: a model file, always in float32, with the moving average, plus the moments of Adam and,
 * under the key `versemi.training`, the step.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function saveCheckpoint(
  file: string,
  values: NamedValues,
  average: NamedValues,
  metadata: ModelMetadata,
  { step, moments, pending }: CheckpointState,
): Promise<void> {
  const config = networkConfig(metadata.plan);
  const specs = [...parameterSpecs(config), ...bufferSpecs(config)];
  const shape = [parameterCount(config)];
  const parts = encodeSafetensors(
    [
      ...modelTensors(specs, values, 'F32'),
      ...modelTensors(specs, average, 'F32', averagePrefix),
      { name: firstName, shape, data: moments.first, dtype: 'F32' },
      { name: secondName, shape, data: moments.second, dtype: 'F32' },
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
  const moment = (name: string) => {
    const tensor = parsed.tensors.get(name);
    const values = tensor && tensorValues(tensor);
    if (values?.length !== count) throw invalid(name, `a tensor [${count}]`, tensor ? `[${tensor.shape}]` : 'none');
    return values;
  };
  const moments = { first: moment(firstName), second: moment(secondName) };
  const training = parseTraining(parsed.metadata['versemi.training']);
  if (training === undefined) throw invalid('__metadata__.versemi.training', 'the step of a run', 'none');
  if (!model.networks.includes('ema')) throw invalid(averagePrefix, 'the moving average of the weights', 'none');
  return { model, moments, ...training };
}

function parseTraining(text: string | undefined): Pick<CheckpointState, 'step' | 'pending'> | undefined {
  try {
    const { step, pending } = parseJson(text ?? '', { code: 'MODEL_INVALID' }) as CheckpointState;
    const known = Number.isSafeInteger(step) && step >= 0 && Number.isSafeInteger(pending.steps);
    return known && Object.values(pending.sums).every(Number.isFinite) ? { step, pending } : undefined;
  } catch {
    return undefined;
  }
}
