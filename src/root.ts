import { nodeModule } from './node-module.js';

/** Folder of the package: that of package.json. This file is compiled to dist/src/root.js. */
export const packageRoot = nodeModule('node:url').fileURLToPath(new URL(/* @vite-ignore */ '../../', import.meta.url));

export function packageVersion(): string {
  const { version } = JSON.parse(nodeModule('node:fs').readFileSync(`${packageRoot}package.json`, 'utf8')) as {
    version: string;
  };
  return version;
}
