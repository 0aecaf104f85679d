// The CMake build of the tests, in build/native-tests: the kernels, their test programs (CTest), and an addon whose device
// `cuda` is the emulator. `node test/native-build.mjs` makes that addon alone and prints where it lies.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const nativeBuild = join(root, 'build', 'native-tests');
/** Built as `versemi`, like the real one. */
export const emulatedAddon = join(nativeBuild, 'versemi.node');

function run(command, args) {
  return spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
}

/** Why nothing can be built here, or null. */
export function missingTools() {
  if (run('cmake', ['--version']).status !== 0) return 'no CMake on this machine';
  return run(process.env.CXX ?? 'c++', ['--version']).status === 0 ? null : 'no C++ compiler on this machine';
}

/**
 * Configures and builds.
 * @param target everything where absent
 * @returns what went wrong, or null
 */
export function build(target) {
  // What cmake-js would set: the same rules build the addon, beside the tests and from the same objects.
  const require = createRequire(import.meta.url);
  const addon = [
    `-DCMAKE_JS_VERSION=${require('cmake-js/package.json').version}`,
    `-DCMAKE_JS_INC=${require('node-api-headers').include_dir}`,
  ];
  const settings = ['-DCMAKE_BUILD_TYPE=Release', '-DVERSEMI_BUILD_TESTS=ON', '-DVERSEMI_CUDA_EMULATED=ON', ...addon];
  const steps = [
    ['-S', '.', '-B', nativeBuild, ...settings],
    ['--build', nativeBuild, '-j', `${availableParallelism()}`, ...(target === undefined ? [] : ['--target', target])],
  ];
  for (const args of steps) {
    const result = run('cmake', args);
    if (result.status !== 0) return `${result.stdout}${result.stderr}`;
  }
  return null;
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const problem = missingTools() ?? build('versemi');
  if (problem !== null) console.error(problem);
  else console.log(emulatedAddon);
  process.exitCode = problem === null ? 0 : 1;
}
