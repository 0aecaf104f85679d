// A volume of 512 x 512 x 300 voxels: the whole browser, drawing without a graphics card included, stays below 2.5 GB.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { writeNifti } from '../../src/index.js';
import { chooseTasks, closeBrowser, exampleModel, noPage, openPage, textOf, waitForStatus } from './page.js';

t.setTimeout(1_800_000);
t.teardown(closeBrowser);

const mostBytes = 2.5e9;
const sizeVoxels = [512, 512, 300] as const;
/** So small that few windows cover the scan: on a quiet machine this takes half a minute. */
const spacingMm = [0.4, 0.4, 1.1] as const;
const patience = 600_000;

/** A body of fat and muscle in air, in Hounsfield units, whose first two axes run backwards as those of most DICOM series. */
function writeLarge(file: string): Promise<void> {
  const [columns, rows, slices] = sizeVoxels;
  const affine = [-spacingMm[0], 0, 0, 0, 0, -spacingMm[1], 0, 0, 0, 0, spacingMm[2], 0, 0, 0, 0, 1];
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

/** Bytes in memory of all processes that this one has started, by the kind that Chromium names; pages that several share count in parts. */
function residentBytes(): Map<string, number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    try {
      // The name of a program, in brackets, may hold spaces.
      parents.set(Number(name), Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOurs = (pid: number | undefined): boolean =>
    pid !== undefined && (pid === process.pid || isOurs(parents.get(pid)));
  const found = new Map<string, number>();
  for (const pid of parents.keys()) {
    if (pid === process.pid || !isOurs(pid)) continue;
    try {
      const kilobytes = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
      const kind = /--type=([a-z-]+)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.[1] ?? 'browser';
      found.set(kind, (found.get(kind) ?? 0) + 1024 * Number(kilobytes ?? 0));
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

const skip = noPage || (process.platform !== 'linux' && 'memory of processes is read from /proc');
t.test('a large scan is opened, predicted and shown', { skip }, async (t) => {
  const file = join(t.testdir(), 'large.nii');
  await writeLarge(file);
  const { page, faults } = await openPage(t);
  // Drawn without a graphics card, a frame of so many voxels takes seconds, of a small window fewer.
  page.setDefaultTimeout(patience);
  await page.setViewportSize({ width: 1024, height: 480 });
  // How many voxels the masks have that the worker sends while it predicts.
  await page.addInitScript(() => {
    const sent: number[] = [];
    Object.assign(window, { sent });
    const Real = Worker;
    window.Worker = class extends Real {
      constructor(...given: ConstructorParameters<typeof Real>) {
        super(...given);
        this.addEventListener('message', ({ data }) => {
          for (const mask of data.progress?.preview?.masks ?? []) sent.push(mask.length);
        });
      }
    };
  });
  await page.reload();
  await page.waitForSelector('body[data-ready]');
  let most: readonly [string, number, string] = ['', 0, ''];
  let stage = 'opening';
  const measure = () => {
    const kinds = residentBytes();
    const total = [...kinds.values()].reduce((sum, bytes) => sum + bytes, 0);
    const text = [...kinds].map(([kind, bytes]) => `${kind} ${Math.round(bytes / 1e6)} MB`).join(', ');
    if (total > most[1]) most = [stage, total, text];
  };
  const timer = setInterval(measure, 250);
  t.teardown(() => clearInterval(timer));
  await page.setInputFiles('#files', exampleModel);
  await waitForStatus(page, /Found 1 model/, patience);
  await page.setInputFiles('#files', file);
  t.match(await waitForStatus(page, /voxels of/, patience), /512 × 512 × 300 voxels/);
  await chooseTasks(page, ['sarcoma']);
  // The estimate comes from the worker, after the button.
  await page.waitForFunction(() => /^(Memory|Too)/.test(document.getElementById('estimate')!.textContent!));
  await page.waitForSelector('#predict:not(:disabled)');
  t.match(await textOf(page, '#estimate'), /Memory: about 2\.\d+ GB\./, 'one part, within the default limit');
  stage = 'prediction';
  await page.locator('#predict').dispatchEvent('click');
  await waitForStatus(page, /^Predicted in/, patience);
  stage = 'masks';
  measure();
  t.match(await textOf(page, '#results tbody'), /sarcoma/);
  const previews = await page.evaluate(() => (window as unknown as { sent: number[] }).sent);
  t.ok(previews.length > 0, 'what is found is shown before the end');
  t.strictSame([...new Set(previews)], [256 * 256 * 150], 'at every second voxel along each axis');
  const text = `${(most[1] / 1e9).toFixed(2)} GB at most, in ${most[0]}: ${most[2]}`;
  t.comment(text);
  t.ok(most[1] > 1e9, `memory was measured: ${text}`);
  t.ok(most[1] < mostBytes, `below ${mostBytes / 1e9} GB: ${text}`);
  t.strictSame(faults, []);
});
