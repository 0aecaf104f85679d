// The native tests in builds that users do not run, and on processors that this machine does not have:
//   address   AddressSanitizer and UndefinedBehaviorSanitizer, every instruction set
//   thread    ThreadSanitizer; the kernels of the baseline, which share the thread pool with all others
//   arm64     the addon's build for Linux arm64, under qemu-aarch64
//   win32     the addon's build for Windows x64, under Wine
// `node test/native-variants.mjs [NAME ...]` builds and runs all or some, with the short lists of cases (VERSEMI_TEST_CASES=few);
// a variant whose programs are missing is skipped with the reason.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildFolder, configuration, missingCompiler } from '../native/prebuilds.mjs';
import { missingTools } from './native-build.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const sanitized = (name, ...settings) => ({
  folder: join(root, 'build', `native-${name}`),
  missing: missingTools,
  configure: (folder) => ['-S', '.', '-B', folder, '-DVERSEMI_CUDA=OFF', ...settings],
});

/**
 * The build of an addon that the package brings, and in it the tests, which CTest starts by the emulator. The command
 * `start` comes before; what it leaves in the background must not hold this program's pipes, so it prints nothing.
 */
const emulated = (platform, emulator, debian, ...settings) => ({
  folder: buildFolder(platform),
  missing: () =>
    missingCompiler(platform) ??
    (run(emulator[0], ['--version']).status === 0
      ? null
      : `${emulator[0]} was not found (Debian: apt-get install ${debian})`),
  configure: () => [...configuration(platform), `-DCMAKE_CROSSCOMPILING_EMULATOR=${emulator.join(';')}`, ...settings],
});

const variants = {
  address: sanitized('address', '-DVERSEMI_SANITIZE=address,undefined'),
  thread: sanitized('thread', '-DVERSEMI_SANITIZE=thread', '-DVERSEMI_WIDE_SETS=OFF'),
  arm64: emulated('linux-arm64', ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'], 'qemu-user'),
  // The programs carry their libraries, as the addon does.
  win32: {
    ...emulated('win32-x64', ['wine'], 'wine64', '-DCMAKE_EXE_LINKER_FLAGS=-static'),
    // Else each program starts Wine's server, and the server ends with the program: the next program may find the server
    // half ended, and then fails without a word. This server ends by itself a minute after the last program.
    start: ['sh', '-c', 'mkdir -p "$WINEPREFIX"; wineserver -k; wineserver -p60 && wine wineboot --init'],
  },
};

function run(command, args, options) {
  return spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
    // Wine keeps its files in the build folder and says nothing of its own.
    env: {
      ...process.env,
      VERSEMI_TEST_CASES: 'few',
      WINEPREFIX: join(root, 'build', 'wine'),
      WINEDEBUG: '-all',
    },
  });
}

/** @returns 'passed', 'failed' or 'skipped' */
function test(name) {
  const { folder, missing, configure, start } = variants[name];
  const reason = missing();
  if (reason !== null) {
    console.log(`native tests, ${name}: skipped, ${reason}`);
    return 'skipped';
  }
  const jobs = `${availableParallelism()}`;
  const steps = [
    ['cmake', ...configure(folder), '-DVERSEMI_BUILD_TESTS=ON'],
    ['cmake', '--build', folder, '-j', jobs],
    ...(start ? [start] : []),
    ['ctest', '--test-dir', folder, '--output-on-failure', '--timeout', '600', '-j', jobs],
  ];
  const seconds = {};
  for (const step of steps) {
    const [command, ...args] = step;
    const began = performance.now();
    const { status, stdout, stderr, error } = run(command, args, step === start ? { stdio: 'ignore' } : {});
    seconds[command] = ((performance.now() - began) / 1000).toFixed(0);
    if (status !== 0) {
      console.log(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`.trimEnd().split('\n').slice(-60).join('\n'));
      console.log(`${step.join(' ')}: exit status ${status}`);
      console.log(`native tests, ${name}: failed`);
      return 'failed';
    }
    if (command === 'ctest')
      console.log(
        stdout
          .trim()
          .split('\n')
          .filter((line) => /Test +#|tests passed/.test(line))
          .join('\n'),
      );
  }
  console.log(`native tests, ${name}: passed (${seconds.cmake} s to build, ${seconds.ctest} s to run)`);
  return 'passed';
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(variants, name));
if (unknown.length > 0) {
  console.error(`no such variant: ${unknown.join(', ')}; there are ${Object.keys(variants).join(', ')}`);
  process.exit(1);
}
const results = (asked.length > 0 ? asked : Object.keys(variants)).map(test);
process.exitCode = results.includes('failed') ? 1 : 0;
