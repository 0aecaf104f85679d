import { join } from 'node:path';
import { type Command, Option } from 'commander';
import {
  type ComparisonSummary,
  columnsOf,
  isComparison,
  type OverSeeds,
  summarizeComparison,
} from '../reports/comparison.js';
import { writeComparisonReport } from '../reports/comparison-report.js';
import { signed } from '../reports/page.js';
import { type ReportProgress, writeRunReport } from '../reports/run-report.js';
import { addShared } from './options.js';
import { createTerminal, formatTable, progressBar } from './terminal.js';

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description(
      'Write the report of a run, an evaluation or a comparison as one HTML file that needs nothing else: plots, cases in three planes, tables.',
    )
    .argument(
      '<folder>',
      'folder of a run (versemi train), an evaluation (versemi evaluate) or a comparison (versemi compare)',
    )
    .option('--compare <run...>', 'of a run: others to stand beside')
    .addOption(
      new Option(
        '--reference <name>',
        'of a comparison: the method that the others are compared with (default: the first)',
      ),
    )
    .option('--title <text>', 'title of the page')
    .option('--no-pictures', 'leave out pictures and slices of scans, so that the page can be given to others')
    .option('--out <file>', 'the page (default: report.html in the folder)')
    .addHelpText(
      'after',
      `
Examples:
  $ versemi report runs/first
  $ versemi report runs/semi --compare runs/supervised --out report.html
  $ versemi report runs/compared --reference supervised-cutmix

Cases can be looked at where their evaluation has the folder slices (versemi evaluate --out, versemi compare).
What the page holds and its keys: docs/report.md`,
    );
  addShared(command, 'json', 'quiet').action(async (folder: string, options) => {
    const terminal = createTerminal(options);
    const file = options.out ?? join(folder, 'report.html');
    const onProgress = ({ part, name, index, total }: ReportProgress) =>
      terminal.status(
        `${progressBar(index / total)} ${index} of ${total} ${part === 'run' ? 'runs' : 'cases'}, ${name}`,
      );
    const page = {
      onProgress,
      pictures: options.pictures,
      ...(options.title === undefined ? {} : { title: options.title }),
    };
    if (isComparison(folder)) {
      const summary = summarizeComparison(folder, options.reference);
      await writeComparisonReport(folder, summary, file, page);
      terminal.print(`${comparisonTables(summary)}\n${file}`);
      terminal.printJson({ report: file, ...summary });
      return;
    }
    await writeRunReport(folder, file, {
      ...(options.compare === undefined ? {} : { compare: options.compare }),
      ...page,
    });
    terminal.print(file);
    terminal.printJson({ report: file });
  });
}

/** Mean Dice of each method, and the differences from the method that they are compared with. */
export function comparisonTables({ tasks, reference, methods, unfinished }: ComparisonSummary): string {
  const columns = [...tasks, 'mean'];
  const means = formatTable(
    ['method', 'seeds', ...columns],
    methods.map((method) => [
      method.name,
      String(method.seeds.length),
      ...columnsOf(tasks, method).map((value) => (value === undefined ? '–' : overSeedsText(value))),
    ]),
  );
  const compared = methods.flatMap(({ name, difference }) => (difference === undefined ? [] : [{ name, difference }]));
  const differences = formatTable(
    [`less ${reference}`, 'seeds', ...columns],
    compared.map(({ name, difference }) => [
      name,
      difference.seeds.join(', '),
      ...columnsOf(tasks, difference).map((one) =>
        one === undefined ? '–' : `${signed(one.mean)} [${signed(one.low)}, ${signed(one.high)}]`,
      ),
    ]),
  );
  const left = unfinished.map(({ name, seed }) => `${name} seed ${seed}`);
  return [
    `Mean Dice on the validation cases, ± standard deviation over seeds\n${means}`,
    ...(compared.length === 0
      ? []
      : [
          `Paired differences, the mean over the seeds, cases and tasks that both have, [95 % bootstrap interval over cases]\n${differences}`,
        ]),
    ...(left.length === 0 ? [] : [`Not finished: ${left.join(', ')}`]),
  ].join('\n\n');
}

function overSeedsText({ mean, deviation }: OverSeeds): string {
  return deviation === null ? mean.toFixed(3) : `${mean.toFixed(3)} ± ${deviation.toFixed(3)}`;
}
