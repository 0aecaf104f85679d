// The tables of docs/results.md are what `versemi report` says of the cases in docs/results.csv.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  type ComparedMethod,
  runFolderOf,
  summarizeComparison,
  writeComparison,
} from '../../src/reports/comparison.js';
import { csvRows } from '../../src/reports/csv.js';
import { packageRoot } from '../../src/root.js';

const read = (file: string) => readFileSync(join(packageRoot, 'docs', file), 'utf8');
const document = read('results.md');

const [columns, ...cells] = csvRows(read('results.csv'), 'results.csv');
const rows = cells.map((row) => {
  const of = Object.fromEntries(columns!.map((column, i) => [column, row[i]!]));
  const { dataset, task, id } = of;
  return { run: { name: of.method!, seed: Number(of.seed) }, dataset, task, id, dice: Number(of.dice) };
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
 * @param less the method that the last column's is compared with; absent where no column holds differences
 */
async function check(t: Test, heading: string, { suffix = '', less = '', notKept = [] as string[] }) {
  const { header, body } = tableBelow(heading);
  const names = header.slice(1, less === '' ? undefined : -1);
  const known = names.filter((name) => !notKept.includes(name)).map((name) => name + suffix);
  const kept = rows.filter(({ run }) => known.includes(run.name));
  const folder = t.testdir();
  const runs = new Map(kept.map(({ run }) => [runFolderOf(folder, run), run]));
  for (const [path, { name, seed }] of runs) {
    const cases = kept.filter(({ run }) => run.name === name && run.seed === seed);
    const evaluation = { format: 1, model: 'm', device: 'd', created: '2026-12-01T00:00:00.000Z', summary: {}, cases };
    mkdirSync(join(path, 'evaluation'), { recursive: true });
    writeFileSync(join(path, 'evaluation', 'evaluation.json'), JSON.stringify(evaluation));
  }
  await writeComparison(folder, [...runs.values()]);
  const { tasks, methods } = summarizeComparison(folder, less === '' ? undefined : less + suffix);
  const of = (name: string) => methods.find((one) => one.name === name + suffix)!;
  const seedsRow = body.find(([first]) => first === 'seeds');
  const means = body.filter((row) => row !== seedsRow);
  t.equal(means.length, tasks.length + 1, 'each task and the mean of them');
  for (const [column, name] of names.entries()) {
    if (notKept.includes(name)) continue;
    const seeds = (seedsRow?.[column + 1] ?? header[0]!.replace(/.*seeds /, '')).split(', ').map(Number);
    t.same(of(name).seeds, seeds, `${name}: seeds`);
  }
  for (const row of means) {
    const task = tasks.find(
      (one) => one.replace('left-ventricle-', '') === row[0]!.replace(/ \(.*/, '').replaceAll(' ', '-'),
    );
    t.equal(task === undefined, row[0] === 'mean of the six', row[0]!);
    for (const [column, name] of names.entries()) {
      if (notKept.includes(name)) continue;
      const { mean, deviation } = task === undefined ? of(name).overall : of(name).perTask[task]!;
      says(t, row[column + 1]!, deviation === null ? [mean] : [mean, deviation], `${row[0]}, ${name}`);
    }
    if (less === '') continue;
    const difference: ComparedMethod['difference'] = of(names.at(-1)!).difference;
    const { mean, low, high } = task === undefined ? difference!.overall : difference!.perTask[task]!;
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
    notKept: ['labelled cases and mixes of them'],
  }),
);
