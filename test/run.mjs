// Runs every test: the native ones (CTest) when there is a compiler, then all others, each a program with tap. Closes with one line of totals.
// `node test/run.mjs unit/nifti` runs only the tap files whose path contains one of the words.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Parser } from 'tap-parser';
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
      .map((file) => join('dist', 'test', file))
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .sort()
  );
}

/** Files that run at the same time. */
const jobs = 2;
/** What a file may take, s: tap's own limit inside it, and later a last one from outside, should it hear nothing any more. */
const [limitSeconds, lastLimitSeconds] = [600, 660];

/** Each file is a program that says by TAP what it found; a line for each, and all of what failed. */
async function tapTests() {
  const waiting = tapFiles();
  const next = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await tapTest(file);
  };
  await Promise.all(Array.from({ length: jobs }, next));
}

async function tapTest(file) {
  const start = performance.now();
  const child = spawn(process.execPath, [file], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAP_TIMEOUT: `${limitSeconds}` },
    timeout: lastLimitSeconds * 1000,
    killSignal: 'SIGKILL',
  });
  const said = [];
  child.stderr.on('data', (chunk) => said.push(chunk));
  const parser = new Parser();
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
  // What a killed file had started may hold its streams open for ever.
  child.on('exit', (_, signal) => {
    if (signal === null) return;
    setTimeout(() => {
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
      parser.end();
    }, 1000).unref();
  });
  const [failures, skips] = [[], new Set()];
  let [passed, skipped] = [0, 0];
  parser.on('pass', () => passed++);
  parser.on('skip', ({ name, skip }) => {
    skipped++;
    skips.add(typeof skip === 'string' ? skip : name);
  });
  parser.on('fail', (failure) => failures.push(failure));
  child.stdout.pipe(parser);
  const [end] = await Promise.all([ended, new Promise((resolve) => parser.on('complete', resolve))]);
  // A file that ends otherwise than by its own verdict, or of which nothing passed and nothing was skipped, did not run.
  const broken = (end !== 0 || !parser.results.ok || passed + skipped === 0) && failures.length === 0;
  const failed = failures.length + (broken ? 1 : 0);
  totals.passed += passed;
  totals.failed += failed;
  totals.skipped += skipped;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const counts = [`${passed} passed`, failed > 0 ? `${failed} failed` : '', skipped > 0 ? `${skipped} skipped` : ''];
  console.log(`${failed > 0 ? '✖' : '✓'} ${file}: ${counts.filter(Boolean).join(', ')}, ${seconds} s`);
  for (const reason of skips) console.log(`  skipped: ${reason}`);
  for (const failure of failures) console.log(describe(failure));
  if (failed === 0) return;
  for (const { tapError } of parser.results.failures) if (tapError) console.log(`  TAP: ${tapError}`);
  if (parser.results.bailout) console.log(`  gave up: ${parser.results.bailout}`);
  if (broken || end !== 1) console.log(`  ended by ${typeof end === 'number' ? 'exit code ' : ''}${end}`);
  const text = Buffer.concat(said).toString().trimEnd();
  if (text !== '') console.log(`  on standard error:\n${indented(text.split('\n').slice(-40).join('\n'))}`);
}

/** A failed assertion with all that tap says of it. */
function describe({ fullname, diag }) {
  const { at, ...rest } = diag ?? {};
  const place = at?.fileName === undefined ? '' : `${at.fileName}:${at.lineNumber}:${at.columnNumber}`;
  const facts = Object.entries(rest).map(([fact, value]) => {
    const text = shortened(typeof value === 'string' ? value.trimEnd() : JSON.stringify(value));
    return text.includes('\n') ? `${fact}:\n${indented(text)}` : `${fact}: ${text}`;
  });
  return [`  ✖ ${fullname}`, indented([place, ...facts].filter(Boolean).join('\n'))].join('\n');
}

/** A page with its programs says nothing that its beginning and end do not. */
function shortened(text) {
  return text.length <= 4000 ? text : `${text.slice(0, 3000)}\n[...]\n${text.slice(-1000)}`;
}

function indented(text) {
  return text.replaceAll(/^(?=.)/gm, '    ');
}

if (words.length === 0) nativeTests();
await tapTests();
if (totals.passed === 0) totals.failed++;
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed === 0 ? 0 : 1;
