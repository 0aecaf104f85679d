import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Folder of the package: that of package.json. This file is compiled to dist/src/root.js. */
export const packageRoot = fileURLToPath(new URL('../../', import.meta.url));

export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(`${packageRoot}package.json`, 'utf8')) as { version: string };
  return version;
}
