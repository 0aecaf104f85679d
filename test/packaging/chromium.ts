// A Chromium that is there, and a server of files for it.
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

/** The program; undefined where there is none. */
export const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

const types: Readonly<Record<string, string>> = {
  html: 'text/html',
  js: 'text/javascript',
  css: 'text/css',
  wasm: 'application/wasm',
};

/**
 * Serves the files of a folder, as a static host does.
 * @param isolated sends the headers that shared memory asks for
 * @param at path on the host below which the folder lies, with slashes around it
 */
export function serveFiles(
  folder: string,
  isolated: boolean,
  at = '/',
): Promise<{ readonly url: string; close(): void }> {
  const server = createServer(({ url = '/' }, response) => {
    const { pathname } = new URL(url, 'http://localhost');
    const path = pathname.startsWith(at) ? pathname.slice(at.length) : pathname;
    const file = join(folder, path === '' ? 'index.html' : path);
    if (path.includes('..') || !existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, {
      'Content-Type': types[file.split('.').at(-1)!] ?? 'application/octet-stream',
      ...(isolated
        ? { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }
        : {}),
    });
    response.end(readFileSync(file));
  });
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      resolve({ url: `http://127.0.0.1:${port}${at}`, close: () => server.close() });
    }),
  );
}
