// Builds the native addon with cmake-js: package.json's "install" script, and `versemi build-addon`. Without CMake, a C++ compiler
// or cmake-js and node-addon-api (npm packages that a clone has and an installed package has not) it says what is missing, what that
// means and how to get it, and succeeds: WebAssembly serves. Downloads nothing: the Node-API headers come from the npm package
// node-api-headers (a dependency of cmake-js, chosen by "binary.napi_versions" in package.json).
//   VERSEMI_SKIP_ADDON=1     do not build
//   VERSEMI_CUDA=0           leave the CUDA device out where nvcc is found
//   VERSEMI_CUDA_ARCHITECTURES=all   build it for every architecture; or a list such as 80-real;90a-real (default: that of the
//                            GPU found, else 80 with PTX)
//   VERSEMI_BUILD_ADDON=1    build it even where the package brings one for this system (see prebuilds.mjs)
//   VERSEMI_REQUIRE_ADDON=1  fail (exit 1, with the end of the compiler's output) if the addon cannot be built

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(root, 'build', 'Release', 'versemi.node');
/** The one that the package brings for this system, where it does. */
const prebuilt = join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'versemi.node');
/** With what the addon was built: another choice is another addon. */
const settingsFile = join(root, 'build', 'versemi-settings.json');
const architectures = process.env.VERSEMI_CUDA_ARCHITECTURES ?? '';
const cudaChoice = process.env.VERSEMI_CUDA === '0' ? 'OFF' : 'AUTO';
const settings = JSON.stringify({ cuda: cudaChoice, architectures });
const packages = {
  linux:
    'a C++17 compiler, make and CMake 3.18 or newer (Debian, Ubuntu: apt-get install g++ make cmake; Fedora: dnf install gcc-c++ make cmake)',
  darwin: 'the Xcode command line tools (xcode-select --install) and CMake 3.18 or newer (brew install cmake)',
  win32: 'Visual Studio Build Tools with the C++ workload and CMake 3.18 or newer',
};

function isSet(name) {
  return ![undefined, '', '0'].includes(process.env[name]);
}

function newestSource() {
  const files = readdirSync(join(root, 'native'), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(cpp|h|cu|cuh|txt|cmake)$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  return Math.max(...[...files, join(root, 'CMakeLists.txt')].map((file) => statSync(file).mtimeMs));
}

/** What the addon says of itself, from a process of its own: a fault in it must not take this one along. */
function describeAddon(file = target) {
  const script =
    'const a=require(process.argv[1]);const d=a.createDevice({});console.log(d.describe().description);d.dispose()';
  return spawnSync(process.execPath, ['-e', script, file], { encoding: 'utf8' });
}

function works(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** The npm packages that only a build needs, as far as they are not beside this package or above it. */
function missingPackages() {
  const require = createRequire(import.meta.url);
  const { devDependencies } = require('../package.json');
  return ['cmake-js', 'node-addon-api']
    .filter((name) => {
      try {
        require.resolve(`${name}/package.json`);
        return false;
      } catch {
        return true;
      }
    })
    .map((name) => `${name}@${/\d+/.exec(devDependencies[name])[0]}`);
}

/** Where an installed package is not a person's own, as one that an administrator has installed. */
function isReadOnly() {
  try {
    accessSync(root, constants.W_OK);
    return false;
  } catch {
    return true;
  }
}

/** Why no build can be tried, or null. */
function missing() {
  if (!existsSync(join(root, 'CMakeLists.txt'))) return 'CMakeLists.txt is not part of this package';
  if (isReadOnly()) return `the folder ${root} cannot be written`;
  if (!works('cmake')) return 'CMake was not found';
  if (process.platform === 'win32') return null; // cmake-js looks for Visual Studio
  if (process.env.CXX)
    return works(process.env.CXX.split(' ')[0]) ? null : `the compiler CXX=${process.env.CXX} does not work`;
  if (!['c++', 'g++', 'clang++'].some(works)) return 'no C++ compiler was found (c++, g++ or clang++)';
  if (!['make', 'gmake', 'ninja'].some(works)) return 'neither make nor ninja was found';
  return null;
}

function cmakeJs(command, cuda) {
  const program = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const options = ['--directory', root, '--out', join(root, 'build'), '--config', 'Release', '--log-level', 'error'];
  options.push(`--CDVERSEMI_CUDA=${cuda}`);
  options.push(`--CDVERSEMI_CUDA_ARCHITECTURES=${architectures}`);
  const result = spawnSync(
    process.execPath,
    [program, command, ...options, '--parallel', `${availableParallelism()}`],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    },
  );
  return { ok: result.status === 0, output: `${result.stdout}${result.stderr}` };
}

/** The first lines in which a compiler or CMake names an error, or the end where there are none. */
function essence(output) {
  const lines = output.trimEnd().split('\n');
  const errors = lines.filter((line) => /\b(error|fatal)\b/i.test(line) && !line.includes('OMG'));
  const compiler = errors.filter((line) => /\b(error|fatal)( error)?:/.test(line));
  const best = [...new Set(compiler.length > 0 ? compiler : errors)];
  return best.length > 0 ? best.slice(0, 3) : lines.slice(-3);
}

function giveUp(reason, remedy, output = '') {
  const required = isSet('VERSEMI_REQUIRE_ADDON');
  const lines = required ? output.trimEnd().split('\n').slice(-40) : essence(output);
  if (output !== '') console.error(lines.map((line) => `  ${line.trim()}`).join('\n'));
  console.error(`versemi: the native addon was not built: ${reason}.`);
  if (!required)
    console.error(
      'versemi: everything works without it on WebAssembly (--device wasm), training at a fraction of the speed.',
    );
  console.error(
    `versemi: to get it, ${remedy}, then run: ${isClone ? 'node native/install.mjs' : 'npx versemi build-addon'}`,
  );
  process.exit(required ? 1 : 0);
}

/** An installed package is built once: what a second build would use again (objects, a library, files of CMake) goes. */
function leaveAddonAlone() {
  const kept = [settingsFile, join(root, 'build', 'Release')];
  for (const name of readdirSync(join(root, 'build'))) {
    const path = join(root, 'build', name);
    if (!kept.includes(path)) rmSync(path, { recursive: true, force: true });
  }
  for (const name of readdirSync(join(root, 'build', 'Release')))
    if (!name.endsWith('.node')) rmSync(join(root, 'build', 'Release', name), { recursive: true, force: true });
}

// In a clone that has made prebuilds the sources count: they may be newer.
const isClone = existsSync(join(root, 'native', 'test'));
const installCompiler = `install ${packages[process.platform] ?? packages.linux}`;
if (isSet('VERSEMI_SKIP_ADDON')) giveUp('VERSEMI_SKIP_ADDON is set', 'unset VERSEMI_SKIP_ADDON');
if (existsSync(prebuilt) && !isClone && !isSet('VERSEMI_BUILD_ADDON')) {
  const description = describeAddon(prebuilt);
  if (description.status === 0) {
    console.log(`versemi: native addon of the package: ${description.stdout.trim()}`);
    console.log('versemi: to build one from source instead (CUDA needs that): npx versemi build-addon');
    process.exit(0);
  }
}
const reason = missing();
if (reason !== null) giveUp(reason, isReadOnly() ? 'take the rights of its owner' : installCompiler);
const absent = missingPackages();
if (absent.length > 0)
  giveUp(
    `the npm packages that only a build needs are not installed (${absent.join(', ')})`,
    isClone
      ? 'run npm install --ignore-scripts'
      : `run npm install ${absent.join(' ')} where versemi was installed (with -g if it was)`,
  );
const sameSettings = existsSync(settingsFile) && readFileSync(settingsFile, 'utf8') === settings;
const newest = existsSync(target) && statSync(target).mtimeMs > newestSource();
if (sameSettings && newest && describeAddon().status === 0) {
  console.log('versemi: the native addon is up to date');
  process.exit(0);
}
const start = performance.now();
console.log('versemi: building the native addon from source; this takes minutes.');
// 'compile' configures a new build folder alone: another choice must be told to one that exists.
const tell = !sameSettings && existsSync(join(root, 'build', 'CMakeCache.txt'));
const configured = tell ? cmakeJs('configure', cudaChoice) : { ok: true };
let build = configured.ok ? cmakeJs('compile', cudaChoice) : configured;
// A build folder configured without cmake-js (for the C++ tests) has no addon in it.
if (build.ok && !existsSync(target)) build = cmakeJs('rebuild', cudaChoice);
// A CUDA compiler that does not get on with this system must not cost the CPU device.
if (!build.ok && cudaChoice === 'AUTO' && !isSet('VERSEMI_REQUIRE_ADDON')) {
  const withoutCuda = cmakeJs('rebuild', 'OFF');
  if (withoutCuda.ok) {
    console.error(
      essence(build.output)
        .map((line) => `  ${line.trim()}`)
        .join('\n'),
    );
    console.error('versemi: the CUDA device was not built (see above); the addon has the CPU device.');
    console.error('versemi: to leave CUDA out from the start, set VERSEMI_CUDA=0.');
    build = withoutCuda;
  }
}
if (!build.ok)
  giveUp('compiling it failed (see above)', `${installCompiler}, or mend what the compiler says`, build.output);
const description = describeAddon();
if (description.status !== 0)
  giveUp(
    'it was compiled, but Node cannot load it (see above)',
    installCompiler,
    description.stderr || `signal ${description.signal}`,
  );
writeFileSync(settingsFile, settings);
if (!isClone) leaveAddonAlone();
console.log(
  `versemi: native addon built in ${((performance.now() - start) / 1000).toFixed(0)} s: ${description.stdout.trim()}`,
);
