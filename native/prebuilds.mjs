// `npm run prebuilds` (npm would run a script named prebuild before each build): builds the native addon for every platform that
// this machine has a compiler for, into prebuilds/PLATFORM-ARCH/, which `npm pack` takes along: npm no longer runs install scripts
// of dependencies by itself, and a laptop has no compiler. The addons have the CPU device alone, are stripped, and carry the C++
// runtime inside. What cannot be built is named with the reason and the package that is missing; the exit code is 0 when at least
// one was built and 1 when none was.
//   node native/prebuilds.mjs [linux-x64 linux-arm64 win32-x64]   only these; then each of them must be built

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

/** Prefix of a GNU tool chain, what CMake calls the system, and the processor; `package`: where Debian has the compiler. */
const targets = {
  'linux-x64': { prefix: 'x86_64-linux-gnu-', compiler: 'g++', system: 'Linux', processor: 'x86_64', package: 'g++' },
  'linux-arm64': {
    prefix: 'aarch64-linux-gnu-',
    compiler: 'g++',
    system: 'Linux',
    processor: 'aarch64',
    package: 'g++-aarch64-linux-gnu',
  },
  'win32-x64': {
    prefix: 'x86_64-w64-mingw32-',
    compiler: 'g++-posix',
    system: 'Windows',
    processor: 'AMD64',
    package: 'g++-mingw-w64-x86-64-posix',
  },
};

function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return { ok: status === 0, output: `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}` };
}

/** Symbols of Node that an addon for Windows takes from node.exe, as an import library. */
function importLibrary(folder, prefix) {
  const definition = join(folder, 'node.def');
  const { node_api_def: nodeApi, js_native_api_def: engine } = require('node-api-headers').def_paths;
  const lines = [nodeApi, engine]
    .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
    .map((line) => line.trim())
    .filter((line) => line !== '' && !/^(NAME|EXPORTS)/i.test(line));
  writeFileSync(definition, `NAME node.exe\nEXPORTS\n${[...new Set(lines)].join('\n')}\n`);
  const library = join(folder, 'libnode.a');
  const made = run(`${prefix}dlltool`, ['-d', definition, '-l', library]);
  if (!made.ok) throw new Error(made.output);
  return library;
}

/** Where CMake builds for a platform. */
export const buildFolder = (name) => join(root, 'build', 'prebuild', name);

/** Why nothing can be built for a platform, or null. */
export function missingCompiler(name) {
  const { prefix, compiler, package: debian } = targets[name];
  const cxx = `${prefix}${compiler}`;
  return run(cxx, ['--version']).ok ? null : `the compiler ${cxx} was not found (Debian: apt-get install ${debian})`;
}

/** Arguments of CMake that configure the build for a platform. */
export function configuration(name) {
  const { prefix, compiler, system, processor } = targets[name];
  const folder = buildFolder(name);
  mkdirSync(folder, { recursive: true });
  const settings = {
    CMAKE_BUILD_TYPE: 'Release',
    CMAKE_SYSTEM_NAME: system,
    CMAKE_SYSTEM_PROCESSOR: processor,
    CMAKE_CXX_COMPILER: `${prefix}${compiler}`,
    // The C++ runtime goes into the addon: a laptop may have an older one, or none.
    CMAKE_SHARED_LINKER_FLAGS:
      system === 'Windows' ? '-static -s' : '-static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections -s',
    CMAKE_JS_VERSION: require('cmake-js/package.json').version,
    CMAKE_JS_INC: require('node-api-headers').include_dir,
    VERSEMI_CUDA: 'OFF',
  };
  if (system === 'Windows') settings.CMAKE_JS_LIB = importLibrary(folder, prefix);
  return ['-S', '.', '-B', folder, ...Object.entries(settings).map(([key, value]) => `-D${key}=${value}`)];
}

/** @returns why the addon was not built, or null */
function build(name) {
  const missing = missingCompiler(name);
  if (missing !== null) return missing;
  const folder = buildFolder(name);
  const steps = [configuration(name), ['--build', folder, '-j', `${availableParallelism()}`, '--target', 'versemi']];
  for (const args of steps) {
    const { ok, output } = run('cmake', args);
    if (!ok) return `the build failed:\n${output.trimEnd().split('\n').slice(-15).join('\n')}`;
  }
  const target = join(root, 'prebuilds', name);
  mkdirSync(target, { recursive: true });
  copyFileSync(join(folder, 'versemi.node'), join(target, 'versemi.node'));
  return null;
}

function main(asked) {
  const unknown = asked.filter((name) => !Object.hasOwn(targets, name));
  if (unknown.length > 0) {
    console.error(`versemi: no such platform: ${unknown.join(', ')}; there are ${Object.keys(targets).join(', ')}`);
    process.exit(1);
  }
  let built = 0;
  let failed = 0;
  for (const name of asked.length > 0 ? asked : Object.keys(targets)) {
    const file = join(root, 'prebuilds', name, 'versemi.node');
    rmSync(file, { force: true });
    const reason = build(name);
    if (reason === null) {
      built++;
      console.log(`versemi: prebuilds/${name}/versemi.node, ${(statSync(file).size / 2 ** 20).toFixed(1)} MiB`);
    } else {
      failed++;
      console.error(`versemi: prebuilds/${name} was not made: ${reason}`);
    }
  }
  if (!existsSync(join(root, 'prebuilds')) || built === 0 || (asked.length > 0 && failed > 0)) process.exitCode = 1;
}

if (argv[1] === fileURLToPath(import.meta.url)) main(argv.slice(2));
