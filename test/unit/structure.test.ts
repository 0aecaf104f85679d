// The rules of CONTRIBUTING.md that a reader of one file cannot see: read off the sources themselves.
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix } from 'node:path';
import t from 'tap';
import { errorTable, exitCodes } from '../../src/errors.js';
import { packageRoot } from '../../src/root.js';

const read = (...path: string[]) => readFileSync(join(packageRoot, ...path), 'utf8');

/** Paths below a folder of the repository, with forward slashes. */
function filesIn(folder: string, ending: string): string[] {
  return readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => posix.join(folder, file.replaceAll('\\', '/')))
    .filter((file) => file.endsWith(ending) && !file.includes('node_modules'));
}

const doors = ['src/index.ts', 'src/browser.ts'];
const sources = filesIn('src', '.ts').filter((file) => !file.endsWith('.d.ts'));
/** The page, which stands above all of src. */
const pageSources = filesIn('app', '.ts');

/** What a file imports or exports from, types and dynamic imports included. */
const importPattern = /(?:\bfrom|\bimport|\bimport\s*\()\s*['"]([^'"]+)['"]/g;
const importsOf = (text: string) => [...text.matchAll(importPattern)].map(([, specifier]) => specifier!);

t.test('imports go one way', async (t) => {
  const order = /list, and a test fails on an arrow back:\s+`([^`]+)`/.exec(read('CONTRIBUTING.md'))![1]!.split(/\s+/);
  const layerOf = (file: string) => order.find((name) => file === `src/${name}.ts` || file.startsWith(`src/${name}/`));
  for (const name of order)
    t.ok(
      sources.some((file) => layerOf(file) === name),
      `${name}, listed in CONTRIBUTING.md, is there`,
    );
  let arrows = 0;
  for (const file of sources) {
    if (doors.includes(file)) continue;
    const from = layerOf(file);
    if (from === undefined) {
      t.fail(`${file} has no place in the list of CONTRIBUTING.md`);
      continue;
    }
    for (const specifier of importsOf(read(file))) {
      if (!specifier.startsWith('.')) continue;
      arrows++;
      const target = posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts');
      const to = layerOf(target);
      if (doors.includes(target)) t.fail(`${file} imports the door`);
      else if (to === undefined || order.indexOf(to) > order.indexOf(from))
        t.fail(`${file} imports ${target}: an arrow back`);
    }
  }
  t.ok(arrows > 300, `${arrows} imports were found`);
});

t.test('the page imports src, and nothing imports the page', async (t) => {
  const { devDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, unknown>>;
  let ofSource = 0;
  for (const file of pageSources)
    for (const specifier of importsOf(read(file))) {
      const target = posix.join('app', specifier).replace(/\.js$/, '.ts');
      if (!specifier.startsWith('.')) {
        const name = /^(?:@[\w.-]+\/)?[\w.-]+(?=\/|$)/.exec(specifier)?.[0] ?? specifier;
        t.ok(
          Object.hasOwn(devDependencies!, name),
          `${file}: ${specifier} is bundled from a package that is installed`,
        );
      } else if (target.startsWith('src/')) {
        ofSource++;
        t.notOk(doors.includes(target), `${file} imports what it needs, not the door`);
        t.ok(sources.includes(target), `${file}: ${target} is there`);
      } else t.ok(pageSources.includes(target), `${file}: ${target} is there`);
    }
  t.ok(ofSource > 30, `${ofSource} imports of src were found`);
  for (const file of sources)
    for (const specifier of importsOf(read(file)))
      t.notMatch(posix.join(posix.dirname(file), specifier), /^app\//, `${file} knows nothing of the page`);
});

t.test('what src imports by name is installed with the package, or carried inside', async (t) => {
  const { dependencies, imports } = JSON.parse(read('package.json')) as Record<string, Record<string, unknown>>;
  for (const file of sources)
    for (const specifier of importsOf(read(file))) {
      // versemi's own names stand in examples of docstrings.
      if (/^(\.|node:|versemi)/.test(specifier) || Object.hasOwn(imports!, specifier)) continue;
      const name = /^(?:@[\w.-]+\/)?[\w.-]+(?=\/|$)/.exec(specifier)?.[0];
      if (name === undefined) continue; // the word in a sentence
      const inExample = file === 'src/tfjs/index.ts' && name === '@tensorflow/tfjs-core';
      t.ok(Object.hasOwn(dependencies!, name) || inExample, `${file}: ${specifier} (src/third-party bundles packages)`);
    }
});

t.test('no file of src or of the page imports itself by a detour', async (t) => {
  const all = [...sources, ...pageSources];
  // Types too: who reads two files that need each other reads both before understanding one.
  const imports = new Map(
    all.map((file) => {
      const targets = importsOf(read(file)).filter((specifier) => specifier.startsWith('.'));
      return [file, targets.map((target) => posix.join(posix.dirname(file), target).replace(/\.js$/, '.ts'))];
    }),
  );
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    const begin = way.indexOf(file);
    if (begin >= 0) t.fail([...way.slice(begin), file].join(' -> '));
    if (begin >= 0 || done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...way, file]);
    done.add(file);
  };
  for (const file of all) visit(file, []);
  t.equal(done.size, all.length, 'every file was visited');
});

t.test('what a browser needs imports nothing of Node', async (t) => {
  const entries = [
    'browser',
    'environment',
    'wasm/host',
    'tfjs/devices/wasm-device',
    'tfjs/ops/index',
    'model/network',
    'inference/segment',
    'inference/predict',
    'inference/evaluate',
    'metrics/segmentation-metrics',
    'metrics/summary',
    'checkpoints/model-file',
    'datasets/nifti-read',
    'datasets/nifti-encode',
    'volume/orientation',
    'scans/canonical',
    'preprocessing/preprocess-case',
    'reports/overlay',
  ];
  const bare = new Set(builtinModules);
  // the compiled files: types are gone; a dynamic import is what happens later and elsewhere
  const compiled = new URL('../../src/', import.meta.url);
  for (const entry of entries) {
    const seen = new Map<string, string>([[`${entry}.js`, entry]]);
    for (const [file, path] of seen) {
      const text = readFileSync(new URL(file, compiled), 'utf8').replaceAll(/\bimport\s*\([^)]*\)/g, '');
      for (const specifier of importsOf(text)) {
        if (specifier.startsWith('.')) {
          const target = posix.join(posix.dirname(file), specifier);
          if (!seen.has(target)) seen.set(target, `${path} -> ${target}`);
        } else if (specifier.startsWith('node:') || bare.has(specifier)) t.fail(`${path} -> ${specifier}`);
      }
    }
    t.ok(seen.size > 0, `${entry}: ${seen.size} modules`);
  }
});

t.test('error codes: every one is used; the command line documents the exit codes', async (t) => {
  const text = sources
    // of errors.ts what follows the table
    .map((file) => (file === 'src/errors.ts' ? read(file).split('export type ErrorCode')[1]! : read(file)))
    .join('\n');
  for (const code of Object.keys(errorTable)) {
    // thrown or made somewhere: as an argument or chosen into one, not only asked for by isVersemiError
    const uses = text.replaceAll(/isVersemiError\([^)]*\)/g, '');
    t.match(uses, `'${code}'`, `${code} is used`);
  }
  const kinds = new Set(Object.values(errorTable).map(({ kind }) => kind));
  t.same(kinds, new Set(Object.keys(exitCodes)), 'every exit code belongs to an error');
  const help = /Exit codes: ([^.]*)\./.exec(read('src', 'cli', 'main.ts'))![1]!;
  const documented = help.split(',').map((part) => Number(/\d+/.exec(part)![0]));
  t.same(
    documented.sort((a, b) => a - b),
    [0, ...Object.values(exitCodes)].sort((a, b) => a - b),
  );
});
