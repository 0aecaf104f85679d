import { existsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { planFields } from '../config/plan.js';
import { writePlan } from '../config/read-plan.js';
import { VersemiError } from '../errors.js';
import { fingerprintDatasets } from '../preprocessing/fingerprint.js';
import { defaultMethod, methodNames, methodRow } from '../preprocessing/methods.js';
import { makePlan } from '../preprocessing/planning.js';
import { addShared, list, positiveInteger, positiveNumber, positiveTriple, wholeNumber } from './options.js';
import { createTerminal, progressBar } from './terminal.js';

export function addPlan(program: Command): void {
  const command = program
    .command('plan')
    .description('Look at datasets and derive a complete plan: spacing, window, patch, batch, steps, tasks, and why.')
    .argument('[dataset...]', 'folders (Decathlon, nnU-Net raw, HDF5, images, DICOM)')
    .option('--out <file>', 'where the plan goes', 'plan.json')
    .option('--force', 'overwrite the plan when it is there')
    .option('--name <name>', 'name of the plan (default: that of the file)')
    .option('--labeled <list>', 'cases whose labels train: all, or a list in splits.json', 'all')
    .addOption(
      new Option('--validation <n>', 'labelled cases per dataset set apart for choosing a model')
        .argParser(wholeNumber)
        .default(0),
    )
    .addOption(
      new Option(
        '--folds <n>',
        'cross-validation: deal the labelled cases into folds, see versemi train --fold',
      ).argParser(wholeNumber),
    )
    .addOption(
      new Option(
        '--merge-labels <datasets>',
        'one task from all labels of these datasets, comma-separated, or all',
      ).argParser(list),
    )
    .addOption(
      new Option('--minutes <n>', 'time for training: patch, width and steps are made to fit').argParser(
        positiveNumber,
      ),
    )
    .addOption(new Option('--memory <GiB>', 'memory for training').argParser(positiveNumber).default(8))
    .addOption(new Option('--gflops <n>', 'speed of the device in training').argParser(positiveNumber).default(100))
    .addOption(new Option('--spacing <mm>', 'spacing of every dataset: x,y,z or one number').argParser(positiveTriple))
    .addOption(new Option('--patch <voxels>', 'patch: x,y,z or one number').argParser(positiveTriple))
    .addOption(new Option('--width <n>', 'channels at full resolution').argParser(positiveInteger))
    .addOption(
      new Option('--method <name>', 'how to train, see below; all methods take as many trunk passes')
        .choices(methodNames)
        .default(undefined, defaultMethod),
    )
    .addOption(new Option('--seed <n>', 'seed of the run').argParser(wholeNumber).default(0))
    .option('--fields', 'print every field of a plan: name, unit, range, default, explanation')
    .addHelpText(
      'after',
      `
Methods:
${methodHelp()}

Examples:
  $ versemi plan data/spleen data/atrium --out plan.json
  $ versemi plan data/spleen --labeled labeled10 --validation 4 --minutes 30
  $ versemi plan data/atrium --method ua-mt --out ua-mt.json
  $ versemi plan data/atrium --folds 5
  $ versemi plan --fields

Only the labels of the labelled cases are looked at.`,
    );
  addShared(command, 'keys', 'filesOutside', 'parts', 'json', 'quiet').action(async (folders: string[], options) => {
    const terminal = createTerminal(options);
    if (options.fields) {
      terminal.print(fieldTable());
      terminal.printJson(planFields);
      return;
    }
    if (folders.length === 0) {
      throw new VersemiError('USAGE', { field: 'dataset', expected: 'at least one folder', found: 'none' });
    }
    if (existsSync(options.out) && !options.force) {
      throw new VersemiError('USAGE', {
        file: options.out,
        expected: 'a file that does not exist yet',
        remedy: 'Choose another --out, or overwrite it with --force.',
      });
    }
    const { labeled, validation, folds } = options;
    if (folds !== undefined && (folds < 2 || validation > 0))
      throw new VersemiError('USAGE', {
        field: '--folds',
        expected: 'two folds or more, without --validation',
        found: folds < 2 ? String(folds) : `--validation ${validation}`,
        remedy: 'The cases of one fold are the validation cases of the others.',
      });
    const split = { labeled, validation, ...(folds === undefined ? {} : { fold: [0, folds] as [number, number] }) };
    const fingerprint = await fingerprintDatasets(
      folders.map((path) => ({
        path: resolve(path),
        split,
        ...(options.keys === undefined ? {} : { keys: options.keys }),
        ...(options.filesOutside === undefined ? {} : { filesOutside: options.filesOutside }),
      })),
      {
        seed: options.seed,
        onNotice: (text) => terminal.note(text),
        onProgress: ({ dataset, id, index, total }) =>
          terminal.status(`${dataset} ${progressBar(index / total)} ${index} of ${total} cases, ${id}`),
      },
    );
    const { plan, explanations } = makePlan(fingerprint, {
      name: options.name ?? basename(options.out).replace(/\.json$/, ''),
      seed: options.seed,
      ...(options.method === undefined ? {} : { method: options.method }),
      deviceMemoryBytes: options.memory * 2 ** 30,
      gflopsPerSecond: options.gflops,
      ...(options.minutes === undefined ? {} : { minutes: options.minutes }),
      ...(options.spacing === undefined ? {} : { spacingMm: options.spacing }),
      ...(options.patch === undefined ? {} : { patchSizeVoxels: options.patch }),
      ...(options.width === undefined ? {} : { baseWidth: options.width }),
      ...(options.mergeLabels === undefined
        ? {}
        : { mergeLabels: options.mergeLabels.includes('all') ? true : options.mergeLabels }),
    });
    await writePlan(options.out, plan);
    for (const { field, value, reason } of explanations) terminal.print(`${field} = ${value}\n    ${reason}`);
    terminal.note(`Written to ${options.out} (dataset paths are relative to ${dirname(resolve(options.out))}).`);
    const datasets = fingerprint.datasets.map((dataset) => ({
      name: dataset.name,
      cases: dataset.totalCases,
      labeled: dataset.labeledCases,
      unlabeled: dataset.unlabeledCases,
      validation: dataset.validationCases,
      leftOut: dataset.leftOut,
      ...(dataset.remarks === undefined ? {} : { remarks: dataset.remarks }),
    }));
    terminal.printJson({ file: options.out, plan, datasets, explanations });
  });
}

function fieldTable(): string {
  return planFields
    .map(({ name, unit, range, default: standard, explanation }) => {
      const notes = [range, unit, standard === undefined ? 'required' : `default ${JSON.stringify(standard)}`];
      return `${name}\n    ${explanation}\n    ${notes.filter((note) => note !== undefined).join('; ')}`;
    })
    .join('\n');
}

/** What each method is, in lines of at most `width` characters. */
function methodHelp(width = 110): string {
  const indent = Math.max(...methodNames.map((name) => name.length)) + 4;
  return methodNames
    .map((name) => {
      const lines = [''];
      for (const word of methodRow(name).explanation.split(' ')) {
        if (lines.at(-1)!.length + word.length >= width - indent) lines.push('');
        lines.push(`${lines.pop()} ${word}`.trimStart());
      }
      return `  ${name}`.padEnd(indent) + lines.join(`\n${' '.repeat(indent)}`);
    })
    .join('\n');
}
