// The tables of docs/results.md are what `versemi report` says of the cases in docs/results.csv.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runFolderOf, summarizeComparison, writeComparison } from '../../src/reports/comparison.js';
import { csvRows } from '../../src/reports/csv.js';
import { packageRoot } from '../../src/root.js';
import { writeScores } from './reports-support.js';

const read = (file: string) => readFileSync(join(packageRoot, 'docs', file), 'utf8');
const document = read('results.md');

const [columns, ...cells] = csvRows(read('results.csv'), 'results.csv');
const rows = cells.map((row) => {
  const of = (column: string) => row[columns!.indexOf(column)]!;
  const scored = { dataset: of('dataset'), task: of('task'), id: of('id'), dice: Number(of('dice')) };
  return { run: { name: of('method'), seed: Number(of('seed')) }, ...scored };
});

/** Cells of the first table below a heading, without marks. */
function tableBelow(heading: string): { header: string[]; body: string[][] } {
  const at = document.indexOf(`\n${heading}\n`);
  const lines = document.slice(at).split('\n');
  const first = lines.findIndex((line) => line.startsWith('|'));
  const length = lines.slice(first).findIndex((line) => !line.startsWith('|'));
  const [header, , ...body] = lines.slice(first, first + length).map((line) =>
    line
      .replaceAll('**', '')
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  return { header: header!, body };
}

const numbers = (cell: string) => [...cell.matchAll(/[+−]?\d\.\d+/g)].map(([text]) => Number(text.replace('−', '-')));

/** What a cell holds may be off by half of its last digit, and by the rounding of each case. */
function says(t: Test, cell: string, expected: readonly number[], what: string) {
  const found = numbers(cell);
  const same = found.length === expected.length && found.every((one, i) => Math.abs(one - expected[i]!) < 0.0006);
  t.ok(same, `${what}: ${cell} is ${expected.map((one) => one.toFixed(4)).join(', ')}`);
}

/**
 * @param suffix what the names of the methods have in the file, and the columns have not
 * @param less the method that the last column takes from the one before it; absent where no column holds differences
 * @param notKept the method whose cases the file lacks
 */
async function check(t: Test, heading: string, { suffix = '', less = '', notKept = '' }) {
  const { header, body } = tableBelow(heading);
  const names = header.slice(0, less === '' ? undefined : -1);
  /** Columns of methods whose cases are in the file. */
  const kept = [...names.entries()].slice(1).filter(([, name]) => name !== notKept);
  const scores = rows.filter(({ run }) => kept.some(([, name]) => name + suffix === run.name));
  const folder = t.testdir();
  const runs = [...new Map(scores.map(({ run }) => [runFolderOf(folder, run), run])).values()];
  for (const run of runs)
    writeScores(
      folder,
      run,
      scores.filter(({ run: { name, seed } }) => name === run.name && seed === run.seed),
    );
  await writeComparison(folder, runs);
  const { tasks, methods } = summarizeComparison(folder, less === '' ? undefined : less + suffix);
  const of = (name: string) => methods.find((one) => one.name === name + suffix)!;
  const seedsRow = body.find(([first]) => first === 'seeds');
  const means = body.filter((row) => row !== seedsRow);
  t.equal(means.length, tasks.length + 1, 'each task and the mean of them');
  for (const [column, name] of kept) {
    const seeds = (seedsRow?.[column] ?? header[0]!.replace(/.*seeds /, '')).split(', ').map(Number);
    t.same(of(name).seeds, seeds, `${name}: seeds`);
  }
  for (const row of means) {
    const task = tasks.find(
      (one) => one.replace('left-ventricle-', '') === row[0]!.replace(/ \(.*/, '').replaceAll(' ', '-'),
    );
    t.equal(task === undefined, row[0] === 'mean of the six', row[0]!);
    for (const [column, name] of kept) {
      const { mean, deviation } = task === undefined ? of(name).overall! : of(name).perTask[task]!;
      says(t, row[column]!, deviation === null ? [mean] : [mean, deviation], `${row[0]}, ${name}`);
    }
    if (less === '') continue;
    const difference = of(names.at(-1)!).difference!;
    const { mean, low, high } = task === undefined ? difference.overall : difference.perTask[task]!;
    says(t, row.at(-1)!, [mean, low, high], `${row[0]}, difference`);
  }
}

t.test('unlabelled scans', (t) =>
  check(t, '## Do unlabelled scans pay?', { less: 'labelled cases and mixes of them' }),
);

t.test('other methods', (t) => check(t, '### Beside other methods', { less: 'BCP' }));

t.test('narrower intensities', (t) =>
  check(t, '### With narrower intensities', {
    suffix: '; narrower intensities',
    notKept: 'labelled cases and mixes of them',
  }),
);
