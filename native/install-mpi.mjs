// Builds the addon for training over MPI (native/mpi) with the compiler wrapper of the MPI that is there: `versemi build-addon --mpi`;
// `install-mpi.mjs --if-found`, at npm install in a clone, does nothing where there is none. Implementations of MPI differ in their
// binary interface, so no built addon is part of the package: it is built on the site that runs it, and says what it was built for.
//   MPICXX   the wrapper of the MPI to build for (default: mpicxx)
//   VERSEMI_MPI_ADDON        where the addon goes (default: build/mpi/versemi_mpi.node)
//   VERSEMI_SKIP_ADDON=1     do not build
//   VERSEMI_REQUIRE_ADDON=1  fail (exit 1) if it cannot be built
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sources = join(root, 'native', 'mpi');
const target = resolve(process.env.VERSEMI_MPI_ADDON || join(root, 'build', 'mpi', 'versemi_mpi.node'));
/** With what it was built: another wrapper is another addon. */
const settingsFile = `${target}.json`;
const wrapper = process.env.MPICXX || 'mpicxx';
const ifFound = process.argv.includes('--if-found');

function isSet(name) {
  return ![undefined, '', '0'].includes(process.env[name]);
}

function giveUp(reason, remedy) {
  console.error(`versemi: the addon for MPI was not built: ${reason}.`);
  console.error(`versemi: only training over several ranks needs it. To get it, ${remedy}.`);
  process.exit(isSet('VERSEMI_REQUIRE_ADDON') ? 1 : 0);
}

/** The include folder of an npm package that only a build needs. */
function headersOf(name, folder) {
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), folder);
  } catch {
    return giveUp(
      `the npm package ${name} is not installed`,
      `run npm install cmake-js@8 node-addon-api@8 where versemi was installed, then npx versemi build-addon --mpi`,
    );
  }
}

// An installed package is built for MPI only where somebody asks for it.
if (ifFound && (isSet('VERSEMI_SKIP_ADDON') || !existsSync(join(root, 'native', 'test')))) process.exit(0);
const version = spawnSync(wrapper, ['-show'], { encoding: 'utf8' });
if (ifFound && version.error !== undefined) process.exit(0);
if (version.error !== undefined || version.status !== 0)
  giveUp(
    `${wrapper} was not found or does not run`,
    'install MPI with its compiler (Debian, Ubuntu: apt-get install openmpi-bin libopenmpi-dev), or name it by MPICXX',
  );
const files = readdirSync(sources).filter((name) => /\.(cpp|h)$/.test(name));
const settings = JSON.stringify({ wrapper, command: version.stdout.trim() });
const newest = Math.max(...files.map((name) => statSync(join(sources, name)).mtimeMs));
if (existsSync(target) && statSync(target).mtimeMs > newest && readIfThere(settingsFile) === settings) {
  console.log('versemi: the addon for MPI is up to date');
  process.exit(0);
}
mkdirSync(dirname(target), { recursive: true });
const made = join(dirname(target), `new-${process.pid}.node`);
const options = ['-std=c++17', '-O2', '-Wall', '-Wextra', '-fPIC', '-shared', '-fvisibility=hidden'];
// The C++ interface that MPI has given up, in the headers of both implementations, is not used.
const defines = [
  'OMPI_SKIP_MPICXX',
  'MPICH_SKIP_MPICXX',
  'NODE_ADDON_API_DISABLE_DEPRECATED',
  'NAPI_DISABLE_CPP_EXCEPTIONS',
];
const includes = [headersOf('node-api-headers', 'include'), headersOf('node-addon-api', '')];
const build = spawnSync(
  wrapper,
  [
    ...options,
    ...defines.map((name) => `-D${name}`),
    ...includes.flatMap((path) => ['-isystem', path]),
    ...(process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []),
    ...files.filter((name) => name.endsWith('.cpp')).map((name) => join(sources, name)),
    '-o',
    made,
  ],
  { encoding: 'utf8' },
);
if (build.status !== 0) {
  console.error(build.stderr.trimEnd().split('\n').slice(0, 20).join('\n'));
  giveUp(`${wrapper} could not compile it (see above)`, 'mend what the compiler says');
}
renameSync(made, target);
writeFileSync(settingsFile, settings);
const check = "const a=require(process.argv[1]);console.log('built for '+a.builtFor)";
const description = spawnSync(process.execPath, ['-e', check, target], { encoding: 'utf8' });
if (description.status !== 0) {
  console.error(description.stderr.trimEnd());
  giveUp('Node cannot load what was built (see above)', 'mend what it says');
}
console.log(`versemi: addon for MPI: ${description.stdout.trim()}`);

function readIfThere(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}
