import { type Command, Option } from 'commander';
import type { Plan } from '../config/plan.js';
import { readPlan } from '../config/read-plan.js';
import { lastStageSteps } from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { lockFileName } from '../folder-lock.js';
import { defaultCacheFolder } from '../preprocessing/preprocess-datasets.js';
import { solo } from '../ranks/communicator.js';
import { takeGpuOfRank } from '../ranks/gpu.js';
import { closeRanks, openRanks } from '../ranks/launch.js';
import { deviceOptions } from '../tfjs/index.js';
import { eventText, stepText } from '../training/event-text.js';
import type { TrainingEvent } from '../training/events.js';
import { train } from '../training/train.js';
import { modelFileOf } from './inference-options.js';
import { agreeOnExitCode, interruptedExitCode, interruptible } from './interrupt.js';
import { addShared, positiveInteger, wholeNumber } from './options.js';
import { createTerminal, formatDuration, formatTable, progressBar, type Terminal } from './terminal.js';

export function addTrain(program: Command): void {
  const command = program
    .command('train')
    .description('Train a network by a plan: both stages, or supervised. Interrupt with Ctrl-C, go on with --resume.')
    .argument('<plan>', 'plan.json (versemi plan makes one)')
    .requiredOption('--out <folder>', 'folder of the run: plan, metrics.jsonl, TensorBoard events, checkpoints, model')
    .addOption(
      new Option(
        '--resume [auto]',
        'go on from the last checkpoint in the folder; begin where there is none (auto: the same, as other programs have it)',
      ).choices(['auto']),
    )
    .option(
      '--init <model>',
      'begin with the weights of a model (or run): tasks of the same name keep their prompts, new ones are added',
    )
    .addOption(
      new Option(
        '--mode <mode>',
        "instead of the plan's: supervised is the labelled loss alone, for as many steps (versemi plan --method plans baselines at equal cost)",
      ).choices(['semi-supervised', 'supervised']),
    )
    .addOption(
      new Option(
        '--steps <n>',
        "steps of the whole run instead of the plan's; with --resume also those of a run that has ended, which then goes on",
      ).argParser(positiveInteger),
    )
    .addOption(
      new Option('--fold <n>', 'of a plan with folds (versemi plan --folds): the one for validation, from 0').argParser(
        wholeNumber,
      ),
    )
    .addOption(new Option('--seed <n>', "instead of the plan's").argParser(wholeNumber))
    .option('--cache <folder>', 'folder of preprocessed cases, that of versemi preprocess --cache', defaultCacheFolder)
    .addOption(
      new Option('--every <n>', 'without a terminal: print a line every n steps')
        .argParser(positiveInteger)
        .default(50),
    )
    .addOption(
      new Option(
        '--ranks <which>',
        'auto: the processes that mpirun or srun has started compute each step together; none: this one trains alone, whatever has started it',
      )
        .choices(['auto', 'none'])
        .default('auto'),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ versemi train plan.json --out runs/first
  $ versemi train plan.json --out runs/first --resume
  $ versemi train plan.json --out runs/first --resume --steps 40000
  $ versemi train plan.json --out runs/baseline --mode supervised
  $ versemi train new-tasks.json --init runs/first --out runs/tuned
  $ versemi train plan.json --fold 0 --out runs/fold-0
  $ versemi train plan.json --out runs/first --exact
  $ versemi train plan.json --out runs/first --json > events.jsonl
  $ mpirun -np 4 versemi train plan.json --out runs/first --threads 8

With --json each event is one line of JSON. What is said on the way also goes to train.log in the folder.

Ctrl-C, TERM, HUP, QUIT, USR1 and USR2 end a training after the present step, with a checkpoint and 128 + the number of the signal, on
all ranks where one of them is asked. A job that Slurm warns in time, and that goes on where it was:
  #SBATCH --signal=USR1@300
  srun --mpi=pmix versemi train plan.json --out runs/first --resume auto
  [ $? -eq 138 ] && scontrol requeue $SLURM_JOB_ID

Training on several machines (MPI, Slurm): docs/cluster.md.

Only one training at a time writes a folder: ${lockFileName} in it names who. It goes with the training, also with one that was
killed: on another host or in another container it is watched for a minute whether that one still lives.`,
    );
  // --resume has always stood before plans, too: what follows it is its value only where that is `auto`.
  const parse = command.parseOptions.bind(command);
  command.parseOptions = (args) =>
    parse(args.map((one, i) => (one === '--resume' && args[i + 1] !== 'auto' ? '--resume=auto' : one)));
  addShared(command, 'device', 'threads', 'exact', 'precision', 'parts', 'json', 'quiet').action(
    async (planFile: string, options) => {
      const ranks = options.ranks === 'none' ? solo : openRanks();
      if (options.device === 'auto' || options.device === 'cuda') takeGpuOfRank(ranks);
      // What all ranks would say, rank 0 says.
      const speaks = ranks.rank === 0;
      const terminal = createTerminal(speaks ? options : { quiet: true });
      const plan = await readPlan(planFile);
      if (options.mode !== undefined) plan.training.mode = options.mode;
      if (options.seed !== undefined) plan.seed = options.seed;
      if (options.fold !== undefined) setFold(plan, options.fold);
      if (options.steps !== undefined) setSteps(plan, options.steps);
      await interruptible(terminal, 'Finishing the step and writing a checkpoint', async (signal) => {
        const events = train(plan, {
          runFolder: options.out,
          device: options.device,
          cacheFolder: options.cache,
          resume: options.resume !== undefined,
          extend: options.steps !== undefined,
          ...(options.init === undefined ? {} : { init: modelFileOf(options.init) }),
          signal,
          ranks,
          ...deviceOptions(options),
        });
        const show = progress(terminal, options.every);
        let finished = false;
        for await (const event of events) {
          if (options.json && speaks) terminal.printEvent(event);
          else if (speaks) show(event);
          finished = event.type === 'end' && event.reason === 'finished';
        }
        // The signal may have come to another rank.
        agreeOnExitCode((await ranks.gather(interruptedExitCode() ?? null)).find((code) => code !== null));
        await closeRanks();
        if (finished) return;
        // mpirun ends the others as soon as one rank fails: rank 0 alone tells the launcher, when it has said what there is to say.
        if (!speaks) return;
        throw new VersemiError('TRAINING_INTERRUPTED', {
          file: options.out,
          remedy: `Go on with: versemi train ${planFile} --out ${options.out} --resume`,
        });
      });
    },
  );
}

/** Gives the last stage the length with which the run has so many steps. @throws VERSEMI_USAGE where the first stage is longer */
function setSteps({ training }: Plan, steps: number): void {
  const last = lastStageSteps(training);
  const first = last === 'stage1Steps' ? 0 : training.stage1Steps;
  if (steps <= first)
    throw new VersemiError('USAGE', {
      field: '--steps',
      expected: `more than the ${first} steps of the first stage`,
      found: String(steps),
      remedy: 'Ask for more steps, or make the first stage of the plan shorter (training.stage1Steps).',
    });
  training[last] = steps - first;
}

/** @throws VERSEMI_USAGE where a dataset of the plan has no such fold */
function setFold({ datasets }: Plan, index: number): void {
  for (const { name, split } of datasets) {
    if (split.fold === undefined || index >= split.fold[1])
      throw new VersemiError('USAGE', {
        field: '--fold',
        expected: split.fold === undefined ? `a plan with folds of "${name}"` : `0 to ${split.fold[1] - 1}`,
        found: String(index),
        remedy: 'Make the plan with versemi plan --folds, or set datasets[].split.fold in it.',
      });
    split.fold = [index, split.fold[1]];
  }
}

/** Shows events: a bar on a terminal, else a line every `every` steps. */
export function progress(terminal: Terminal, every: number): (event: TrainingEvent) => void {
  let steps = 0;
  let bytesPeak: number | undefined;
  return (event) => {
    if (event.type === 'start') steps = event.steps;
    for (const text of eventText(event)) terminal.note(text);
    if (event.type === 'step') {
      bytesPeak = event.bytesPeak;
      if (terminal.interactive) terminal.status(`${progressBar(event.step / steps, 20)} ${stepText(event, steps)}`);
      else if (event.step % every === 0 || event.step === 1) terminal.note(stepText(event, steps));
    } else if (event.type === 'end' && event.reason === 'finished') {
      terminal.print(
        formatTable(
          ['model', 'steps', 'time', 'peak memory'],
          [
            [
              event.model ?? '',
              String(event.step),
              formatDuration(event.seconds),
              bytesPeak === undefined ? '–' : `${(bytesPeak / 2 ** 20).toFixed(0)} MiB`,
            ],
          ],
        ),
      );
    }
  };
}
