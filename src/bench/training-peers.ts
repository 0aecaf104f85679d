import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Device, DeviceOptions } from '../tfjs/index.js';
import { benchLayers, benchSteps, type Ceilings, type TrainingRow } from './training.js';

export interface TrainingArguments extends DeviceOptions {
  readonly patch: number;
  readonly batch: number;
  readonly runs: number;
  /** Folder with the peers' programs. */
  readonly peers: string;
}

/** A row with what PyTorch takes for the same on the same machine, where it is installed. */
export interface ComparedRow extends TrainingRow {
  readonly peer: string | null;
  readonly peerMilliseconds: number | null;
}

interface LayerTimes {
  readonly name: string;
  readonly precision: 'bfloat16' | 'tf32';
  readonly forwardMs: number;
  readonly gradInputMs: number;
  readonly gradWeightMs: number;
}

/** A program of the peers; undefined where PyTorch is not installed or cannot use such a device. */
async function pytorch<T>(options: TrainingArguments, device: Device, ...args: string[]): Promise<T | undefined> {
  const program = join(options.peers, 'pytorch_gpu.py');
  const settings = ['--device', device.name, '--runs', String(options.runs)];
  // The first Python on the path is not always the one that has PyTorch.
  for (const command of ['python3', '/usr/bin/python3']) {
    try {
      const { stdout } = await promisify(execFile)(command, [program, ...args, ...settings], { timeout: 600_000 });
      return JSON.parse(stdout) as T;
    } catch {
      // Not installed there.
    }
  }
  return undefined;
}

/** Layers, then steps; each step stands twice, beside the released procedure and beside the best that PyTorch can do. */
export async function* runTrainingBench(device: Device, options: TrainingArguments): AsyncGenerator<ComparedRow> {
  const sizes = [String(options.batch), String(options.patch)];
  const lowPrecision = device.precision === 'bfloat16';
  const measured = await pytorch<Ceilings>(options, device, 'ceilings');
  const settings = {
    ...options,
    device,
    // The product of matrices is in bfloat16: a ceiling for that precision alone.
    ceilings: lowPrecision && measured !== undefined ? measured : null,
    elementBytes: lowPrecision ? 2 : 4,
  };
  const layers = await pytorch<{ layers: LayerTimes[] }>(options, device, 'layers', ...sizes);
  const precision = lowPrecision ? 'bfloat16' : 'tf32';
  const peer = device.name === 'cuda' ? `PyTorch, cuDNN ${precision}` : 'PyTorch float32';
  for await (const row of benchLayers(settings)) {
    const times = layers?.layers.find((one) => row.name.startsWith(`${one.name} `) && one.precision === precision);
    const milliseconds = times === undefined ? null : ofDirection(times, row.name);
    yield {
      ...row,
      peer: milliseconds === null ? null : peer,
      peerMilliseconds: milliseconds,
    };
  }
  type StepTimes = { stage1Ms: number; stage2Ms: number };
  const procedures = {
    'PyTorch, released procedure': await pytorch<StepTimes>(options, device, 'step', 'released', ...sizes),
    'PyTorch, best': await pytorch<StepTimes>(options, device, 'step', 'best', ...sizes),
  };
  for await (const row of benchSteps(settings)) {
    for (const [peer, times] of Object.entries(procedures))
      if (times !== undefined)
        yield { ...row, peer, peerMilliseconds: row.name.startsWith('stage 1') ? times.stage1Ms : times.stage2Ms };
    if (Object.values(procedures).every((times) => times === undefined))
      yield { ...row, peer: null, peerMilliseconds: null };
  }
}

/** The peers time convolutions alone: the fused op has none. */
function ofDirection(times: LayerTimes, name: string): number | null {
  if (name.endsWith(', forward')) return times.forwardMs;
  if (name.endsWith(', grad-input')) return times.gradInputMs;
  if (name.endsWith(', grad-weight')) return times.gradWeightMs;
  return null;
}
