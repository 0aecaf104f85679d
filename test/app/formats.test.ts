// One scan in every format that the page reads, given as people give it: the masks are the same. References of every kind.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync, zipSync } from 'fflate';
import type { Page } from 'playwright-core';
import t from 'tap';
import { readVolume, writeNifti, writeNrrd } from '../../src/index.js';
import { turnedVolume } from '../../src/scans/canonical.js';
import { noData, realData } from '../unit/datasets-support.js';
import { closeBrowser, drop, exampleModel, noPage, openPage, savedFiles, textOf, waitForStatus } from './page.js';

t.setTimeout(900_000);
t.teardown(closeBrowser);
const data = realData('dicom');
const skip = noPage || (data === undefined && noData);
const study = data === undefined ? '' : join(data, 'STS_025');
const source = join(study, 'CT', 'image');

async function predicted(page: Page): Promise<string> {
  await page.locator('#predict').dispatchEvent('click');
  await waitForStatus(page, /^Predicted in/);
  return textOf(page, '#results tbody');
}

/** Opens the only scan among files, and gives what the table says of its mask: volume and mean. */
async function tableOf(page: Page, files: readonly string[]): Promise<string> {
  await page.setInputFiles('#files', [...files]);
  t.match(await waitForStatus(page, new RegExp(`^${basename(files[0]!)}.*voxels of`)), /149 × 138 × 47 voxels/);
  return predicted(page);
}

t.test('formats and references', { skip }, async (t) => {
  const folder = t.testdir();
  const { page, faults } = await openPage(t);
  const image = join(study, 'CT_image.nii.gz');

  await drop(page, [exampleModel, source]);
  await waitForStatus(page, /149 × 138 × 47 voxels of/);
  await page.waitForSelector('#tasks .misfit', { state: 'attached' });
  const ticked = await page
    .locator('#tasks input:checked')
    .evaluateAll((boxes) => boxes.map((box) => (box as HTMLInputElement).value));
  t.strictSame(ticked, ['sarcoma'], 'only what was trained on such scans is ticked');
  t.match(
    await textOf(page, '#tasks'),
    /5 more, of scans unlike this one.*Modality: expected MR, as hippocampus is, found CT/s,
    'the others say why',
  );
  const expected = await predicted(page);
  t.match(expected, /sarcoma\d+\.\d\d/, 'a mask was found');

  await t.test('references', async (t) => {
    const metrics = async (files: readonly string[], label = 'all') => {
      await page.setInputFiles('#reference', [...files]);
      await waitForStatus(page, /is the reference/);
      await page.waitForSelector('#metrics[aria-busy=false]');
      if (label !== 'all') {
        await page.selectOption('#label', { label });
        await page.waitForSelector('#metrics[aria-busy=false]');
      }
      return textOf(page, '#metrics');
    };
    const mask = join(study, 'CT_mask.nii.gz');
    const plain = await metrics([mask]);
    t.match(plain, /Dice0\.\d{3}95 % Hausdorff distance\d/);
    const outlines = join(study, 'CT', 'mask');
    t.equal(
      await metrics(readdirSync(outlines).map((name) => join(outlines, name))),
      plain,
      'outlines (RTSTRUCT) are what their mask is',
    );
    const turned = turnedVolume(await readVolume(mask), [2, 0, 1], [true, false, true]);
    await writeNifti(join(folder, 'turned.nii.gz'), turned);
    t.equal(await metrics([join(folder, 'turned.nii.gz')]), plain, 'voxels in another order');
    await writeNrrd(join(folder, 'mask.nrrd'), turned);
    t.equal(await metrics([join(folder, 'mask.nrrd')]), plain, 'NRRD');
    const [seg] = (await savedFiles(page, 'seg')).values();
    writeFileSync(join(folder, 'page.seg.dcm'), seg!);
    t.match(await metrics([join(folder, 'page.seg.dcm')], 'sarcoma'), /^Dice1\.000/, 'the page’s own SEG');
    const other = join(data!, 'STS_008', 'CT', 'mask');
    await page.setInputFiles('#reference', join(other, readdirSync(other)[0]!));
    await page.waitForSelector('#error:not([hidden])');
    t.match(await textOf(page, '#error-text'), /referenced series.*Open the series that it was drawn on/s);
    await page.click('#error-close');
  });

  await t.test('volumes in files of their own', async (t) => {
    const volume = await readVolume(image);
    await writeNrrd(join(folder, 'a.nrrd'), volume);
    t.equal(await tableOf(page, [join(folder, 'a.nrrd')]), expected, 'NRRD');
    const raw = Buffer.from(volume.data.buffer, volume.data.byteOffset, volume.data.byteLength);
    writeFileSync(join(folder, 'voxels.raw'), raw);
    const type = volume.data.BYTES_PER_ELEMENT === 2 ? 'MET_SHORT' : 'MET_FLOAT';
    const [a, b, c] = [0, 1, 2].map((axis) => [0, 1, 2].map((row) => volume.affine[4 * row + axis]!));
    const unit = (v: readonly number[]) => {
      const length = Math.hypot(...v);
      return [-v[0]! / length, -v[1]! / length, v[2]! / length].join(' ');
    };
    const header = (place: string) =>
      [
        'ObjectType = Image',
        'NDims = 3',
        `DimSize = ${volume.sizeVoxels.join(' ')}`,
        `ElementSpacing = ${volume.spacingMm.join(' ')}`,
        `Offset = ${-volume.affine[3]!} ${-volume.affine[7]!} ${volume.affine[11]!}`,
        `TransformMatrix = ${[a, b, c].map((v) => unit(v!)).join(' ')}`,
        'BinaryData = True',
        'BinaryDataByteOrderMSB = False',
        `ElementType = ${type}`,
        `ElementDataFile = ${place}\n`,
      ].join('\n');
    writeFileSync(join(folder, 'b.mhd'), header('voxels.raw'));
    t.equal(await tableOf(page, [join(folder, 'b.mhd'), join(folder, 'voxels.raw')]), expected, 'MetaImage, two files');
    writeFileSync(join(folder, 'c.mha'), Buffer.concat([Buffer.from(header('LOCAL')), raw]));
    t.equal(await tableOf(page, [join(folder, 'c.mha')]), expected, 'MetaImage, one file');
    await writeNifti(join(folder, 'd.hdr'), volume);
    t.equal(await tableOf(page, [join(folder, 'd.hdr'), join(folder, 'd.img')]), expected, 'a pair');
    const four = { ...volume, data: volume.data.slice(0, 2 * 149 * 138), sizeVoxels: [149, 138, 2] as const };
    await writeNifti(join(folder, 'four.nii'), four);
    const bytes = readFileSync(join(folder, 'four.nii'));
    // dim[0] and dim[4]: two volumes of one slice each.
    for (const [place, dimension] of [
      [40, 4],
      [46, 1],
      [48, 2],
    ] as const)
      bytes.writeInt16LE(dimension, place);
    writeFileSync(join(folder, 'four.nii.gz'), gzipSync(bytes));
    await page.setInputFiles('#files', [join(folder, 'four.nii.gz')]);
    await waitForStatus(page, /Found 2 scans/);
    await page.locator('#scans li').last().locator('button').dispatchEvent('click');
    t.match(await waitForStatus(page, /four.*voxels of/), /149 × 138 × 1 voxels/, 'one volume of a file of two');
    t.match(await textOf(page, '#scans li:last-child'), /NIfTI · volume 2 of 2/);
    await page.setInputFiles('#files', [join(folder, 'b.mhd')]);
    await page.waitForSelector('#error:not([hidden])');
    t.match(await textOf(page, '#error-text'), /b\.mhd.*voxels\.raw, given together.*Drop both files/s);
    await page.click('#error-close');
    await page.setInputFiles('#files', [join(folder, 'd.hdr')]);
    await page.waitForSelector('#error:not([hidden])');
    t.match(await textOf(page, '#error-text'), /d\.hdr.*d\.img, given together/s);
    await page.click('#error-close');
  });

  await t.test('a zip file', async (t) => {
    const files = readdirSync(source).map((name) => [`study/${name}`, readFileSync(join(source, name))] as const);
    writeFileSync(join(folder, 'study.zip'), zipSync(Object.fromEntries(files), { level: 1 }));
    await page.setInputFiles('#files', join(folder, 'study.zip'));
    await waitForStatus(page, /voxels of/);
    t.equal(await predicted(page), expected);
  });

  const gdcm = spawnSync('gdcmconv', ['--version']).status === 0;
  await t.test('compressed frames', { skip: !gdcm && 'no gdcmconv on this machine' }, async (t) => {
    for (const [syntax, option] of [
      ['JPEG-LS', '--jpegls'],
      ['JPEG 2000', '--j2k'],
    ] as const) {
      const compressed = join(folder, option);
      mkdirSync(compressed);
      for (const name of readdirSync(source))
        spawnSync('gdcmconv', [option, join(source, name), join(compressed, name)]);
      t.equal(readdirSync(compressed).length, 47);
      await page.setInputFiles('#folder', compressed);
      await waitForStatus(page, /voxels of/);
      t.equal(await predicted(page), expected, syntax);
    }
  });
  t.strictSame(faults, [], 'no error on the page');
});
