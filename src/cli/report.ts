import { join } from 'node:path';
import type { Command } from 'commander';
import { writeRunReport } from '../reports/run-report.js';
import { addShared } from './options.js';
import { createTerminal } from './terminal.js';

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description('Write the report of a run or an evaluation as one HTML file that needs nothing else.')
    .argument('<folder>', 'folder of a run (versemi train --out) or of an evaluation (versemi evaluate --out)')
    .option('--compare <run...>', 'other runs to stand beside, e.g. a supervised baseline')
    .option('--title <text>', 'title of the page')
    .option('--out <file>', 'the page (default: report.html in the folder)')
    .addHelpText(
      'after',
      `
Examples:
  $ versemi report runs/first
  $ versemi report runs/semi --compare runs/supervised --out report.html`,
    );
  addShared(command, 'json', 'quiet').action(async (folder: string, options) => {
    const terminal = createTerminal(options);
    const file = options.out ?? join(folder, 'report.html');
    await writeRunReport(folder, file, {
      ...(options.compare === undefined ? {} : { compare: options.compare }),
      ...(options.title === undefined ? {} : { title: options.title }),
    });
    terminal.print(file);
    terminal.printJson({ report: file });
  });
}
