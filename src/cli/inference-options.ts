import { existsSync, statSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { explain, formatBytes, type MemoryEstimate } from '../inference/memory.js';
import type { InferenceOptions } from '../inference/segmenter.js';
import { runFiles } from '../training/run-folder.js';

/** Options of how to segment; what is not given comes from the model's plan. */
export function addInference(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--protocol <name>',
        "default: Gaussian windows half overlapping; versemi: the paper's strides 16/16/4, metrics also in voxels",
      ).choices(['default', 'versemi']),
    )
    .addOption(new Option('--overlap <share>', 'share of a window that the next covers again').argParser(share))
    .option('--tta', 'average over mirrored copies (8 times the work)')
    .option('--largest-component', 'keep the largest connected component of each task only')
    .addOption(
      new Option('--weights <which>', 'the trained weights or their moving average').choices(['student', 'ema']),
    );
}

export interface InferenceArguments {
  readonly protocol?: 'default' | 'versemi';
  readonly overlap?: number;
  readonly tta?: boolean;
  readonly largestComponent?: boolean;
}

export function inferenceArguments({ protocol, overlap, tta, largestComponent }: InferenceArguments): InferenceOptions {
  return {
    ...(protocol === undefined ? {} : { protocol }),
    ...(overlap === undefined ? {} : { overlap }),
    ...(tta === undefined ? {} : { mirror: tta }),
    ...(largestComponent === undefined ? {} : { largestComponent }),
  };
}

/** What is printed before a scan is read, where memory is limited. */
export function memoryLine(label: string, estimate: MemoryEstimate): string {
  const { total, strips, work } = estimate;
  const parts = strips === 1 ? 'in one part' : `in ${strips} parts, ${Math.round(100 * (work - 1))} % more windows`;
  return `${label}: at most ${formatBytes(total)}, ${parts} (${explain(estimate)})`;
}

/** A model file, or the one in a run folder. */
export function modelFileOf(path: string): string {
  return existsSync(path) && statSync(path).isDirectory() ? runFiles(path).model : path;
}

function share(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 0.95)) throw new InvalidArgumentError('Expected a number from 0 to 0.95.');
  return value;
}
