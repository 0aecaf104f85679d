import { readdirSync } from 'node:fs';
import { join, sep } from 'node:path';
import { getMimeType } from 'hono/utils/mime';
import { VersemiError } from '../errors.js';
import { packageRoot } from '../root.js';
import { type App, fileAnswer } from './answers.js';
import { hasToken, pagePolicy } from './guard.js';

/** The page: files of one folder, by the names that they had when the server began. */

const decoders = 'dicom-codecs.wasm';

/**
 * Names of files of the page -> paths, with forward slashes. What a client asks for is looked up here and never becomes a path.
 * @throws VERSEMI_FILE_NOT_FOUND where the page was not built
 */
export function pageFiles(folder: string): Map<string, string> {
  let names: string[];
  try {
    names = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length).split(sep).join('/').replace(/^\//, ''));
  } catch {
    names = [];
  }
  if (!names.includes('index.html')) {
    throw new VersemiError('FILE_NOT_FOUND', {
      file: join(folder, 'index.html'),
      expected: 'the page that is served',
      found: 'no such file',
      remedy: 'In a clone, run npm run build:app first; an installed package that lacks it must be installed again.',
    });
  }
  // The package holds these decoders once, for programs and pages.
  const shared: [string, string] = [decoders, join(packageRoot, 'dist', 'src', 'third-party', decoders)];
  return new Map([shared, ...names.map((name): [string, string] => [name, join(folder, name)])]);
}

/** Serves the page at `/`, for those who have the token, and its files. */
export function servePage(app: App, files: ReadonlyMap<string, string>, token: string): void {
  app.get('/', async (context) => {
    if (hasToken(context, token)) return pageFile(files.get('index.html')!, 'index.html');
    return new Response(wordsPage, {
      status: 403,
      headers: { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': wordsPolicy },
    });
  });
  app.get('*', async (context) => {
    const name = decoded(context.req.path).slice(1);
    const path = files.get(name);
    if (path === undefined) throw unknownPath(context.req.method, context.req.path);
    return pageFile(path, name);
  });
}

/** As it stands where it is no encoded text: no file has such a name. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function pageFile(path: string, name: string): Promise<Response> {
  const answer = await fileAnswer({ path, name, type: getMimeType(name) ?? 'application/octet-stream' });
  answer.headers.delete('content-disposition');
  answer.headers.set('cache-control', 'no-cache');
  answer.headers.set('content-security-policy', pagePolicy);
  return answer;
}

export function unknownPath(method: string, path: string): VersemiError {
  return new VersemiError('REQUEST_UNKNOWN', {
    field: `${method} ${path}`,
    remedy: 'Open the address that versemi serve printed.',
  });
}

const wordsPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/** What a person sees who opens the address without its token. */
const wordsPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>versemi: the address is not complete</title>
<style>
  :root { color-scheme: dark; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #14171a; color: #d8dde2; font: 16px/1.6 system-ui, sans-serif; }
  main { max-width: 34rem; padding: 2rem; }
  h1 { font-size: 1.4rem; font-weight: 600; margin: 0 0 1rem; }
  code { background: #23282d; border-radius: 4px; padding: 0.1em 0.4em; font-size: 0.95em; }
  p { margin: 0 0 1rem; }
</style>
<main>
  <h1>This address lacks its token</h1>
  <p>versemi is running here, and shows scans only to those who started it. The whole address was printed where
  <code>versemi serve</code> was started; it ends with <code>?token=</code> and a long word.</p>
  <p>Copy all of it into the address bar, or start again with <code>versemi serve --open</code>. A new start makes a new
  token: an address of yesterday does not open today.</p>
</main>
</html>
`;
