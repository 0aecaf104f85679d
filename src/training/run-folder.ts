import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { writeError, writeFileAtomic } from '../atomic-file.js';
import { type Plan, stringifyPlan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { TrainingEvent } from './events.js';
import { TensorBoardWriter } from './tensorboard.js';

/** Files of a run. */
export function runFiles(folder: string) {
  return {
    plan: join(folder, 'plan.json'),
    metrics: join(folder, 'metrics.jsonl'),
    tensorboard: join(folder, 'tensorboard'),
    last: join(folder, 'checkpoints', 'last.safetensors'),
    best: join(folder, 'checkpoints', 'best.safetensors'),
    model: join(folder, 'model.safetensors'),
  };
}

/**
 * A new run never writes over another one.
 * @throws VERSEMI_USAGE
 */
export function assertNewRun(folder: string): void {
  const { last, model, metrics } = runFiles(folder);
  const found = [last, model, metrics].find((file) => existsSync(file));
  if (found !== undefined)
    throw new VersemiError('USAGE', {
      file: folder,
      field: 'run folder',
      expected: 'a new or empty folder',
      found,
      remedy: 'Resume the run, choose another folder, or remove this one.',
    });
}

/** Writes what happens in a run: metrics.jsonl (one event per line) and TensorBoard files. */
export class RunLog {
  private readonly descriptor: number;
  private readonly file: string;
  private readonly tensorboard: TensorBoardWriter;

  private constructor(folder: string, step: number) {
    const { metrics, tensorboard } = runFiles(folder);
    this.file = metrics;
    try {
      mkdirSync(folder, { recursive: true });
      if (existsSync(metrics)) truncateSync(metrics, keptBytes(readFileSync(metrics), step));
      this.descriptor = openSync(metrics, 'a');
    } catch (error) {
      throw writeError(metrics, error);
    }
    try {
      this.tensorboard = new TensorBoardWriter(tensorboard, step === 0 ? 0 : step + 1);
    } catch (error) {
      closeSync(this.descriptor);
      throw error;
    }
  }

  /**
   * Opens the log of a run that goes on after `step` steps; what earlier parts wrote about later steps is cut off, since
   * those steps are going to be done again.
   * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
   */
  static async open(folder: string, plan: Plan, step: number): Promise<RunLog> {
    await writeFileAtomic(runFiles(folder).plan, stringifyPlan(plan));
    return new RunLog(folder, step);
  }

  write(event: TrainingEvent): void {
    try {
      writeSync(this.descriptor, `${JSON.stringify(event)}\n`);
    } catch (error) {
      throw writeError(this.file, error);
    }
    const scalars = scalarsOf(event);
    if (scalars !== undefined) this.tensorboard.scalars(event.step, scalars);
  }

  close(): void {
    fsyncSync(this.descriptor);
    closeSync(this.descriptor);
    this.tensorboard.close();
  }
}

/** Length of the part of metrics.jsonl that is about steps up to `step`; a half-written last line is not kept. */
function keptBytes(bytes: Buffer, step: number): number {
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
