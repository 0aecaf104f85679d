import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import { type MergedCase, mergeEvaluations, mergeInputs, mergeManifests, volumesOf } from '../cohort/merge.js';
import { exitCodes } from '../errors.js';
import { someOf } from '../list-text.js';
import { csvText } from '../reports/csv.js';
import { evaluationFileName, writeEvaluation } from '../reports/evaluation-folder.js';
import { summaryTable } from './evaluate-cases.js';
import { addShared } from './options.js';
import { volumesFile, writeVolumes } from './predict-volumes.js';
import { createTerminal, formatDuration, formatTable } from './terminal.js';

export function addMerge(program: Command): void {
  const command = program
    .command('merge')
    .description('Join the parts of a cohort: manifests into one table, evaluations into one evaluation.')
    .argument(
      '<parts...>',
      'manifests (.jsonl), evaluations (.json), or folders that hold files of parts (NAME-1-of-8.jsonl, evaluation-1-of-8.json)',
    )
    .requiredOption('--out <folder>', `where ${tableName}, ${evaluationFileName} and cases.csv go`)
    .addOption(
      new Option(
        '--volumes <file>',
        'manifests of predict: write the volumes of all parts to FILE.csv or FILE.json; for both, give it twice',
      ).argParser(volumesFile),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ versemi merge out --out out
  $ versemi merge manifest-*.jsonl --out table --volumes table/volumes.csv
  $ versemi merge scores --out scores && versemi report scores

Parts that are missing, that are there twice, or that are of other cases or options are refused. A case that failed is in the table;
the exit code is then 3.`,
    );
  addShared(command, 'json', 'quiet').action(async (paths: string[], options) => {
    const terminal = createTerminal(options);
    const { manifests, evaluations } = mergeInputs(paths);
    const cases = mergeManifests(manifests);
    const evaluation = evaluations.length === 0 ? undefined : mergeEvaluations(evaluations);
    const volumes = options.volumes === undefined ? [] : volumesOf(cases);
    const table = join(options.out, tableName);
    if (manifests.length > 0) {
      await writeFileAtomic(table, csvOf(cases));
      terminal.print(`${stateTable(cases)}\n${table}`);
      for (const text of differences(cases)) terminal.note(text);
    }
    for (const file of options.volumes ?? []) {
      await writeVolumes([file], volumes);
      terminal.print(file);
    }
    if (evaluation !== undefined) {
      await writeEvaluation(options.out, evaluation);
      terminal.print(`${summaryTable(evaluation.summary)}\n${join(options.out, evaluationFileName)}`);
    }
    const open = cases.filter(({ state }) => state !== 'done');
    terminal.printJson({
      ...(manifests.length === 0 ? {} : { table, states: statesOf(cases) }),
      ...(open.length === 0
        ? {}
        : { notDone: open.map(({ key, state, line }) => ({ key, state, error: line?.error })) }),
      ...(evaluation === undefined ? {} : { evaluation }),
    });
    if (open.length === 0 && evaluation?.failures === undefined) return;
    process.exitCode = exitCodes.input;
    if (open.length > 0) {
      const names = open.map(({ key, state }) => `${key} (${state})`);
      terminal.note(
        `${open.length} of ${cases.length} cases are not done: ${someOf(names, mostNamed)}. The commands of their parts, run again, do what is missing.`,
      );
    }
  });
}

const tableName = 'cohort.csv';
/** Cases that a sentence names. */
const mostNamed = 10;

/** One row per case. */
function csvOf(cases: readonly MergedCase[]): string {
  const head = ['case', 'state', 'error', 'seconds', 'peakMemoryBytes', 'attempt', 'device', 'versemi', 'node'];
  const rows = cases.map(({ key, state, line }) => [
    ...[key, state, line?.error?.code ?? '', line?.seconds ?? '', line?.peakMemoryBytes ?? '', line?.attempt ?? ''],
    ...[line?.device ?? '', line?.versions.versemi ?? '', line?.versions.node ?? ''],
    ...[line?.input.files.join('; ') ?? '', line?.input.sha256 ?? ''],
    ...[line?.outputs.map(({ file }) => file).join('; ') ?? '', line?.error?.message ?? ''],
  ]);
  return csvText([[...head, 'input', 'sha256', 'outputs', 'message'], ...rows]);
}

function statesOf(cases: readonly MergedCase[]): Record<MergedCase['state'], number> {
  const count = (state: MergedCase['state']) => cases.filter((one) => one.state === state).length;
  return { done: count('done'), failed: count('failed'), unfinished: count('unfinished'), missing: count('missing') };
}

/** Per manifest: how many cases are in which state, and what they took. */
function stateTable(cases: readonly MergedCase[]): string {
  const manifests = [...new Set(cases.map(({ manifest }) => manifest))].sort((a, b) =>
    a.localeCompare(b, 'en', { numeric: true }),
  );
  return formatTable(
    ['manifest', 'cases', 'done', 'failed', 'unfinished', 'missing', 'time', 'most memory (MB)'],
    manifests.map((manifest) => {
      const mine = cases.filter((one) => one.manifest === manifest);
      const { done, failed, unfinished, missing } = statesOf(mine);
      const seconds = mine.reduce((sum, { line }) => sum + (line?.seconds ?? 0), 0);
      const bytes = mine.reduce((most, { line }) => Math.max(most, line?.peakMemoryBytes ?? 0), 0);
      return [
        ...[manifest, ...[mine.length, done, failed, unfinished, missing].map(String)],
        ...[formatDuration(seconds), String(Math.round(bytes / 1e6))],
      ];
    }),
  );
}

/** What a person should know before outputs of different parts are compared with each other. */
function differences(cases: readonly MergedCase[]): string[] {
  const lines = cases.flatMap(({ line }) => (line?.state === 'done' ? [line] : []));
  const several = (what: string, values: readonly string[]) => {
    const unique = [...new Set(values)];
    return unique.length < 2 ? [] : [`Made with ${unique.length} ${what}: ${unique.slice(0, mostNamed).join('; ')}.`];
  };
  return [
    ...several(
      'versions',
      lines.map(({ versions }) => `versemi ${versions.versemi}, Node ${versions.node}`),
    ),
    ...several(
      'devices',
      lines.map(({ device }) => device),
    ),
  ];
}
