import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VersemiError } from '../errors.js';
import { packageRoot } from '../root.js';
import type { PageAssets } from './page.js';

/** Script and style of pages, from dist/report. @throws VERSEMI_FILE_NOT_FOUND in a checkout that is not built */
export function pageAssets(): PageAssets {
  const read = (name: string): string => {
    const file = join(packageRoot, 'dist', 'report', name);
    if (existsSync(file)) return readFileSync(file, 'utf8');
    throw new VersemiError('FILE_NOT_FOUND', {
      file,
      expected: 'the script and the style of reports',
      remedy: 'Build versemi: npm run build.',
    });
  };
  const hash = (text: string) => createHash('sha256').update(text).digest('base64');
  const [script, style, plotStyle] = ['main.js', 'main.css', 'plot.css'].map(read) as [string, string, string];
  return { script, style, scriptHash: hash(script), styleHashes: [hash(style), hash(plotStyle)] };
}
