import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { writeError } from '../atomic-file.js';
import { type Checkpoint, loadCheckpoint } from '../checkpoints/checkpoint.js';
import type { Plan } from '../config/plan.js';
import { isVersemiError, type VersemiError } from '../errors.js';
import { runFiles } from './run-folder.js';

export interface FoundCheckpoint {
  readonly checkpoint: Checkpoint;
  /** Where it was read. */
  readonly file: string;
  /** Why it is not the last one. */
  readonly notice?: string;
}

/**
 * The checkpoint from which a run goes on: the last, or the one before it where the last is damaged or missing. A damaged one
 * gets another name, so that it never takes the place of a good one.
 * @param extended the last stage of the plan may have another length than the run had
 * @returns undefined where there is none
 * @throws as `loadCheckpoint`, about the last checkpoint
 */
export async function lastCheckpoint(
  folder: string,
  plan: Plan,
  extended: boolean,
): Promise<FoundCheckpoint | undefined> {
  const { last, previous, checkpoints } = runFiles(folder);
  if (!existsSync(last) && !existsSync(previous)) return undefined;
  try {
    return { checkpoint: await loadCheckpoint(last, plan, extended), file: last };
  } catch (error) {
    if (!existsSync(previous) || !isDamage(error)) throw error;
    const checkpoint = await loadCheckpoint(previous, plan, extended).catch(() => {
      throw error;
    });
    const goesOn = `The run goes on from the checkpoint before it, after step ${checkpoint.step}.`;
    if (!existsSync(last)) return { checkpoint, file: previous, notice: `There is no ${last}. ${goesOn}` };
    const aside = join(checkpoints, 'damaged.safetensors');
    await rename(last, aside).catch((failed) => {
      throw writeError(last, failed);
    });
    const { field, expected, found } = error.details;
    const reason = field === undefined ? found : `${field}: expected ${expected}, found ${found}`;
    return {
      checkpoint,
      file: previous,
      notice: `${last} is damaged (${reason}) and is now called ${aside}. ${goesOn}`,
    };
  }
}

/** A file that may not be read is not damaged, nor is one that belongs to another plan. */
function isDamage(error: unknown): error is VersemiError {
  if (isVersemiError(error, 'MODEL_INVALID', 'FILE_NOT_FOUND')) return true;
  return isVersemiError(error, 'IO_FAILED') && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EIO';
}
