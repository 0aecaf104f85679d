#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { environmentHelp } from '../environment.js';
import { exitCodes, isVersemiError } from '../errors.js';
import { packageVersion } from '../root.js';
import { leaveStatus } from './terminal.js';

/** One file per command; only the file of the command that was asked for is loaded. */
const commands: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  plan: async () => (await import('./plan.js')).addPlan,
  preprocess: async () => (await import('./preprocess.js')).addPreprocess,
  train: async () => (await import('./train.js')).addTrain,
  evaluate: async () => (await import('./evaluate.js')).addEvaluate,
  predict: async () => (await import('./predict.js')).addPredict,
  compare: async () => (await import('./compare.js')).addCompare,
  report: async () => (await import('./report.js')).addReport,
  info: async () => (await import('./info.js')).addInfo,
  selftest: async () => (await import('./selftest.js')).addSelftest,
  bench: async () => (await import('./bench.js')).addBench,
};

const program = new Command('versemi')
  .description(
    'Train one promptable 3-D segmentation network over many datasets, most of whose cases carry no labels; evaluate it; apply it.',
  )
  .version(packageVersion())
  .showHelpAfterError('(add --help for what is possible)')
  .addHelpText(
    'after',
    `
A first run:
  $ versemi plan data/spleen data/atrium --out plan.json
  $ versemi train plan.json --out runs/first
  $ versemi evaluate runs/first/model.safetensors --data data/spleen
  $ versemi predict runs/first/model.safetensors scan.nii.gz --out out
  $ versemi report runs/first

Exit codes: 0 done, 2 wrong command line, 3 bad input, 4 bad plan, 5 bad model, 6 device, 7 training, 8 reading or
writing, 70 a defect of versemi, 130 interrupted.

Environment variables (values and defaults: docs/environment.md):
${environmentHelp()}`,
  );

const asked = process.argv[2] ?? '';
// The help lists all commands, and the name of an unknown command is compared with the names of all.
const needed = asked in commands ? [asked] : ['-V', '--version'].includes(asked) ? [] : Object.keys(commands);
for (const name of needed) (await commands[name]!())(program);
// Failures arrive as exceptions, so that there is one place that turns them into messages and exit codes.
for (const command of [program, ...program.commands]) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  leaveStatus();
  if (isVersemiError(error)) {
    // A person who has interrupted a command knows why it ended, so there is no code to look up.
    const code = error.exitCode === exitCodes.interrupted ? '' : `${error.code}: `;
    process.stderr.write(`${code}${error.message}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    `VERSEMI_INTERNAL: versemi has a defect; please report this with the command you ran.\n${text}\n`,
  );
  return 70;
}
