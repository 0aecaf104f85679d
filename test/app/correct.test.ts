// What a person does with a mask, and what the page refuses before it begins.
import { join } from 'node:path';
import t from 'tap';
import { noData, realData } from '../unit/datasets-support.js';
import { closeBrowser, drop, exampleModel, noPage, openPage, textOf, waitForStatus } from './page.js';

t.teardown(closeBrowser);
const data = realData('dicom');

t.test('presets, grow, undo, the memory refusal', { skip: noPage || (data === undefined && noData) }, async (t) => {
  const { page } = await openPage(t);
  await drop(page, [exampleModel, join(data!, 'STS_025', 'CT_image.nii.gz')]);
  await waitForStatus(page, /voxels of/);

  t.equal(
    await page.locator('#window').inputValue(),
    'soft-tissue',
    'a CT without a word of its modality is seen as one',
  );
  const shot = () => page.locator('#canvas').screenshot();
  let before = await shot();
  for (const preset of ['lung', 'bone', 'automatic']) {
    await page.selectOption('#window', preset);
    const now = await shot();
    t.notOk(now.equals(before), `${preset} looks otherwise`);
    before = now;
  }

  await page.waitForSelector('#predict:not(:disabled)');
  await page.locator('#predict').dispatchEvent('click');
  await waitForStatus(page, /^Predicted in/);
  const volume = () => textOf(page, '#results tbody td:nth-child(3)');
  const found = await volume();
  await page.fill('#tolerance', '1000');
  await page.fill('#radius', '40');
  await page.locator('#grow').dispatchEvent('click');
  t.match(await waitForStatus(page, /voxels were added/), /^\d{3,} voxels/, 'more than a few');
  const grown = await volume();
  t.ok(Number(grown) > Number(found), `${found} ml became ${grown}`);
  await page.locator('#undo').dispatchEvent('click');
  await page.waitForSelector('#undo:disabled');
  await page.waitForFunction(
    (ml) => document.querySelector('#results tbody td:nth-child(3)')!.textContent === ml,
    found,
  );
  t.pass('undo gives the mask back');
  await page.locator('#redo').dispatchEvent('click');
  await page.waitForFunction(
    (ml) => document.querySelector('#results tbody td:nth-child(3)')!.textContent === ml,
    grown,
  );
  t.pass('redo takes it away again');

  // The page offers no limit that so small a scan exceeds.
  await page
    .locator('#memory option')
    .first()
    .evaluate((option) => {
      (option as HTMLOptionElement).value = '0.3';
    });
  await page.selectOption('#memory', '0.3');
  await page.waitForSelector('#error:not([hidden])');
  t.match(await textOf(page, '#error-text'), /max-memory.*expected at least .*found 300/s);
  t.match(await textOf(page, '#estimate'), /Too large for this memory limit/);
  t.ok(await page.locator('#predict').isDisabled(), 'nothing is begun that would not end');
  await page.selectOption('#memory', '2.5');
  await page.waitForSelector('#predict:not(:disabled)');
  t.match(await textOf(page, '#estimate'), /Memory: about/, 'a larger limit helps');
});
