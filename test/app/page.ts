// The page of dist/app in Chromium: a static server, and what tests do on the page.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium as browserType, type Page } from 'playwright-core';
import type { Test } from 'tap';
import { packageRoot } from '../../src/root.js';
import { chromium, serveFiles } from '../packaging/chromium.js';

const folder = join(packageRoot, 'dist', 'app');

/** Why these tests are skipped, or false. */
export const noPage =
  chromium === undefined
    ? 'no Chromium on this machine'
    : existsSync(join(folder, 'index.html'))
      ? false
      : 'the page is not built (npm run build:app)';

export const exampleModel = join(packageRoot, 'test', 'examples', 'real-data.safetensors');

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
  const server = await serveFiles(folder, isolated, '/sub/path/');
  t.teardown(() => server.close());
  return openAddress(t, server.url);
}

/** Opens the page of a server; it is closed with the test. */
export async function openAddress(t: Test, url: string): Promise<OpenedPage> {
  // As root, in a container, Chromium has no sandbox to give; SwiftShader draws where there is no graphics card.
  browser ??= browserType.launch({
    executablePath: chromium!,
    args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'],
  });
  const context = await (await browser).newContext({ viewport: { width: 1366, height: 768 }, acceptDownloads: true });
  // A machine that does other things too takes its time.
  context.setDefaultTimeout(120_000);
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
  // Those of scans unlike this one are folded away.
  for (const folded of await page.locator('#tasks details').all())
    await folded.evaluate((details) => {
      (details as HTMLDetailsElement).open = true;
    });
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

/** Files and folders of the machine are dragged over the page and dropped, as a person does with a mouse. */
export async function drop(page: Page, paths: readonly string[], selector = '#view'): Promise<void> {
  const box = (await page.locator(selector).boundingBox())!;
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: [...paths], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await session.send('Input.dispatchDragEvent', {
      ...{ type, data },
      ...{ x: box.x + box.width / 2, y: box.y + box.height / 2 },
    });
  await session.detach();
}
