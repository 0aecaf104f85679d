import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppendedFile } from '../appended-file.js';
import { writeFileAtomic } from '../atomic-file.js';
import { type Plan, stringifyPlan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { readError } from '../regular-file.js';
import type { TrainingEvent } from './events.js';
import { TensorBoardWriter } from './tensorboard.js';
import { TextLog } from './text-log.js';

/** Files of a run. */
export function runFiles(folder: string) {
  return {
    plan: join(folder, 'plan.json'),
    metrics: join(folder, 'metrics.jsonl'),
    tensorboard: join(folder, 'tensorboard'),
    /** What people are told, see `TextLog`. */
    log: join(folder, 'train.log'),
    checkpoints: join(folder, 'checkpoints'),
    last: join(folder, 'checkpoints', 'last.safetensors'),
    /** The checkpoint before the last. */
    previous: join(folder, 'checkpoints', 'previous.safetensors'),
    best: join(folder, 'checkpoints', 'best.safetensors'),
    model: join(folder, 'model.safetensors'),
  };
}

/**
 * A new run never writes over another one.
 * @param resuming a run was asked to go on, and there is no checkpoint from which it could
 * @throws VERSEMI_USAGE
 */
export function assertNewRun(folder: string, resuming: boolean): void {
  const { last, previous, model, metrics } = runFiles(folder);
  const found = [last, previous, model, metrics].find((file) => existsSync(file));
  if (found === undefined) return;
  throw new VersemiError('USAGE', {
    file: folder,
    field: 'run folder',
    expected: resuming ? `a checkpoint to go on from (${last}), or a new or empty folder` : 'a new or empty folder',
    found: resuming ? `${found} without a checkpoint` : found,
    remedy: resuming
      ? 'Put the checkpoint back, or begin anew in another folder: this one is left as it is.'
      : `Resume that run (versemi train PLAN --out ${folder} --resume), or choose another folder.`,
  });
}

/** Writes what happens in a run: metrics.jsonl (one event per line), TensorBoard files, and train.log for people. */
export class RunLog {
  private readonly metrics: AppendedFile;
  private readonly tensorboard: TensorBoardWriter;
  private readonly text: TextLog;

  private constructor(folder: string, step: number, resumed: boolean, clock: () => number) {
    const { metrics, tensorboard, log } = runFiles(folder);
    this.metrics = new AppendedFile(metrics, resumed ? { keptBytes: keptBytes(metrics, step) } : { fresh: true });
    try {
      this.text = new TextLog(log, clock);
    } catch (error) {
      this.metrics.close();
      throw error;
    }
    try {
      this.tensorboard = new TensorBoardWriter(tensorboard, resumed ? step + 1 : 0);
    } catch (error) {
      this.metrics.close();
      this.text.close();
      throw error;
    }
  }

  /**
   * Opens the log of a run that begins, or goes on after `step` steps; what earlier parts wrote about later steps is cut off,
   * since those steps are going to be done again. train.log alone keeps it.
   * @param clock see `TrainOptions.clock`
   * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
   */
  static async open(
    folder: string,
    plan: Plan,
    step: number,
    resumed: boolean,
    clock: () => number = () => performance.now(),
  ): Promise<RunLog> {
    await writeFileAtomic(runFiles(folder).plan, stringifyPlan(plan));
    return new RunLog(folder, step, resumed, clock);
  }

  write(event: TrainingEvent): void {
    this.metrics.append(`${JSON.stringify(event)}\n`);
    const scalars = scalarsOf(event);
    if (scalars !== undefined) this.tensorboard.scalars(event.step, scalars);
    this.text.write(event);
  }

  /** A line of train.log alone. @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
  note(text: string): void {
    this.text.line(text);
  }

  /**
   * Makes what was written outlast a loss of power. To be called before a checkpoint is written: a run goes on from the
   * checkpoint, and steps that came before it and are not in the log would never be written again.
   */
  sync(): void {
    this.metrics.sync();
    this.tensorboard.sync();
    this.text.sync();
  }

  /** Syncs and closes. */
  close(): void {
    try {
      this.sync();
    } finally {
      this.metrics.close();
      this.tensorboard.close();
      this.text.close();
    }
  }
}

/** Length of the part of metrics.jsonl that is about steps up to `step`; a half-written last line is not kept. */
function keptBytes(file: string, step: number): number {
  let bytes: Buffer;
  try {
    bytes = existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
  } catch (error) {
    throw readError(error, file);
  }
  let kept = 0;
  for (;;) {
    const end = bytes.indexOf(0x0a, kept);
    if (end < 0 || stepOfLine(bytes.toString('utf8', kept, end)) > step) return kept;
    kept = end + 1;
  }
}

function stepOfLine(line: string): number {
  try {
    return (JSON.parse(line) as TrainingEvent).step;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function scalarsOf(event: TrainingEvent): Record<string, number> | undefined {
  if (event.type === 'step') {
    const { losses, learningRate, gradientNorm, samplesPerSecond, bytesPeak } = event;
    const terms = Object.entries(losses).map(([name, value]) => [`loss/${name}`, value] as const);
    return {
      ...Object.fromEntries(terms),
      'training/learningRate': learningRate,
      'training/gradientNorm': gradientNorm,
      'training/samplesPerSecond': samplesPerSecond,
      ...(bytesPeak === undefined ? {} : { 'training/bytesPeak': bytesPeak }),
    };
  }
  if (event.type === 'validation') {
    const tasks = Object.entries(event.perTask).map(([name, value]) => [`validation/dice/${name}`, value] as const);
    return { ...Object.fromEntries(tasks), 'validation/dice': event.mean };
  }
  return undefined;
}
