// Runs every test: the native ones (CTest) when there is a compiler, then all others (tap). Closes with one line of totals.
// `node test/run.mjs unit/nifti` runs only the tap files whose path contains one of the words.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { build, missingTools, nativeBuild } from './native-build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);
const totals = { passed: 0, failed: 0, skipped: 0 };

function run(command, args) {
  return spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
}

function nativeTests() {
  const missing = missingTools();
  if (missing !== null) {
    console.log(`native tests: skipped, ${missing}`);
    totals.skipped++;
    return;
  }
  const problem = build();
  if (problem !== null) {
    console.log(`${problem}\nnative tests: the build failed`);
    totals.failed++;
    return;
  }
  const result = run('ctest', ['--test-dir', nativeBuild, '--output-on-failure']);
  console.log(result.stdout.trim());
  const summary = /(\d+) tests failed out of (\d+)/.exec(result.stdout);
  const failed = summary ? Number(summary[1]) : 1;
  totals.failed += failed;
  totals.passed += summary ? Number(summary[2]) - failed : 0;
}

function tapFiles() {
  const folder = join(root, 'dist', 'test');
  return (
    readdirSync(folder, { recursive: true })
      .filter((file) => file.endsWith('.test.js'))
      // A compiled test whose source is gone must not run.
      .filter((file) => existsSync(join(root, 'test', file.replace(/\.js$/, '.ts'))))
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .map((file) => join('dist', 'test', file))
      .sort()
  );
}

/** So many files keep two cores busy until the end of a call of tap. */
const manyFiles = 20;

/**
 * A call of tap for each folder of many files, and one for all others together, since a folder of one file leaves a core idle.
 * Whatever ends one call says so, and leaves the other calls alone.
 */
async function tapTests() {
  const folders = new Map();
  for (const file of tapFiles()) {
    const folder = file.split(sep)[2];
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  const small = new Map([...folders].filter(([, files]) => files.length <= manyFiles));
  for (const [folder, files] of folders) if (!small.has(folder)) await tapCall(folder, files);
  if (small.size > 0) await tapCall([...small.keys()].join(', '), [...small.values()].flat());
}

async function tapCall(name, files) {
  const start = performance.now();
  const child = spawn('npx', ['tap', '--reporter=terse', ...files], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    if (process.stdout.isTTY) process.stdout.write(chunk);
  }
  const { code, signal } = await ended;
  // Not a terminal: leave out the progress frames that the reporter redraws.
  if (!process.stdout.isTTY)
    console.log(
      stripVTControlCharacters(text)
        .replaceAll(/^(Asserts|Suites): .*\n+/gm, '')
        .trim(),
    );
  const summary = /# \{ total: (\d+)(?:, pass: (\d+))?(?:, fail: (\d+))?(?:, skip: (\d+))?(?:, todo: (\d+))? \}/.exec(
    text,
  );
  const [passed, failed, skipped] = [2, 3, 4].map((group) => Number(summary?.[group] ?? 0));
  totals.passed += passed;
  totals.skipped += skipped;
  // A call of which nothing passed and nothing was skipped did not run.
  totals.failed += failed === 0 && (code !== 0 || passed + skipped === 0) ? 1 : failed;
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(`${name}: ${files.length} files, ${seconds} s${code === 0 ? '' : `, tap ended by ${signal ?? code}`}`);
  if (summary === null) {
    const results = join(root, '.tap', 'test-results');
    const silent = files.filter((file) => !existsSync(join(results, `${file}.tap`)));
    console.log(`${name}: tap gave no totals; files that did not end: ${silent.join(', ') || 'none'}`);
  }
}

if (words.length === 0) nativeTests();
await tapTests();
if (totals.passed === 0) totals.failed++;
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed === 0 ? 0 : 1;
