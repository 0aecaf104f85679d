// A volume of 512 x 512 x 300 voxels: the whole browser stays below 2.5 GB, as measured from outside.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { writeNifti } from '../../src/index.js';
import { closeBrowser, exampleModel, noPage, openPage, textOf, waitForStatus } from './page.js';

t.setTimeout(1_200_000);
t.teardown(closeBrowser);

const sizeVoxels = [512, 512, 300] as const;
const mostBytes = 2.5e9;

/** A body of fat and muscle in air, in Hounsfield units, as an uncompressed NIfTI file. */
function writeLarge(file: string): Promise<void> {
  const spacingMm = [0.6, 0.6, 1.1] as const;
  const affine = [0.6, 0, 0, 0, 0, 0.6, 0, 0, 0, 0, 1.1, 0, 0, 0, 0, 1];
  const [columns, rows, slices] = sizeVoxels;
  const plane = new Int16Array(columns * rows);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      const radius = Math.hypot((x - 256) / 220, (y - 256) / 150);
      plane[x + columns * y] = radius > 1 ? -1000 : radius > 0.85 ? -90 : 45 + (((x * 7919 + y * 104729) % 41) - 20);
    }
  return writeNifti(file, {
    ...{ sizeVoxels, spacingMm, affine, type: new Int16Array(0) },
    *slabs() {
      for (let z = 0; z < slices; z++) yield plane;
    },
  });
}

/** Resident bytes of all processes that this one has started, each shared page counted once. */
function residentBytes(): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name of a program, in brackets, may hold spaces.
      parents.set(Number(name), Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === process.pid || isOurs(parents.get(pid)));
  let bytes = 0;
  for (const pid of parents.keys()) {
    if (pid === process.pid || !isOurs(pid)) continue;
    try {
      bytes += 1024 * Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has ended meanwhile.
    }
  }
  return bytes;
}

const skip = noPage || (process.platform !== 'linux' && 'memory of processes is read from /proc');
t.test('memory', { skip }, async (t) => {
  const file = join(t.testdir(), 'large.nii');
  await writeLarge(file);
  const { page } = await openPage(t);
  // Drawn without a graphics card, a frame of so many voxels takes seconds.
  page.setDefaultTimeout(300_000);
  let most = 0;
  let stage = 'the page';
  const peaks = new Map<string, number>();
  const timer = setInterval(() => {
    const now = residentBytes();
    most = Math.max(most, now);
    peaks.set(stage, Math.max(peaks.get(stage) ?? 0, now));
  }, 100);
  t.teardown(() => clearInterval(timer));
  await page.setInputFiles('#files', exampleModel);
  await waitForStatus(page, /Found 1 model/);
  stage = 'opening';
  await page.setInputFiles('#files', file);
  t.match(await waitForStatus(page, /voxels of/, 600_000), /512 × 512 × 300 voxels/);
  await page.waitForSelector('#predict:not(:disabled)', { timeout: 600_000 });
  t.match(await textOf(page, '#estimate'), /Memory: about/);
  t.comment(`so far ${(most / 1e9).toFixed(2)} GB; ${await textOf(page, '#estimate')}`);
  stage = 'prediction';
  await page.locator('#predict').dispatchEvent('click');
  await waitForStatus(page, /^Predicted in/, 900_000);
  stage = 'afterwards';
  await page.waitForSelector('#save:not(:disabled)');
  await page.locator('#tool-eraser').dispatchEvent('click');
  await page.locator('#canvas').focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('#undo:not(:disabled)', { timeout: 300_000 });
  const text = [...peaks].map(([name, bytes]) => `${name} ${(bytes / 1e9).toFixed(2)} GB`).join(', ');
  t.comment(`most resident memory: ${text}`);
  t.ok(most > 3e8, `memory was measured: ${text}`);
  t.ok(most < mostBytes, `below 2.5 GB: ${text}`);
});
