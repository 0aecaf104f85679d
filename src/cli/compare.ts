import { basename } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type ComparisonEvent, compareRuns, plannedRuns } from '../bench/comparison.js';
import type { Plan } from '../config/plan.js';
import { readPlan } from '../config/read-plan.js';
import { runPasses, totalSteps } from '../config/steps.js';
import { isVersemiError, VersemiError } from '../errors.js';
import { type Method, methodNames, planForMethod } from '../preprocessing/methods.js';
import { defaultCacheFolder } from '../preprocessing/preprocess-datasets.js';
import { summarizeComparison } from '../reports/comparison.js';
import { deviceOptions } from '../tfjs/index.js';
import { chooseDevice } from './device.js';
import { interruptible } from './interrupt.js';
import { addShared, list, positiveInteger, wholeNumber } from './options.js';
import { comparisonTables } from './report.js';
import { createTerminal, formatTable, type Terminal } from './terminal.js';
import { progress } from './train.js';

export function addCompare(program: Command): void {
  const command = program
    .command('compare')
    .description(
      'Train and evaluate methods, or plans, with several seeds on the same cases, one run after the other. Called again, it does what is left.',
    )
    .argument('<plan...>', 'plan.json; each is a method of its own unless --methods is given')
    .requiredOption('--out <folder>', 'folder of the comparison: NAME/seed-N of each run')
    .addOption(
      new Option(
        '--methods <names>',
        'make the plan over for these methods at equal trunk passes, comma-separated (versemi plan --help says what they are); plan: as it is',
      ).argParser(methodList),
    )
    .addOption(
      new Option('--seeds <list>', 'seeds of the runs, comma-separated').argParser(seedList).default([1, 2, 3]),
    )
    .option('--cache <folder>', 'folder of preprocessed cases, that of versemi preprocess --cache', defaultCacheFolder)
    .addOption(
      new Option('--every <n>', 'without a terminal: print a line every n steps')
        .argParser(positiveInteger)
        .default(500),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ versemi compare plan.json --methods supervised-cutmix,mean-teacher,bcp,versemi-copy-paste --out runs/compared
  $ versemi compare plan.json --methods plan,supervised-cutmix --seeds 1,2,3,4,5 --out runs/compared
  $ versemi compare soft.json hard.json --seeds 1 --out runs/targets
  $ versemi report runs/compared

The validation cases of the plan are the same for all runs; the final model of each is evaluated on them.
Pseudo-labels keep the largest component, where a method has it, if the plan's predictions do (inference.largestComponent).`,
    );
  addShared(command, 'device', 'threads', 'exact', 'precision', 'parts', 'json', 'quiet').action(
    async (files: string[], options) => {
      const terminal = createTerminal(options);
      const runs = await plannedRuns(await plansOf(files, options.methods), options.seeds);
      const { device, settings } = await chooseDevice(options, terminal);
      terminal.note(runTable(new Map(runs.map(({ name, plan }) => [name, plan]))));
      await interruptible(terminal, 'Finishing the step and writing a checkpoint', async (signal) => {
        const events = compareRuns(options.out, runs, {
          device: options.device,
          cacheFolder: options.cache,
          ...deviceOptions(options),
          signal,
          facts: { device: device.description, deviceSettings: settings },
        });
        const show = shown(terminal, options.every);
        try {
          for await (const event of events) show(event);
        } catch (error) {
          // Preprocessing and evaluation end with this error, training ends without one.
          if (!signal.aborted || !isVersemiError(error, 'ABORTED')) throw error;
        }
        if (!signal.aborted) return;
        throw new VersemiError('TRAINING_INTERRUPTED', {
          file: options.out,
          remedy: 'Go on with the same command: finished runs are kept, and the last one resumes.',
        });
      });
      const summary = summarizeComparison(options.out);
      terminal.print(comparisonTables(summary));
      terminal.printJson(summary);
    },
  );
}

/** Plans by the names of their runs. */
async function plansOf(files: readonly string[], methods: readonly (Method | 'plan')[] | undefined) {
  const plans = new Map<string, Plan>();
  for (const file of files) {
    const plan = await readPlan(file);
    for (const method of methods ?? ['plan' as const]) {
      const own = basename(file).replace(/\.json$/, '');
      const name = method === 'plan' ? own : files.length === 1 ? method : `${own}-${method}`;
      if (plans.has(name))
        throw new VersemiError('USAGE', {
          file,
          field: 'plan',
          expected: 'plan files of different names, each method once',
          found: `${name} twice`,
          remedy: 'Rename one of the files, or leave out what stands there twice.',
        });
      plans.set(name, method === 'plan' ? plan : planForMethod(plan, method));
    }
  }
  return plans;
}

/** What each method costs: the passes of the trunk are the same, the steps are not. */
function runTable(plans: ReadonlyMap<string, Plan>): string {
  return formatTable(
    ['method', 'steps', 'trunk passes', 'per step'],
    [...plans].map(([name, plan]) => {
      const [steps, passes] = [totalSteps(plan.training), runPasses(plan)];
      return [name, String(steps), String(passes), (passes / steps).toFixed(1)];
    }),
  );
}

function shown(terminal: Terminal, every: number): (event: ComparisonEvent) => void {
  const states = { finished: 'is finished', evaluate: 'is trained', resume: 'goes on', train: 'begins' } as const;
  let showStep = progress(terminal, every);
  return (event) => {
    const { name, seed } = event.run;
    if (event.type === 'run') {
      terminal.note(`Run ${event.index} of ${event.total}, ${name}, seed ${seed}: ${states[event.state]}.`);
      showStep = progress(terminal, every);
    } else if (event.type === 'training') {
      // The table at the end of a run belongs to \`versemi train\`.
      if (event.event.type !== 'end') showStep(event.event);
    } else if (event.type === 'evaluating') {
      const { dataset, index, total, id } = event.progress;
      terminal.status(`${dataset}: case ${index} of ${total}, ${id}`);
    } else terminal.note(`${name}, seed ${seed}: mean Dice ${event.meanDice.toFixed(3)}`);
  };
}

function methodList(text: string): (Method | 'plan')[] {
  const known = ['plan', ...methodNames];
  if (list(text).length === 0) throw new InvalidArgumentError('Expected at least one method.');
  for (const name of list(text))
    if (!known.includes(name)) throw new InvalidArgumentError(`Expected some of ${known.join(', ')}; found ${name}.`);
  return list(text) as (Method | 'plan')[];
}

function seedList(text: string): number[] {
  const seeds = list(text).map((part) => wholeNumber(part));
  if (seeds.length === 0) throw new InvalidArgumentError('Expected at least one seed.');
  if (new Set(seeds).size !== seeds.length) throw new InvalidArgumentError('Expected each seed once.');
  return seeds;
}
