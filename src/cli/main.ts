#!/usr/bin/env node
import type { Command as Program } from 'commander';
import type { Communicator } from '../ranks/communicator.js';
// Nothing else is imported before this has begun to listen to signals.
import { interruptedExitCode } from './interrupt.js';

const { Command, CommanderError } = await import('commander');
const { environmentHelp } = await import('../environment.js');
const { exitCodes, isVersemiError } = await import('../errors.js');
const { packageVersion } = await import('../root.js');
const { visible } = await import('../visible-text.js');
const { assertPrinted, leaveStatus, watchStreams } = await import('./terminal.js');

/** One file per command; only the file of the command that was asked for is loaded. */
const commands: Readonly<Record<string, () => Promise<(program: Program) => void>>> = {
  plan: async () => (await import('./plan.js')).addPlan,
  preprocess: async () => (await import('./preprocess.js')).addPreprocess,
  train: async () => (await import('./train.js')).addTrain,
  evaluate: async () => (await import('./evaluate.js')).addEvaluate,
  predict: async () => (await import('./predict.js')).addPredict,
  merge: async () => (await import('./merge.js')).addMerge,
  serve: async () => (await import('./serve.js')).addServe,
  compare: async () => (await import('./compare.js')).addCompare,
  report: async () => (await import('./report.js')).addReport,
  export: async () => (await import('./export.js')).addExport,
  import: async () => (await import('./import.js')).addImport,
  info: async () => (await import('./info.js')).addInfo,
  selftest: async () => (await import('./selftest.js')).addSelftest,
  bench: async () => (await import('./bench.js')).addBench,
  'build-addon': async () => (await import('./build-addon.js')).addBuildAddon,
};

const program = new Command('versemi')
  .description(
    'Train one promptable 3-D segmentation network over many datasets, most of whose cases carry no labels; evaluate it; apply it.',
  )
  .version(packageVersion())
  .showHelpAfterError('(add --help for what is possible)')
  .configureOutput({ writeErr: (text) => process.stderr.write(visible(text)) })
  .addHelpText(
    'after',
    `
A first run:
  $ versemi plan data/spleen data/atrium --out plan.json
  $ versemi train plan.json --out runs/first
  $ versemi evaluate runs/first/model.safetensors --data data/spleen
  $ versemi predict runs/first/model.safetensors scan.nii.gz --out out
  $ versemi report runs/first

Exit codes: 0 done, 2 wrong command line, 3 bad input (in a batch: of some), 4 bad plan, 5 bad model,
6 device, 7 training, 8 reading or writing, 70 a defect of versemi, 130 interrupted.

A command that is asked to end by signal n ends with 128 + n: 129 HUP, 130 INT (Ctrl-C), 131 QUIT, 138 USR1, 140 USR2, 143 TERM
(Linux), or 141 when the pipe that it prints into is closed. train writes a checkpoint before, evaluate and predict finish the
window that they compute; a second signal ends them at once.

Environment variables (values and defaults: docs/environment.md):
${environmentHelp()}`,
  );

const asked = process.argv[2] ?? '';
// The help lists all commands, and the name of an unknown command is compared with the names of all.
const needed = Object.hasOwn(commands, asked)
  ? [asked]
  : ['-V', '--version'].includes(asked)
    ? []
    : Object.keys(commands);
for (const name of needed) (await commands[name]!())(program);
// Parts of one's own are there before a command reads anything.
program.hook('preAction', async (_, command) => {
  for (const file of (command.opts().parts ?? []) as string[]) await (await import('../load-parts.js')).loadParts(file);
});
// Failures arrive as exceptions, so that there is one place that turns them into messages and exit codes.
for (const command of [program, ...program.commands]) command.exitOverride();

/** What a person sees who types nothing but the name of the program. */
const firstSteps = `versemi segments 3-D scans, and trains the networks that do.

Segment scans in a page that opens in your browser; no scan leaves the machine:
  $ versemi serve model.safetensors --open

The same from the command line, from NIfTI, NRRD, MetaImage or DICOM:
  $ versemi predict model.safetensors scan.nii.gz --out out

Train a network of your own on folders of scans, a few of them labelled:
  $ versemi plan data/spleen data/atrium --out plan.json
  $ versemi train plan.json --out runs/first

Look at a file first:            versemi info FILE
All commands and options:        versemi --help, versemi COMMAND --help
`;

/**
 * Of rank 0 before other ranks say why they fail: longer than ranks that fail alike are apart. After a rank is lost a launcher leaves the
 * others about a second.
 */
const headStartMs = { lost: 150, other: 5000 };

watchStreams();
try {
  if (process.argv.length <= 2) {
    process.stderr.write(firstSteps);
    process.exitCode = exitCodes.usage;
  } else await program.parseAsync();
  await assertPrinted();
} catch (error) {
  const { openedRanks } = await import('../ranks/launch.js');
  const ranks = openedRanks();
  if (ranks !== undefined && ranks.size > 1) await endRanks(error, ranks);
  process.exitCode = report(error);
}

/** Of a training over several ranks that cannot go on: says which rank fails, and ends all. */
async function endRanks(error: unknown, ranks: Communicator): Promise<void> {
  // What fails on all ranks, rank 0 tells for all of them, and ends the others meanwhile.
  if (ranks.rank > 0) {
    const ms = isVersemiError(error, 'RANK_LOST') ? headStartMs.lost : headStartMs.other;
    await new Promise((resolve) => setTimeout(resolve, ms));
    process.stderr.write(`Rank ${ranks.rank} of ${ranks.size}: `);
  }
  ranks.abort(report(error));
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  leaveStatus();
  if (isVersemiError(error)) {
    // A person who has interrupted a command knows why it ended, so there is no code to look up.
    const interrupted = error.exitCode === exitCodes.interrupted;
    process.stderr.write(`${interrupted ? '' : `${error.code}: `}${error.message}\n`);
    return interrupted ? (interruptedExitCode() ?? error.exitCode) : error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    `VERSEMI_INTERNAL: versemi has a defect; please report this with the command you ran.\n${visible(text)}\n`,
  );
  return 70;
}
