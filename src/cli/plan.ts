import { existsSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { planFields } from '../config/plan.js';
import { readPlan, writePlan } from '../config/read-plan.js';
import { VersemiError } from '../errors.js';
import { defaultMemoryBytes } from '../preprocessing/budget.js';
import { fingerprintDatasets } from '../preprocessing/fingerprint.js';
import { defaultMethod, methodNames, methodRow } from '../preprocessing/methods.js';
import { makePlan } from '../preprocessing/planning.js';
import { makeTimedPlan, overnightHours } from '../training/timed-plan.js';
import { chooseDevice } from './device.js';
import { addShared, list, positiveInteger, positiveNumber, positiveTriple, wholeNumber } from './options.js';
import { labeledLists } from './plan-lists.js';
import { defaultLink, tellRanks } from './plan-ranks.js';
import { costText, inventory } from './plan-text.js';
import { createTerminal, progressBar } from './terminal.js';

export function addPlan(program: Command): void {
  const command = program
    .command('plan')
    .description('Look at datasets and derive a complete plan: spacing, window, patch, batch, steps, tasks, and why.')
    .argument(
      '[dataset...]',
      'folders (Decathlon, nnU-Net raw, HDF5, images, DICOM); with --ranks also a plan, which stays as it is',
    )
    .option('--out <file>', 'where the plan goes', 'plan.json')
    .option('--force', 'overwrite the plan when it is there')
    .option('--name <name>', 'name of the plan (default: that of the file)')
    .addOption(
      new Option(
        '--labeled <list>',
        'cases whose labels train: all, or a list in splits.json; NAME=LIST for one dataset, repeated or comma-separated',
      )
        .argParser(list)
        .default(undefined, 'all'),
    )
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
      new Option(
        '--hours <n>',
        'how long training may take on this device: patch, width and steps are made to fit; 0.5 is half an hour',
      )
        .argParser(positiveNumber)
        .default(overnightHours, `${overnightHours}: what ends overnight`)
        .conflicts('paper'),
    )
    .option('--paper', "as much work as the paper's 13,000 + 13,000 steps, however long it takes")
    .addOption(
      new Option('--memory <GiB>', 'memory for training')
        .argParser(positiveNumber)
        .default(undefined, `${defaultMemoryBytes / 2 ** 30}, less on a small machine`),
    )
    .addOption(
      new Option(
        '--gflops <n>',
        'speed in training of another machine, for which the plan is made: nothing is timed here',
      ).argParser(positiveNumber),
    )
    .addOption(
      new Option('--augmentation <which>', 'how patches are changed; mirrors: only as cuda itself can')
        .choices(['all', 'mirrors', 'none'])
        .default(undefined, 'all; mirrors on cuda'),
    )
    .addOption(new Option('--spacing <mm>', 'spacing of every dataset: x,y,z or one number').argParser(positiveTriple))
    .addOption(new Option('--patch <voxels>', 'patch: x,y,z or one number').argParser(positiveTriple))
    .addOption(new Option('--width <n>', 'channels at full resolution').argParser(positiveInteger))
    .addOption(
      new Option('--method <name>', 'how to train, see below; all methods take as many trunk passes')
        .choices(methodNames)
        .default(undefined, defaultMethod),
    )
    .addOption(new Option('--seed <n>', 'seed of the run').argParser(wholeNumber).default(0))
    .addOption(
      new Option(
        '--ranks <n>',
        'also of a plan that is there: what a step takes on so many machines, and from which batch on they are used well',
      ).argParser(positiveInteger),
    )
    .option(
      '--run <folder>',
      'with --ranks: a run of the plan in one process on such a machine, whose steps were measured',
    )
    .addOption(
      new Option(
        '--latency <us>',
        `with --ranks: of a short message between machines, one way, in microseconds (default: ${defaultLink.latencyUs})`,
      ).argParser(positiveNumber),
    )
    .addOption(
      new Option(
        '--bandwidth <Gbit/s>',
        `with --ranks: of each machine, in each direction (default: ${defaultLink.gigabitsPerSecond})`,
      ).argParser(positiveNumber),
    )
    .option('--fields', 'print every field of a plan: name, unit, range, default, explanation')
    .addHelpText(
      'after',
      `
Methods:
${methodHelp()}

Examples:
  $ versemi plan data/spleen data/atrium --out plan.json
  $ versemi plan data/spleen --labeled labeled10 --validation 4 --hours 0.5
  $ versemi plan data/spleen data/atrium --labeled spleen=labeled10,atrium=all
  $ versemi plan data/spleen --paper
  $ versemi plan data/atrium --method ua-mt --out ua-mt.json
  $ versemi plan data/atrium --folds 5
  $ versemi plan --fields
  $ versemi plan plan.json --ranks 8 --run runs/first --latency 2 --bandwidth 100

Only the labels of the labelled cases are looked at. How long training takes follows from real steps that are timed on the device that
versemi train would take.`,
    );
  addShared(
    command,
    'device',
    'threads',
    'exact',
    'precision',
    'keys',
    'filesOutside',
    'parts',
    'json',
    'quiet',
  ).action(async (folders: string[], options) => {
    const terminal = createTerminal(options);
    if (options.fields) {
      terminal.print(fieldTable());
      terminal.printJson(planFields);
      return;
    }
    if (folders.length === 0) {
      throw new VersemiError('USAGE', { field: 'dataset', expected: 'at least one folder', found: 'none' });
    }
    const ofRanks = ['run', 'latency', 'bandwidth'].find((name) => options[name] !== undefined);
    if (options.ranks === undefined && ofRanks !== undefined)
      throw new VersemiError('USAGE', {
        field: `--${ofRanks}`,
        expected: '--ranks beside it',
        found: 'none',
        remedy: 'Say for how many machines: --ranks 8.',
      });
    if (options.ranks !== undefined && folders.length === 1 && folders[0]!.endsWith('.json')) {
      await tellRanks(await readPlan(folders[0]!), options, terminal);
      return;
    }
    if (existsSync(options.out) && !options.force) {
      throw new VersemiError('USAGE', {
        file: options.out,
        expected: 'a file that does not exist yet',
        remedy: 'Choose another --out, or overwrite it with --force.',
      });
    }
    const { validation, folds } = options;
    if (folds !== undefined && (folds < 2 || validation > 0))
      throw new VersemiError('USAGE', {
        field: '--folds',
        expected: 'two folds or more, without --validation',
        found: folds < 2 ? String(folds) : `--validation ${validation}`,
        remedy: 'The cases of one fold are the validation cases of the others.',
      });
    const sources = folders.map((path) => ({
      path: resolve(path),
      ...(options.keys === undefined ? {} : { keys: options.keys }),
      ...(options.filesOutside === undefined ? {} : { filesOutside: options.filesOutside }),
    }));
    const labeled = await labeledLists(sources, options.labeled);
    const fold = folds === undefined ? {} : { fold: [0, folds] as [number, number] };
    const fingerprint = await fingerprintDatasets(
      sources.map((source, index) => ({ ...source, split: { labeled: labeled[index]!, validation, ...fold } })),
      {
        seed: options.seed,
        onNotice: (text) => terminal.note(text),
        onProgress: ({ dataset, id, index, total }) =>
          terminal.status(`${dataset} ${progressBar(index / total)} ${index} of ${total} cases, ${id}`),
      },
    );
    const planning = {
      name: options.name ?? basename(options.out).replace(/\.json$/, ''),
      seed: options.seed,
      ...given(options.method, (method) => ({ method })),
      ...given(options.memory, (GiB) => ({ deviceMemoryBytes: GiB * 2 ** 30 })),
      ...given(options.spacing, (spacingMm) => ({ spacingMm })),
      ...given(options.patch, (patchSizeVoxels) => ({ patchSizeVoxels })),
      ...given(options.width, (baseWidth) => ({ baseWidth })),
      ...given(options.augmentation, (augmentation) => ({ augmentation })),
      ...given(options.mergeLabels, (names) => ({ mergeLabels: names.includes('all') ? true : names })),
    };
    makePlan(fingerprint, planning); // what cannot be planned is told before anything is printed and timed
    terminal.print(inventory(fingerprint));
    const chosen = options.gflops === undefined ? await chooseDevice(options, terminal) : undefined;
    const hours = options.paper === true ? null : (options.hours as number);
    const { plan, explanations, time } = await makeTimedPlan(fingerprint, {
      ...planning,
      hours,
      onProgress: (text) => terminal.status(text),
      ...given(options.gflops, (gflopsPerSecond) => ({ gflopsPerSecond })),
    });
    await writePlan(options.out, plan);
    terminal.print('\nThe plan, and why');
    // The inventory has said what the datasets are.
    for (const { field, value, reason } of explanations.filter((one) => !/^datasets\[\d+\]$/.test(one.field)))
      terminal.print(`${field} = ${value}\n    ${reason}`);
    const device = chosen?.device.description;
    terminal.print(`\n${costText(plan, time, { hours, device })}`);
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
    const result = {
      ...{ file: options.out, plan, datasets, explanations, time },
      ...(chosen === undefined ? {} : { device: chosen.device.description, deviceSettings: chosen.settings }),
    };
    if (options.ranks === undefined) terminal.printJson(result);
    else await tellRanks(plan, options, terminal, result, time.measured?.stages.at(-1)?.secondsPerStep);
  });
}

/** Options of what was given on the command line; none where it was not. */
function given<T, O extends object>(value: T | undefined, options: (value: T) => O): O | Record<string, never> {
  return value === undefined ? {} : options(value);
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
