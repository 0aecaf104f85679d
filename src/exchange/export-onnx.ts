import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import type { NetworkChoice, ParsedModel } from '../checkpoints/model-file.js';
import { VersemiError } from '../errors.js';
import { groupTasks, inferenceSettings, taskIndices, taskName, tasksToFind } from '../inference/segmenter.js';
import { strideVoxels } from '../inference/windows.js';
import { networkConfig } from '../model/layers.js';
import { packageRoot, packageVersion } from '../root.js';
import { turnUnlessAborted, type VerbOptions } from '../verb-options.js';
import { onnxInterface, onnxNames, onnxNetwork } from './onnx-network.js';
import { requireVersemiNetwork } from './pytorch-layout.js';

/** A file of an export has been written, or was there already. */
export interface ExportProgress {
  readonly file: string;
  /** Counts from 1 to total. */
  readonly index: number;
  readonly total: number;
}

/** What the graph takes in and answers, and how its numbers are stored. */
export interface OnnxOptions {
  /** Names of the tasks that the graph answers, in this order; default: every real task of the model. Not with `promptsAsInput`. */
  readonly tasks?: readonly string[];
  /** The graph takes one-hot codes of prompts as a second input, `prompts` [batch, prompts, tasks + 1]. */
  readonly promptsAsInput?: boolean;
  /** Of weights and convolutions; inputs and outputs are float32. Default float32. */
  readonly dtype?: 'float32' | 'float16';
  /** No transposed convolution in the graph, as onnxruntime-web's WebGPU provider needs it. */
  readonly webgpu?: boolean;
  /** Default: what the plan says (`inference.network`). */
  readonly network?: NetworkChoice;
}

/** What the JSON file beside an ONNX model says: all that a program needs to segment a scan with it. */
export interface OnnxDescription {
  readonly format: 1;
  readonly notice: string;
  readonly versemi: string;
  /** Name of the ONNX file. */
  readonly model: string;
  readonly dtype: 'float32' | 'float16';
  readonly promptsAsInput: boolean;
  /** Length of the code of a prompt. */
  readonly promptCount: number;
  /** Every axis of an image is divisible by this. */
  readonly axisMultiple: number;
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly tasks: readonly OnnxTask[];
  /** Sizes along x, y, z; `even`: windows are spread evenly instead of moving the last one back. */
  readonly windows: {
    readonly sizeVoxels: readonly number[];
    readonly strideVoxels: readonly number[];
    readonly even: boolean;
    readonly weighting: 'gaussian' | 'uniform';
    readonly mirror: boolean;
    readonly largestComponent: boolean;
  };
  /** Training data and its terms. */
  readonly data: ParsedModel['provenance']['data'];
}

/** One task that the graph answers. */
export interface OnnxTask {
  readonly name: string;
  /** Labels of the dataset that the task was trained on; absent for the synthetic task. */
  readonly labels?: readonly number[];
  /** Its number: where its code has a 1. */
  readonly prompt: number;
  /** Its place in the output; of one prompt alone where prompts are an input. */
  readonly output: number;
  readonly preprocessing: ParsedModel['plan']['datasets'][number]['preprocessing'];
  /** The tasks that make one organ with this one, itself included: what of them all is not in their largest component is not of this task. */
  readonly together?: readonly string[];
}

/** How a model is written as ONNX. `signal` ends an export before its first file is written; later all files are. */
export interface OnnxExportOptions extends OnnxOptions, Omit<VerbOptions<ExportProgress>, 'onNotice'> {}

const notice = 'Not a medical device: for research.';

/** What is written beside a model: programs that segment a scan with onnxruntime, and what one of them imports. */
const onnxExamples = ['predict_onnx.py', 'predict_onnx.mjs', 'onnx_volumes.mjs'] as const;

/**
 * A model as ONNX, and what belongs to it.
 * @param file name of the file to be, for the description
 * @returns the bytes of the ONNX file in parts, to be written one after the other, and the description
 * @throws VERSEMI_MODEL_TASK_UNKNOWN, VERSEMI_FORMAT_UNSUPPORTED for a network of one's own, VERSEMI_MODEL_INVALID where float16 has no number near a weight
 */
export function onnxOf(
  model: ParsedModel,
  file: string,
  options: OnnxOptions = {},
): { readonly parts: readonly Uint8Array[]; readonly description: OnnxDescription } {
  const { plan, provenance } = model;
  const { promptsAsInput = false, dtype = 'float32', webgpu = false } = options;
  const config = networkConfig(plan);
  requireVersemiNetwork(config, file);
  const every = [...plan.tasks.keys(), plan.tasks.length];
  const prompts = promptsAsInput ? every : tasksToFind({ plan }, taskIndices({ plan }, options.tasks));
  const description: OnnxDescription = {
    format: 1,
    notice,
    versemi: packageVersion(),
    model: basename(file),
    ...{ dtype, promptsAsInput, promptCount: config.tasks + 1, axisMultiple: 2 ** (config.levels - 1) },
    inputs: {
      [onnxNames.image]: 'float32 [batch, 1, depth, height, width]: a preprocessed image, x fastest',
      ...(promptsAsInput
        ? { [onnxNames.prompts]: `float32 [batch, prompts, ${config.tasks + 1}]: 1 at the prompt of a task, else 0` }
        : {}),
    },
    outputs: {
      [onnxNames.probabilities]: 'float32 [batch, prompts, depth, height, width]: probability of the foreground',
    },
    tasks: prompts.map((prompt, place) => taskOf(model, prompt, promptsAsInput ? 0 : place)),
    windows: windowsOf(model),
    data: provenance.data,
  };
  const answered = promptsAsInput ? 'input' : prompts;
  const values = model.values(options.network ?? plan.inference.network);
  const network = onnxNetwork(config, values, { prompts: answered, dtype, withoutTransposed: webgpu });
  const parts = network.graph.model({
    ...onnxInterface(network, config, answered),
    producer: { name: 'versemi', version: packageVersion() },
    description: `${plan.name}: ${description.tasks.map(({ name }) => name).join(', ')}. ${notice}`,
    metadata: {
      versemi: JSON.stringify(description),
      plan: JSON.stringify(plan),
      tasks: description.tasks.map(({ name }) => name).join(', '),
      preprocessing: JSON.stringify(model.preprocessing),
      licence: licences(model),
    },
  });
  return { parts, description };
}

/** What is known of the terms of the data that a model was trained on. */
export function licences({ provenance }: ParsedModel): string {
  const known = provenance.data.map(({ dataset, licence }) => `${dataset}: ${licence ?? 'not stated'}`);
  return known.length > 0 ? known.join('; ') : 'not stated';
}

function taskOf({ plan }: ParsedModel, prompt: number, output: number): OnnxTask {
  const { preprocessing } = groupTasks({ plan }, [prompt])[0]!;
  const labels = plan.tasks[prompt]?.labels;
  const name = taskName({ plan }, prompt);
  const together = tasksToFind({ plan }, [prompt]).map((index) => taskName({ plan }, index));
  return {
    ...{ name, ...(labels && { labels }), prompt, output, preprocessing },
    ...(together.length > 1 ? { together } : {}),
  };
}

function windowsOf({ plan }: ParsedModel): OnnxDescription['windows'] {
  const { protocol, weighting, mirror, largestComponent, overlap } = inferenceSettings({ plan });
  return {
    sizeVoxels: plan.patchSizeVoxels,
    strideVoxels: strideVoxels(plan.patchSizeVoxels, { protocol, overlap }),
    even: protocol === 'default',
    weighting: protocol === 'versemi' ? 'uniform' : weighting,
    ...{ mirror, largestComponent },
  };
}

/** The files of an export. */
export interface ExportedOnnx {
  readonly description: OnnxDescription;
  /** What was written. */
  readonly files: readonly string[];
  /** Examples that were there with another content, and stayed. */
  readonly kept: readonly string[];
}

/**
 * Writes a model as ONNX, its description as JSON of the same name, and two example programs into the same folder. An example that is
 * there and was changed stays as it is.
 * @param file NAME.onnx
 * @throws VERSEMI_USAGE (another ending; NAME.json is something else), VERSEMI_MODEL_TASK_UNKNOWN, VERSEMI_MODEL_INVALID, VERSEMI_DISK_FULL, VERSEMI_IO_FAILED,
 *   VERSEMI_ABORTED by `signal`: nothing is written then
 */
export async function exportOnnx(
  model: ParsedModel,
  file: string,
  { signal, onProgress, ...options }: OnnxExportOptions = {},
): Promise<ExportedOnnx> {
  if (!/.\.onnx$/.test(basename(file)))
    throw new VersemiError('USAGE', {
      file,
      expected: 'a name that ends with .onnx',
      found: basename(file),
      remedy: 'Name the file NAME.onnx: its description becomes NAME.json.',
    });
  await turnUnlessAborted(signal, 'export');
  const { parts, description } = onnxOf(model, file, options);
  const json = file.replace(/\.onnx$/, '.json');
  const before = await readFile(json, 'utf8').catch(() => undefined);
  if (before !== undefined && !before.includes('"promptsAsInput"'))
    throw new VersemiError('USAGE', {
      file: json,
      expected: 'no such file, or the description of an ONNX model, which is replaced',
      found: 'something else',
      remedy: 'Choose another name for the ONNX file: its description becomes NAME.json.',
    });
  await turnUnlessAborted(signal, 'export');
  const files = [file, json];
  let index = 0;
  const done = (one: string) => onProgress?.({ file: one, index: ++index, total: 2 + onnxExamples.length });
  // The description first: a model without one is of no use.
  await writeFileAtomic(json, `${JSON.stringify(description, null, 2)}\n`);
  done(json);
  await writeFileAtomic(file, parts);
  done(file);
  const kept: string[] = [];
  for (const name of onnxExamples) {
    const text = readFileSync(join(packageRoot, 'src', 'exchange', 'examples', name), 'utf8');
    const example = join(dirname(file), name);
    const there = await readFile(example, 'utf8').catch(() => undefined);
    if (there === undefined) {
      await writeFileAtomic(example, text);
      files.push(example);
    } else if (there !== text) kept.push(example);
    done(example);
  }
  return { description, files, kept };
}
