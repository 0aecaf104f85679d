import type { Command } from 'commander';
import { VersemiError } from '../errors.js';
import { type CaseResult, runSelftest } from '../tfjs/selftest/index.js';
import { chooseDevice } from './device.js';
import { addShared } from './options.js';
import { createTerminal } from './terminal.js';

export function addSelftest(program: Command): void {
  const command = program
    .command('selftest')
    .description('Check every kernel of a device on this machine against plain arithmetic.')
    .addHelpText(
      'after',
      `
Examples:
  $ versemi selftest
  $ versemi selftest --device wasm --json
  $ versemi selftest --exact
  $ versemi selftest --device cpu --every-row
  $ versemi selftest --device cuda --precision tf32`,
    );
  command.option(
    '--every-row',
    'check every row of the kernel table that takes a case, not only the one that is chosen',
  );
  addShared(command, 'device', 'threads', 'exact', 'precision', 'json', 'quiet').action(async (options) => {
    const terminal = createTerminal(options);
    const selected = await chooseDevice(options, terminal);
    const results: CaseResult[] = [];
    for await (const result of runSelftest(selected, options)) {
      results.push(result);
      terminal.status(`${results.length} cases, ${result.name}`);
      if (!result.ok) terminal.note(`FAILED ${result.name}: ${result.detail}`);
    }
    const failed = results.filter(({ ok }) => !ok);
    const rows = countByRow(results);
    for (const [row, { passed, failed }] of Object.entries(rows))
      terminal.print(`${row}: ${passed} passed, ${failed} failed`);
    terminal.print(`${selected.device.description}: ${results.length - failed.length} passed, ${failed.length} failed`);
    terminal.printJson({
      device: selected.device.description,
      settings: selected.settings,
      passed: results.length - failed.length,
      failed: failed.length,
      ...(options.everyRow ? { rows } : {}),
      results,
    });
    if (failed.length > 0) {
      throw new VersemiError('KERNEL_FAILED', {
        field: selected.device.name,
        expected: 'every case to pass',
        found: `${failed.length} of ${results.length} that do not: ${failed
          .slice(0, 3)
          .map(({ name }) => name)
          .join(', ')}`,
        remedy: 'Use another device, and report this output.',
      });
    }
  });
}

interface RowCount {
  passed: number;
  failed: number;
}

function countByRow(results: readonly CaseResult[]): Record<string, RowCount> {
  const rows: Record<string, RowCount> = {};
  for (const { row, ok } of results) {
    if (row === undefined) continue;
    rows[row] ??= { passed: 0, failed: 0 };
    const count = rows[row];
    if (ok) count.passed++;
    else count.failed++;
  }
  return rows;
}
