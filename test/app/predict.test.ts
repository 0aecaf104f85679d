// The page from a dropped DICOM folder to saved files, in Chromium: masks are those of the command line, and nothing leaves the page.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readVolume } from '../../src/datasets/read-volume.js';
import { packageRoot } from '../../src/root.js';
import { systemPython } from '../dicom/python.js';
import { noData, realData } from '../unit/datasets-support.js';
import {
  chooseTasks,
  closeBrowser,
  exampleModel,
  noPage,
  openPage,
  savedFiles,
  textOf,
  waitForStatus,
} from './page.js';

t.setTimeout(900_000);
t.teardown(closeBrowser);
const data = realData('dicom');
const skip = noPage || (data === undefined && noData);
const source = data === undefined ? '' : join(data, 'STS_025', 'CT', 'image');
const task = 'sarcoma';

/** The mask of the command line, on the device that the page has. */
function expectedMask(folder: string): string {
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      ...[join(packageRoot, 'dist', 'src', 'cli', 'main.js'), 'predict', exampleModel, source],
      ...['--out', folder, '--device', 'wasm', '--task', task],
    ],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  return join(folder, `image_${task}.nii.gz`);
}

function same(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function sum(data: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < data.length; i++) total += data[i]!;
  return total;
}

for (const isolated of [true, false])
  t.test(`a DICOM folder, ${isolated ? 'isolated' : 'not isolated'}`, { skip }, async (t) => {
    const folder = t.testdir();
    const expected = await readVolume(expectedMask(folder));
    const { page, url, requests, faults } = await openPage(t, { isolated });
    // Nothing is fetched after the page has started: the network may go.
    await page.waitForLoadState('networkidle');
    await page.context().setOffline(true);
    await page.setInputFiles('#files', exampleModel);
    await waitForStatus(page, /Found 1 model/);
    await page.setInputFiles('#folder', source);
    t.match(await waitForStatus(page, /voxels of/), /149 × 138 × 47 voxels of 0.98 × 0.98 × 3.27 mm/);
    t.match(await textOf(page, '#scans'), /CT · 149 × 138 × 47/);
    await chooseTasks(page, [task]);
    await page.click('#predict');
    t.match(await waitForStatus(page, /^Predicted in/), isolated ? /with [2-9]\d* threads/ : /with 1 thread\./);

    const files = await savedFiles(page, 'nifti');
    const [[name, bytes]] = [...files] as [[string, Buffer]];
    t.match(name, /_sarcoma\.nii\.gz$/);
    writeFileSync(join(folder, 'page.nii.gz'), bytes);
    const found = await readVolume(join(folder, 'page.nii.gz'));
    t.ok(same(found.data, expected.data), 'the mask is that of the command line, voxel for voxel');
    t.ok(expected.data.some((voxel) => voxel !== 0));
    t.strictSame(found.affine, expected.affine);
    const [nrrd] = (await savedFiles(page, 'nrrd')).values();
    writeFileSync(join(folder, 'page.nrrd'), nrrd!);
    t.ok(same((await readVolume(join(folder, 'page.nrrd'))).data, expected.data), 'NRRD too');
    const voxels = sum(expected.data);
    const ml = (voxels * expected.spacingMm[0] * expected.spacingMm[1] * expected.spacingMm[2]) / 1000;
    t.match(await textOf(page, '#results tbody'), ml.toFixed(2));

    await t.test('a corrected voxel, undone and done again', async (t) => {
      const canvas = page.locator('#canvas');
      await canvas.focus();
      await page.keyboard.press('ArrowUp');
      await page.keyboard.press('e');
      for (let i = 0; i < 2; i++) await page.keyboard.press('[');
      t.equal(await textOf(page, '#size-text'), '1 voxel');
      const count = async () => {
        const [saved] = (await savedFiles(page, 'nifti')).values();
        writeFileSync(join(folder, 'corrected.nii.gz'), saved!);
        const { data } = await readVolume(join(folder, 'corrected.nii.gz'));
        return sum(data);
      };
      await canvas.focus();
      await page.keyboard.press('Enter');
      await page.waitForSelector('#undo:not(:disabled)');
      t.equal(await count(), voxels - 1, 'one voxel is erased');
      await page.keyboard.press('Control+z');
      await page.waitForSelector('#redo:not(:disabled)');
      t.equal(await count(), voxels, 'and back');
      await page.keyboard.press('Control+Shift+z');
      await page.waitForSelector('#undo:not(:disabled)');
      t.equal(await count(), voxels - 1, 'and away again');
      await page.keyboard.press('Control+z');
      await page.waitForSelector('#undo:disabled');
    });

    const python = systemPython('pydicom', 'numpy');
    await t.test('SEG, read by pydicom', { skip: python === undefined && 'no pydicom on this machine' }, async (t) => {
      const [seg] = (await savedFiles(page, 'seg')).values();
      writeFileSync(join(folder, 'page.seg.dcm'), seg!);
      const { stdout, stderr } = spawnSync(
        python!,
        [
          '-c',
          'import pydicom, sys; ds = pydicom.dcmread(sys.argv[1]); print(int(ds.pixel_array.sum()), ds.SegmentSequence[0].SegmentLabel)',
          join(folder, 'page.seg.dcm'),
        ],
        { encoding: 'utf8' },
      );
      t.equal(stdout.trim(), `${voxels} ${task}`, stderr);
      const [structures] = (await savedFiles(page, 'rtstruct')).values();
      t.equal(structures!.subarray(128, 132).toString(), 'DICM');
    });

    await t.test('a reference beside it', async (t) => {
      await page.setInputFiles('#reference', join(folder, 'page.nii.gz'));
      await page.waitForFunction(() => document.getElementById('metrics')!.textContent !== '');
      t.match(await textOf(page, '#metrics'), /Dice1\.000.*distance0\.00 mm.*Surface Dice at 1 mm1\.000/);
    });

    t.strictSame(
      requests.filter((address) => !address.startsWith(url) && !address.startsWith(`blob:${new URL(url).origin}`)),
      [],
      'every request goes to the page itself',
    );
    t.ok(requests.length >= 4, 'requests were recorded');
    t.strictSame(faults, [], 'no error on the page, and nothing that its policy refused');
  });

t.test('what cannot be done is said in words', { skip }, async (t) => {
  const folder = t.testdir();
  const { page } = await openPage(t);
  const error = async () => {
    await page.waitForSelector('#error:not([hidden])');
    const text = await textOf(page, '#error-text');
    await page.click('#error-close');
    return text;
  };
  writeFileSync(
    join(folder, 'broken.nii.gz'),
    readFileSync(join(data!, 'STS_025', 'CT_image.nii.gz')).subarray(0, 5000),
  );
  await page.setInputFiles('#files', join(folder, 'broken.nii.gz'));
  t.match(await error(), /broken\.nii\.gz.*expected.*found.*Copy or download the file again/s);
  writeFileSync(join(folder, 'notes.txt'), 'no scan');
  await page.setInputFiles('#files', join(folder, 'notes.txt'));
  t.match(await error(), /notes\.txt.*models are \.safetensors/);
  writeFileSync(join(folder, 'model.safetensors'), readFileSync(exampleModel).subarray(0, 1000));
  await page.setInputFiles('#files', join(folder, 'model.safetensors'));
  t.match(await error(), /model\.safetensors/);
  await page.setInputFiles('#files', join(data!, 'STS_025', 'CT_image.nii.gz'));
  t.match(await waitForStatus(page, /voxels of/), /CT_image/, 'a good file after bad ones');
  t.ok(await page.locator('#format option[value=seg]').isDisabled(), 'no DICOM object of a NIfTI scan');
  writeFileSync(join(folder, 'elsewhere.nii.gz'), readFileSync(join(data!, 'STS_008', 'CT_image.nii.gz')));
  await page.setInputFiles('#reference', join(folder, 'elsewhere.nii.gz'));
  t.match(await error(), /not lie in the same space.*elsewhere\.nii\.gz.*141 x 137 x 51 \(label\)/);
});

const atria = realData('left-atrium');
t.test('a prediction is cancelled', { skip: noPage || (atria === undefined && noData) }, async (t) => {
  const { page } = await openPage(t, { isolated: false });
  const images = join(atria!, 'images');
  await page.setInputFiles('#files', [exampleModel, join(images, readdirSync(images)[0]!)]);
  await waitForStatus(page, /voxels of/);
  // From inside the page, at the first window: from here the click can come after the last.
  await page.evaluate(() => {
    const status = document.getElementById('status')!;
    const watch = new MutationObserver(() => {
      if (!/^Window \d+/.test(status.textContent!)) return;
      watch.disconnect();
      document.getElementById('cancel')!.click();
    });
    watch.observe(status, { childList: true, characterData: true, subtree: true });
  });
  await page.click('#predict');
  t.match(await waitForStatus(page, /cancelled/), /Nothing was kept/);
  t.match(await textOf(page, '#results'), /Nothing predicted yet/);
  t.ok(await page.locator('#predict').isEnabled(), 'and can be begun again');
});
