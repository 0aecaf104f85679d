import { existsSync, statSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LoadedModel } from '../checkpoints/files.js';
import type { NetworkChoice } from '../checkpoints/model-file.js';
import { VersemiError } from '../errors.js';
import type { Evaluation } from '../inference/evaluate.js';
import { explain, formatBytes, type MemoryEstimate } from '../inference/memory.js';
import type { InferenceOptions } from '../inference/segmenter.js';
import { allowedMemoryBytes } from '../memory-limit.js';
import type { Device } from '../tfjs/index.js';
import { runFiles } from '../training/run-folder.js';
import { list } from './options.js';

/** Options of how to segment; what is not given comes from the model's plan. */
export function addInference(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--protocol <name>',
        "default: Gaussian windows half overlapping; versemi: the paper's strides 16/16/4 without mirroring and largest component, metrics also in voxels",
      ).choices(['default', 'versemi']),
    )
    .addOption(new Option('--overlap <share>', 'share of a window that the next covers again').argParser(share))
    .option('--tta', 'average over mirrored copies (8 times the work)')
    .option('--no-tta', "not even where the model's plan does")
    .option('--largest-component', 'keep the largest connected component of each task only')
    .option('--no-largest-component', "not even where the model's plan does")
    .addOption(
      new Option(
        '--largest-component-of <which>',
        'task: of each task by itself; dataset: first of all tasks of a dataset together, which are one organ, then of each task within that',
      )
        .choices(['task', 'dataset'])
        .implies({ largestComponent: true }),
    )
    .addOption(weightsOption())
    .addOption(
      new Option(
        '--ensemble <model>',
        'average the probabilities with those of this model too; may be given several times. A folder of fold-0, fold-1 ... stands for all its runs',
      ).argParser((text, previous: string[] = []) => [...previous, text]),
    );
}

/** Which weights of a model: the checkpoint of a run that they are from, and which of the two sets. */
export interface WeightsArgument {
  readonly checkpoint?: 'best' | 'last';
  readonly network?: NetworkChoice;
}

export function weightsOption(): Option {
  return new Option(
    '--weights <which>',
    'best or last: that checkpoint of a run folder, also of an interrupted run; student or ema: the trained weights or their moving average; or one of each, comma-separated',
  ).argParser(weights);
}

/** "best", "ema", "last,ema" -> which weights. */
function weights(text: string): WeightsArgument {
  const words = list(text);
  const checkpoint = words.filter((word) => word === 'best' || word === 'last');
  const network = words.filter((word) => word === 'student' || word === 'ema');
  const known = checkpoint.length + network.length === words.length;
  if (!known || words.length === 0 || checkpoint.length > 1 || network.length > 1)
    throw new InvalidArgumentError('Expected best or last, student or ema, or one of each, comma-separated.');
  return {
    ...(checkpoint[0] === undefined ? {} : { checkpoint: checkpoint[0] }),
    ...(network[0] === undefined ? {} : { network: network[0] }),
  };
}

export interface InferenceArguments {
  readonly protocol?: 'default' | 'versemi';
  readonly overlap?: number;
  readonly tta?: boolean;
  readonly largestComponent?: boolean;
  readonly largestComponentOf?: 'task' | 'dataset';
}

/** @throws VERSEMI_USAGE for a component of something where none is kept */
export function inferenceArguments(asked: InferenceArguments): InferenceOptions {
  const { protocol, overlap, tta, largestComponent, largestComponentOf } = asked;
  if (largestComponent === false && largestComponentOf !== undefined)
    throw new VersemiError('USAGE', {
      field: '--largest-component-of',
      expected: 'that the largest component is kept',
      found: '--no-largest-component',
      remedy: 'Leave one of the two out.',
    });
  return {
    ...(protocol === undefined ? {} : { protocol }),
    ...(overlap === undefined ? {} : { overlap }),
    ...(tta === undefined ? {} : { mirror: tta }),
    ...(largestComponent === undefined ? {} : { largestComponent }),
    ...(largestComponentOf === undefined ? {} : { largestComponentOf }),
  };
}

/** What the process takes of the memory of the machine where nobody said how much: the rest is for the system and its other users. */
const shareTaken = 0.9;

/**
 * How much memory segmenting may take: what was asked for, else nine tenths of what the machine, a container or a job allows, so that a
 * scan of a few bytes that becomes huge at the spacing of the plan is computed in parts, or refused, before it takes the machine.
 * @param asked bytes, of `--max-memory`
 */
export function memoryOptions(asked: number | undefined, device: Device['name']) {
  return {
    ...(asked === undefined
      ? {
          maxMemoryBytes: shareTaken * allowedMemoryBytes(),
          limitSource: `${100 * shareTaken} % of what this machine allows (--max-memory sets another limit)`,
        }
      : { maxMemoryBytes: asked }),
    deviceApart: device === 'cuda',
  };
}

/** Whether the memory of a scan is worth a line: it was asked for, or changes how the scan is computed. */
export function isTold({ strips }: MemoryEstimate, asked: number | undefined): boolean {
  return asked !== undefined || strips > 1;
}

/** What is printed before a scan is read. */
export function memoryLine(label: string, estimate: MemoryEstimate): string {
  const { total, strips, work } = estimate;
  const parts = strips === 1 ? 'in one part' : `in ${strips} parts, ${Math.round(100 * (work - 1))} % more windows`;
  return `${label}: at most ${formatBytes(total)}, ${parts} (${explain(estimate)})`;
}

/**
 * The weights that a loaded model computes with.
 * @param chosen on the command line
 * @throws VERSEMI_MODEL_INVALID when the file does not hold them, or the model is a trunk that was never trained
 */
export function weightsOf(
  { file, plan, history, networks, provenance }: Omit<LoadedModel, 'network'>,
  chosen: NetworkChoice = plan.inference.network,
): NonNullable<Evaluation['weights']> {
  if (provenance.imported?.parts === 'trunk')
    throw new VersemiError('MODEL_INVALID', {
      file,
      expected: 'a trained model',
      found: `a trunk of ${provenance.imported.file}, whose head is not trained`,
      remedy: 'Train it first: versemi train PLAN --init MODEL --out RUN.',
    });
  // A file with one set of weights has those that its plan wants.
  if (networks.includes('ema') || chosen === plan.inference.network) return { step: history.steps, network: chosen };
  throw new VersemiError('MODEL_INVALID', {
    file,
    field: '--weights',
    expected: weightsNames[chosen],
    found: `${weightsNames[plan.inference.network]} alone`,
    remedy: 'Leave --weights out, or take a checkpoint of the run (checkpoints/last.safetensors), which holds both.',
  });
}

/** What `--series` takes. */
export const seriesHelp =
  'DICOM: the series to read, by its number in the list that is printed, its UID or a part of its description';

/** How a person calls the two sets of weights. */
export const weightsNames: Readonly<Record<NetworkChoice, string>> = {
  student: 'the trained weights',
  ema: 'the moving average of the weights',
};

/**
 * A model file, or the one in a run folder.
 * @param checkpoint of the run, instead of its final model
 * @throws VERSEMI_USAGE for a checkpoint of what is no folder; VERSEMI_FILE_NOT_FOUND for one that the run does not have, and for a
 *   run that has not finished where no checkpoint is asked for
 */
export function modelFileOf(path: string, checkpoint?: WeightsArgument['checkpoint']): string {
  const isFolder = existsSync(path) && statSync(path).isDirectory();
  if (!isFolder && checkpoint === undefined) return path;
  if (!isFolder)
    throw new VersemiError('USAGE', {
      file: path,
      field: '--weights',
      expected: `the folder of a run, whose checkpoint ${checkpoint} is asked for`,
      found: 'no folder',
      remedy: 'Give the folder of the run, or leave that word out: a file is taken as it is.',
    });
  const files = runFiles(path);
  const file = checkpoint === undefined ? files.model : files[checkpoint];
  if (existsSync(file)) return file;
  const there = (['best', 'last'] as const).filter((name) => existsSync(files[name]));
  throw new VersemiError('FILE_NOT_FOUND', {
    file,
    expected: checkpoint === undefined ? 'the final model of a run' : `the checkpoint ${checkpoint} of a run`,
    found: there.length === 0 ? 'neither a model nor a checkpoint' : `checkpoints alone: ${there.join(', ')}`,
    remedy:
      there.length === 0
        ? 'Give the folder of a run (versemi train --out), or a model file.'
        : `Take a checkpoint (versemi evaluate --weights ${there[0]}, or the file ${files[there[0]!]}), or finish the run: versemi train PLAN --out ${path} --resume.`,
  });
}

function share(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 0.95)) throw new InvalidArgumentError('Expected a number from 0 to 0.95.');
  return value;
}
