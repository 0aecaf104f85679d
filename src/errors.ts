import { visible, visibleName } from './visible-text.js';

/**
 * Coded errors. Every failure that a user can cause or mend is a {@link VersemiError}: a code from the table below, and
 * one sentence shape: where (file, field), what was expected, what was found, how to mend it.
 */

/** Exit codes of the command line; documented in the README. 130 is what a shell gives a program that Ctrl-C ended (128 + 2). */
export const exitCodes = {
  usage: 2,
  input: 3,
  plan: 4,
  model: 5,
  device: 6,
  training: 7,
  io: 8,
  internal: 70,
  interrupted: 130,
} as const;

export type ErrorKind = keyof typeof exitCodes;

/** One row per code: the kind decides the exit code, the title opens the message. */
export const errorTable = {
  // command line
  USAGE: { kind: 'usage', title: 'The command line is not valid' },
  // files
  FILE_NOT_FOUND: { kind: 'input', title: 'A file or folder does not exist' },
  FILE_TRUNCATED: { kind: 'input', title: 'A file ends too early' },
  FILE_CORRUPT: { kind: 'input', title: 'A file is damaged' },
  FILE_FORMAT: { kind: 'input', title: 'A file is not of the expected format' },
  FORMAT_UNSUPPORTED: { kind: 'input', title: 'A file uses a feature of its format that is not supported' },
  DISK_FULL: { kind: 'io', title: 'The disk is full' },
  FOLDER_IN_USE: { kind: 'io', title: 'A folder is in use' },
  IO_FAILED: { kind: 'io', title: 'Reading or writing failed' },
  // volumes and datasets
  VOLUME_INVALID: { kind: 'input', title: 'A volume is not valid' },
  VOXELS_NOT_FINITE: { kind: 'input', title: 'A volume has voxels that are NaN or infinite' },
  LABEL_INVALID: { kind: 'input', title: 'A label map is not valid' },
  GEOMETRY_MISMATCH: { kind: 'input', title: 'An image and its label do not lie in the same space' },
  DATASET_INVALID: { kind: 'input', title: 'A dataset description is not valid' },
  MODALITY_MISSING: { kind: 'input', title: 'A modality of a case is missing' },
  SCAN_UNLIKE_DATASETS: { kind: 'input', title: 'No task of the model fits a scan' },
  SPLIT_INVALID: { kind: 'input', title: 'A split is not valid' },
  // plans
  PLAN_INVALID: { kind: 'plan', title: 'A plan is not valid' },
  PLAN_CONTRADICTION: { kind: 'plan', title: 'Two settings of a plan contradict each other' },
  PART_UNKNOWN: { kind: 'plan', title: 'A part has not been added' },
  PART_INVALID: { kind: 'usage', title: 'A part of your own is not valid' },
  // models and checkpoints
  MODEL_INVALID: { kind: 'model', title: 'A model file is not valid' },
  MODEL_TASK_UNKNOWN: { kind: 'model', title: 'A model does not know a task or a dataset' },
  CHECKPOINT_MISMATCH: { kind: 'model', title: 'A checkpoint belongs to another run' },
  // devices
  DEVICE_UNAVAILABLE: { kind: 'device', title: 'A device is not available' },
  DEVICE_OUT_OF_MEMORY: { kind: 'device', title: 'A device has not enough memory' },
  MEMORY_LIMIT: { kind: 'device', title: 'The memory that is allowed does not suffice' },
  KERNEL_FAILED: { kind: 'device', title: 'A kernel failed' },
  // cases of a cohort
  CASE_TIMEOUT: { kind: 'input', title: 'A case took longer than is allowed' },
  CASE_DIED: { kind: 'device', title: 'A process died while it worked on a case' },
  RANKS_UNAVAILABLE: { kind: 'device', title: 'The ranks of a training cannot be connected' },
  // training
  TRAINING_NOT_FINITE: { kind: 'training', title: 'Training produced a number that is NaN or infinite' },
  RANKS_DIFFER: { kind: 'training', title: 'The ranks of a training do not have the same' },
  RANK_LOST: { kind: 'training', title: 'A rank of the training is lost' },
  TRAINING_INTERRUPTED: { kind: 'interrupted', title: 'Training was interrupted' },
  // the server of `versemi serve`
  ADDRESS_IN_USE: { kind: 'io', title: 'An address is in use' },
  REQUEST_INVALID: { kind: 'input', title: 'A request is not valid' },
  REQUEST_DENIED: { kind: 'input', title: 'A request is not allowed' },
  REQUEST_TOO_LARGE: { kind: 'input', title: 'A request is too large' },
  REQUEST_UNKNOWN: { kind: 'input', title: 'The server has nothing under this name' },
  LABEL_EXISTS: { kind: 'input', title: 'A case has a label already' },
  NOT_OFFERED: { kind: 'input', title: 'The server does not offer this' },
  SERVER_BUSY: { kind: 'input', title: 'The server has too much to do' },
  // the caller's signal, Ctrl-C
  ABORTED: { kind: 'interrupted', title: 'The call was aborted' },
  // our own fault
  INTERNAL: { kind: 'internal', title: 'versemi has a defect' },
} as const satisfies Record<string, { kind: ErrorKind; title: string }>;

/** Codes of errors without the prefix `VERSEMI_`. */
export type ErrorCode = keyof typeof errorTable;

/** The parts of an error sentence; give every part that is known. */
export interface ErrorDetails {
  /** File or folder concerned. */
  readonly file?: string;
  /** Field, header entry, option or tensor concerned. */
  readonly field?: string;
  readonly expected?: string;
  readonly found?: string;
  /** What the user can do about it: an imperative sentence. */
  readonly remedy?: string;
}

/** The only error class that versemi throws on purpose. `code` is `VERSEMI_` + a key of {@link errorTable}. */
export class VersemiError extends Error {
  override readonly name = 'VersemiError';
  readonly code: `VERSEMI_${ErrorCode}`;
  readonly details: ErrorDetails;
  readonly exitCode: number;

  constructor(code: ErrorCode, details: ErrorDetails = {}, cause?: unknown) {
    super(sentence(code, details), cause === undefined ? undefined : { cause });
    this.code = `VERSEMI_${code}`;
    this.details = details;
    this.exitCode = exitCodes[errorTable[code].kind];
  }
}

function sentence(code: ErrorCode, details: ErrorDetails): string {
  const { file, field, expected, found, remedy } = printable(details);
  let text = errorTable[code].title;
  const where = [file, field].filter((part) => part !== undefined);
  if (where.length > 0) text += ` (${where.join(', ')})`;
  if (expected !== undefined) text += `: expected ${expected}`;
  if (found !== undefined) text += `${expected === undefined ? ':' : ','} found ${found}`;
  text += '.';
  if (remedy !== undefined) text += ` ${remedy.replace(/([^.!?])$/, '$1.')}`;
  return text;
}

/** Names and values from files may be as long as a file, or hold characters that a terminal obeys. */
const longestPart = 4096;

function printable(details: ErrorDetails): ErrorDetails {
  const part = (name: string, text: string) => {
    const cut = text.length > longestPart ? `${text.slice(0, longestPart)}...` : text;
    return name === 'file' || name === 'field' ? visibleName(cut) : visible(cut);
  };
  const entries = Object.entries(details).filter(([, text]) => text !== undefined);
  return Object.fromEntries(entries.map(([name, text]) => [name, part(name, String(text))]));
}

/** True for an error with one of the given codes (any code when none is given). */
export function isVersemiError(error: unknown, ...codes: ErrorCode[]): error is VersemiError {
  return (
    error instanceof VersemiError && (codes.length === 0 || codes.some((code) => error.code === `VERSEMI_${code}`))
  );
}

/**
 * The one way in which work with an `AbortSignal` ends early, so that a caller can tell it from every other failure by its
 * code. The signal's own reason is the `cause`.
 * @param where what was being done, for the sentence
 * @throws VERSEMI_ABORTED
 */
export function throwIfAborted(signal: AbortSignal | undefined, where: string): void {
  if (signal?.aborted) throw new VersemiError('ABORTED', { field: where }, signal.reason);
}
