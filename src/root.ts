import { nodeModule } from './node-module.js';

/** Folder of the package: that of package.json. This file is compiled to dist/src/root.js. */
export const packageRoot = nodeModule('node:url').fileURLToPath(new URL(/* @vite-ignore */ '../../', import.meta.url));

export function packageVersion(): string {
  const { version } = JSON.parse(nodeModule('node:fs').readFileSync(`${packageRoot}package.json`, 'utf8')) as {
    version: string;
  };
  return version;
}

/** Which versemi made a file. */
export interface ProgramVersion {
  readonly version: string;
  /** Of a checkout: the first 12 digits of its commit, and `-dirty` where it has changes since; absent in an installed package. */
  readonly commit?: string;
}

/** Of this versemi. Where git cannot be asked, the version stands alone. */
export function programVersion(): ProgramVersion {
  const version = packageVersion();
  // A package lies in the checkout of whoever installed it: that one's commit says nothing.
  if (!nodeModule('node:fs').existsSync(`${packageRoot}.git`)) return { version };
  const { status, stdout } = nodeModule('node:child_process').spawnSync(
    'git',
    ['describe', '--always', '--exclude=*', '--abbrev=12', '--dirty'],
    { cwd: packageRoot, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 10_000 },
  );
  return status === 0 ? { version, commit: stdout.trim() } : { version };
}
