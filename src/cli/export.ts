import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import { readModel } from '../checkpoints/files.js';
import { VersemiError } from '../errors.js';
import { exportOnnx, licences } from '../exchange/export-onnx.js';
import { pytorchSafetensors } from '../exchange/pytorch-export.js';
import { isReleasedNetwork } from '../exchange/pytorch-layout.js';
import { networkConfig } from '../model/layers.js';
import { modelFileOf, type WeightsArgument, weightsOf, weightsOption } from './inference-options.js';
import { addShared, list, shared } from './options.js';
import { createTerminal, formatTable } from './terminal.js';

export function addExport(program: Command): void {
  const command = program
    .command('export')
    .description(
      'Write a model for other programs: ONNX with an example, or the names and layout of the PyTorch network.',
    )
    .argument('<model>', 'model.safetensors, or the folder of a run')
    .option('--onnx <file>', 'NAME.onnx (opset 17); beside it NAME.json, and examples in Python and JavaScript')
    .option('--task <name...>', 'tasks that the ONNX model answers, in this order (default: all)', list)
    .option(
      '--prompts-as-input',
      'the ONNX model takes the prompts as a second input, instead of answering fixed tasks',
    )
    .option('--half', 'ONNX: weights and convolutions in half precision; inputs and outputs stay float32')
    .option('--webgpu', 'ONNX: without transposed convolutions, which onnxruntime-web lacks on WebGPU in 3-D')
    .option('--safetensors-pytorch <file>', 'safetensors in the names and layout of the released PyTorch network')
    .addOption(shared.axes())
    .addOption(weightsOption())
    .addHelpText(
      'after',
      `
Examples:
  $ versemi export runs/first --onnx out/spleen.onnx
  $ versemi export model.safetensors --onnx out/spleen.onnx --task spleen --half
  $ versemi export model.safetensors --onnx web/model.onnx --webgpu
  $ versemi export model.safetensors --safetensors-pytorch pytorch.safetensors

Then, with onnxruntime alone:
  $ python out/predict_onnx.py out/spleen.onnx scan.nii.gz spleen mask.nii.gz`,
    );
  addShared(command, 'json', 'quiet').action(async (path: string, options) => {
    const terminal = createTerminal(options);
    requireSense(options);
    const which: WeightsArgument = options.weights ?? {};
    const file = modelFileOf(path, which.checkpoint);
    const model = await readModel(file);
    const weights = weightsOf({ ...model, file }, which.network);
    for (const output of [options.onnx, options.onnx?.replace(/\.onnx$/, '.json'), options.safetensorsPytorch])
      requireOther(output, file);
    const rows: string[][] = [];
    const result: Record<string, unknown> = { model: file, weights };
    if (options.onnx !== undefined) {
      const { files, kept, description } = await exportOnnx(model, options.onnx, {
        ...(options.task === undefined ? {} : { tasks: options.task }),
        promptsAsInput: options.promptsAsInput === true,
        dtype: options.half ? 'float16' : 'float32',
        webgpu: options.webgpu === true,
        network: weights.network,
      });
      const names = description.tasks.map(({ name }) => name).join(', ');
      rows.push([files[0]!, `${description.promptsAsInput ? 'prompts as input' : 'answers'}: ${names}`]);
      rows.push([files[1]!, 'what is done before and after the network']);
      for (const example of files.slice(2))
        rows.push([
          example,
          /predict_onnx/.test(example) ? `example: ${example} ${files[0]} SCAN TASK MASK` : 'what the example imports',
        ]);
      for (const one of kept) terminal.note(`${one} is there and was changed: it stays as it is.`);
      Object.assign(result, { onnx: files, kept, tasks: description.tasks.map(({ name }) => name) });
    }
    if (options.safetensorsPytorch !== undefined) {
      const config = networkConfig(model.plan);
      const released = isReleasedNetwork(config);
      const metadata = { format: 'pt', licence: licences(model) };
      const parts = pytorchSafetensors(config, model.values(weights.network), options.axes, metadata);
      await writeFileAtomic(options.safetensorsPytorch, parts);
      const sizes = `width ${config.baseWidth}, ${config.levels} levels, ${config.tasks} tasks`;
      rows.push([options.safetensorsPytorch, released ? 'as the released network' : `its names, with ${sizes}`]);
      if (!released)
        terminal.note(
          `The released program has other sizes in its source (width 16, 5 levels, 4 tasks, head of 8): change them there to load ${options.safetensorsPytorch}.`,
        );
      Object.assign(result, { safetensorsPytorch: options.safetensorsPytorch, axes: options.axes, released });
    }
    terminal.print(formatTable(['file', 'what it is'], rows));
    terminal.printJson(result);
  });
}

interface ExportArguments {
  readonly onnx?: string;
  readonly safetensorsPytorch?: string;
  readonly task?: readonly string[];
  readonly promptsAsInput?: boolean;
  readonly half?: boolean;
  readonly webgpu?: boolean;
}

/** @throws VERSEMI_USAGE when nothing is asked for, or an option that says something of nothing */
function requireSense(options: ExportArguments): void {
  const usage = (field: string, expected: string, found: string, remedy: string) =>
    new VersemiError('USAGE', { field, expected, found, remedy });
  if (options.onnx === undefined && options.safetensorsPytorch === undefined)
    throw usage('versemi export', 'a form to write', 'none', 'Add --onnx FILE or --safetensors-pytorch FILE.');
  const ofOnnx = [
    ['--task', options.task],
    ['--prompts-as-input', options.promptsAsInput],
    ['--half', options.half],
    ['--webgpu', options.webgpu],
  ] as const;
  const idle = ofOnnx.find(([, value]) => value !== undefined);
  if (options.onnx === undefined && idle !== undefined)
    throw usage(
      idle[0],
      '--onnx FILE beside it',
      'no ONNX model to write',
      `Add --onnx FILE, or leave ${idle[0]} out.`,
    );
  if (options.task !== undefined && options.promptsAsInput === true)
    throw usage('--task', 'fixed tasks, or prompts as input', 'both', 'Leave one of the two options out.');
}

/** @throws VERSEMI_USAGE when an output is the model itself */
function requireOther(output: string | undefined, model: string): void {
  const one = output === undefined ? undefined : statSync(output, { throwIfNoEntry: false });
  const other = statSync(model, { throwIfNoEntry: false });
  if (one === undefined || other === undefined || one.ino !== other.ino || one.dev !== other.dev) return;
  throw new VersemiError('USAGE', {
    file: output!,
    expected: 'another file than the model',
    found: 'the model itself',
    remedy: 'Choose another name.',
  });
}
