// The page of dist/app in Chromium: a static server, and what tests do on the page.
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type Browser, chromium as browserType, type Page } from 'playwright-core';
import type { Test } from 'tap';
import { packageRoot } from '../../src/root.js';

const executable = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const folder = join(packageRoot, 'dist', 'app');

/** Why these tests are skipped, or false. */
export const noPage =
  executable === undefined
    ? 'no Chromium on this machine'
    : existsSync(join(folder, 'index.html'))
      ? false
      : 'the page is not built (npm run build:app)';

export const exampleModel = join(packageRoot, 'test', 'examples', 'real-data.safetensors');

const types: Readonly<Record<string, string>> = {
  html: 'text/html',
  js: 'text/javascript',
  css: 'text/css',
  wasm: 'application/wasm',
};

/** Serves the page under a sub path, as a static host does. @param isolated sends the headers that shared memory asks for */
function serve(isolated: boolean): Promise<{ readonly url: string; close(): void }> {
  const server = createServer(({ url = '/' }, response) => {
    const path = new URL(url, 'http://localhost').pathname.replace(/^\/sub\/path\//, '');
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
      resolve({ url: `http://127.0.0.1:${port}/sub/path/`, close: () => server.close() });
    }),
  );
}

export interface OpenedPage {
  readonly page: Page;
  readonly url: string;
  /** Every address that the page or its workers asked for. */
  readonly requests: readonly string[];
  /** Errors that nothing caught, and what the policy of the page refused. */
  readonly faults: readonly string[];
}

let browser: Promise<Browser> | undefined;

/** Opens the page of dist/app at the size of a small laptop; it is closed with the test. */
export async function openPage(t: Test, { isolated = true } = {}): Promise<OpenedPage> {
  const server = await serve(isolated);
  t.teardown(() => server.close());
  return openAddress(t, server.url);
}

/** Opens the page of a server; it is closed with the test. */
export async function openAddress(t: Test, url: string): Promise<OpenedPage> {
  // As root, in a container, Chromium has no sandbox to give; SwiftShader draws where there is no graphics card.
  browser ??= browserType.launch({
    executablePath: executable!,
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
  });
  const context = await (await browser).newContext({ viewport: { width: 1366, height: 768 }, acceptDownloads: true });
  const requests: string[] = [];
  const faults: string[] = [];
  context.on('request', (request) => requests.push(request.url()));
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
  });
  t.teardown(() => context.close());
  await page.goto(url);
  await page.waitForSelector('body[data-ready]');
  return { page, url, requests, faults };
}

export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
}

export async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.locator(selector).textContent()) ?? '';
}

/** Waits for a sentence in the status line. */
export async function waitForStatus(page: Page, text: RegExp, timeout = 120_000): Promise<string> {
  await page.waitForFunction(
    ([source, flags]) =>
      new RegExp(source!, flags).test(document.getElementById('status')!.textContent!) ||
      !document.getElementById('error')!.hidden,
    [text.source, text.flags] as const,
    { timeout },
  );
  const error = page.locator('#error-text');
  if (await error.isVisible()) throw new Error(`The page shows an error: ${await error.textContent()}`);
  return textOf(page, '#status');
}

/** Leaves only these structures chosen. */
export async function chooseTasks(page: Page, tasks: readonly string[]): Promise<void> {
  for (const box of await page.locator('#tasks input').all())
    await box.setChecked(tasks.includes((await box.getAttribute('value'))!));
}

/** Saves in a format, and gives the bytes of the files by name. */
export async function savedFiles(page: Page, format: string, count = 1): Promise<Map<string, Buffer>> {
  await page.selectOption('#format', format);
  const files = new Map<string, Buffer>();
  const all = new Promise<void>((resolve) => {
    const take = async (download: import('playwright-core').Download) => {
      files.set(download.suggestedFilename(), readFileSync((await download.path())!));
      if (files.size < count) return;
      page.off('download', take);
      resolve();
    };
    page.on('download', take);
  });
  // Drawn without a graphics card, the page has few frames for a mouse to wait for.
  await page.locator('#save').dispatchEvent('click');
  await all;
  return files;
}
