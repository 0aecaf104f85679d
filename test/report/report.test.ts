// The page of `versemi report` in Chromium: what a person sees, clicks, types and prints.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium as browserType, type Locator, type Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { writeRunReport } from '../../src/reports/run-report.js';
import { closeBrowser, openAddress } from '../app/page.js';
import { chromium } from '../packaging/chromium.js';
import { lossAt, madeCases, makeRun, sizeVoxels, steps } from './made-run.js';

const skip = chromium === undefined ? 'no Chromium on this machine' : false;

t.teardown(closeBrowser);

/** The page of a run and of one that is compared with it; made once, since every test only looks at it. */
let made: Promise<string> | undefined;

async function makeReport(folder: string): Promise<string> {
  await makeRun(join(folder, 'first'));
  // Of the other, each prediction is half of the reference.
  await makeRun(
    join(folder, 'second'),
    madeCases.map(({ id, reference: [from, to] }) => ({
      id,
      reference: [from, to],
      prediction: [from, [(from[0] + to[0]) / 2, to[1], to[2]]],
    })),
  );
  const file = join(folder, 'report.html');
  await writeRunReport(join(folder, 'first'), file, { compare: [join(folder, 'second')] });
  return pathToFileURL(file).href;
}

async function openReport(test: Test) {
  made ??= makeReport(t.testdir());
  const url = await made;
  return { ...(await openAddress(test, url)), url };
}

const texts = (locator: Locator) => locator.evaluateAll((elements) => elements.map((one) => one.textContent!.trim()));

/** Pixels of a canvas near a colour, as a share of all. */
function shareOf(canvas: Locator, color: readonly [number, number, number], within = 60): Promise<number> {
  return canvas.evaluate(
    (element, [wanted, most]) => {
      const { width, height } = element as HTMLCanvasElement;
      const { data } = (element as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height);
      let count = 0;
      for (let i = 0; i < data.length; i += 4)
        if (wanted.every((value, channel) => Math.abs(data[i + channel]! - value) <= most)) count++;
      return count / (width * height);
    },
    [color, within] as const,
  );
}

t.test('the page needs nothing, runs nothing else, and has a name for every control', { skip }, async (t) => {
  const { page, url, requests, faults } = await openReport(t);
  t.same(
    requests.filter((address) => !address.startsWith('data:')),
    [url],
    'asks for nothing',
  );
  t.same(faults, [], 'its policy refuses nothing that it needs');
  t.equal(await page.locator('.curves').count(), 4, 'two plots of curves of each run');
  t.equal(await page.locator('.case-plot svg').count(), 3, 'boxes, pairs, volumes');
  const nameless = await page.evaluate(() =>
    Array.from(document.querySelectorAll<HTMLElement>('button, input, select, a, [tabindex]'))
      .filter((one) => {
        const label = one.getAttribute('aria-label') ?? (one as HTMLInputElement).labels?.[0]?.textContent;
        return (label ?? one.textContent ?? '').trim() === '';
      })
      .map((one) => one.outerHTML),
  );
  t.same(nameless, []);
  t.same(
    await page.evaluate(
      () => Array.from(document.querySelectorAll('svg[class^=plot], .canvas')).filter((one) => !one.ariaLabel).length,
    ),
    0,
    'pictures say what they show',
  );
  const refused = await page.evaluate(async () => {
    const script = document.createElement('script');
    script.textContent = 'window.ran = true';
    document.body.append(script);
    const fetched = await fetch('https://example.invalid/').then(
      () => 'fetched',
      () => 'refused',
    );
    return ['ran' in window, fetched];
  });
  t.same(refused, [false, 'refused']);
});

t.test('curves: values under the pointer and by keys, zoom, smoothing, terms on and off', { skip }, async (t) => {
  const { page, faults } = await openReport(t);
  const figure = page.locator('.curves').first();
  const place = figure.locator('.canvas');
  const over = figure.locator('.u-over');
  await place.scrollIntoViewIfNeeded();
  const at = async () => Number(/step (\d+)/.exec((await figure.locator('.at').textContent())!)?.[1]);
  const values = () => texts(figure.locator('.legend label output'));
  const box = (await over.boundingBox())!;
  await page.mouse.move(box.x + box.width / 2, box.y + 40);
  const step = await at();
  t.ok(Math.abs(step - steps / 2) < 3, `step ${step} in the middle`);
  t.same(
    await values(),
    [lossAt('total', step), lossAt('dice', step)].map((value) => value.toPrecision(3)),
  );

  await place.focus();
  await page.keyboard.press('ArrowRight');
  t.equal(await at(), step + 1, 'by key');
  t.same(
    await values(),
    [lossAt('total', step + 1), lossAt('dice', step + 1)].map((value) => value.toPrecision(3)),
  );

  const smoothing = figure.locator('input[type=range]');
  await smoothing.fill('0.9');
  // Near the beginning, where an average that began at 0 would be too small.
  await page.mouse.move(box.x + box.width * 0.03, box.y + 60);
  let [sum, total] = [0, 0];
  const last = await at();
  for (let n = 1; n <= last; n++) {
    sum = 0.9 * sum + 0.1 * Number(lossAt('total', n).toPrecision(5));
    total = 0.9 * total + 0.1;
  }
  t.equal((await values())[0], (sum / total).toPrecision(3), 'smoothed');
  await smoothing.fill('0');

  await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 40, { steps: 4 });
  await page.mouse.up();
  await page.mouse.move(box.x + 2, box.y + 50);
  t.ok(Math.abs((await at()) - 0.4 * steps) < 5, `zoomed: ${await at()} at the left`);
  await figure.getByRole('button', { name: 'Later' }).click();
  await page.mouse.move(box.x + 2, box.y + 52);
  t.ok((await at()) > 0.4 * steps + 10, `moved: ${await at()}`);
  await place.focus();
  await page.keyboard.press('Home');
  await page.mouse.move(box.x + 2, box.y + 54);
  t.ok((await at()) <= 3, `whole: ${await at()}`);
  await page.mouse.move(5, 5);

  const picture = () =>
    figure
      .locator('canvas')
      .first()
      .evaluate((one) => (one as HTMLCanvasElement).toDataURL());
  const before = await picture();
  const term = figure.getByRole('checkbox', { name: /^dice/ });
  await term.uncheck();
  t.not(await picture(), before, 'a term off');
  await term.check();
  t.equal(await picture(), before, 'and on');
  t.same(faults, []);
});

t.test('the table sorts and filters', { skip }, async (t) => {
  const { page } = await openReport(t);
  const shown = () => texts(page.locator('#case-table tbody tr:visible th'));
  const run = page.getByRole('combobox', { name: /^Run/ });
  await run.selectOption({ label: 'first' });
  t.same(await shown(), ['case-1', 'case-2', 'case-10'], 'of one run');
  const dice = page.locator('#case-table th', { hasText: /^Dice$/ });
  await dice.getByRole('button').click();
  t.same(await shown(), ['case-2', 'case-10', 'case-1'], 'the smallest first');
  t.equal(await dice.getAttribute('aria-sort'), 'ascending');
  await dice.getByRole('button').press('Enter');
  t.same(await shown(), ['case-1', 'case-10', 'case-2'], 'and by key the largest');
  t.equal(await dice.getAttribute('aria-sort'), 'descending');
  await page.locator('#case-table th').first().getByRole('button').click();
  t.same(await shown(), ['case-1', 'case-2', 'case-10'], 'names with numbers by their numbers');
  t.equal(await dice.getAttribute('aria-sort'), null);
  await page.getByLabel('Dice below').fill('0.9');
  t.same(await shown(), ['case-2']);
  t.equal(await page.locator('[role=search] output').textContent(), '1 of 6 rows');
  await page.getByLabel('Dice below').fill('');
  await page.getByRole('searchbox').fill('CASE-1 first');
  t.same(await shown(), ['case-1', 'case-10'], 'words of any text column');
  const own = page.locator('#case-table th', { hasText: /^own\.voxelsTooMany$/ });
  await own.getByRole('button').click();
  t.same(await shown(), ['case-10', 'case-1'], "a metric of one's own, whose values may be negative");
});

async function openCase(page: Page, id: string) {
  const dialog = page.locator('dialog');
  await page.locator('#case-table button.case', { hasText: id }).first().click();
  await page.waitForSelector(`dialog[data-shown="${id}"]`);
  const canvas = (i: number) => dialog.locator('canvas').nth(i);
  const captions = () => texts(dialog.locator('.planes figcaption'));
  return { dialog, canvas, captions };
}

t.test('a case: three planes, sliders, outlines and errors', { skip }, async (t) => {
  const { page, faults } = await openReport(t);
  const { dialog, canvas, captions } = await openCase(page, 'case-2');
  t.same(await captions(), ['Axial 6 of 20', 'Coronal 9 of 32', 'Sagittal 21 of 40'], 'where most foreground is');
  t.match(await dialog.textContent(), /organ: Dice 0\.588, /);
  t.match(await dialog.textContent(), 'Shown at 1 × 1 × 2 mm');
  for (let i = 0; i < 3; i++) {
    const [green, orange] = [await shareOf(canvas(i), [0, 200, 120]), await shareOf(canvas(i), [255, 120, 0])];
    t.ok(green > 0.002 && green < 0.1 && orange > 0.001 && orange < 0.1, `outlines of plane ${i}: ${green}, ${orange}`);
  }
  await dialog.getByLabel('Errors').check();
  const [missed, added] = [await shareOf(canvas(0), [12, 175, 110], 70), await shareOf(canvas(0), [235, 125, 20], 60)];
  const voxels = sizeVoxels[0] * sizeVoxels[1];
  t.ok(Math.abs(missed / ((10 * 16) / voxels) - 1) < 0.15, `missed ${missed} of ${(10 * 16) / voxels}`);
  t.ok(Math.abs(added / ((4 * 16) / voxels) - 1) < 0.15, `added ${added} of ${(4 * 16) / voxels}`);
  /** How much greener than red the picture is at a share of its width, in its middle row. */
  const greenAt = (share: number) =>
    canvas(0).evaluate((element, at) => {
      const { width, height } = element as HTMLCanvasElement;
      const place = [Math.round(width * at), Math.round(height * 0.53)] as const;
      const [red, green] = (element as HTMLCanvasElement).getContext('2d')!.getImageData(...place, 1, 1).data;
      return green! - red!;
    }, share);
  // Patient right is on the left: x grows from the right to the left of the picture.
  t.ok((await greenAt(0.62)) > 120, 'what was missed, at x = 15, is on the right');
  t.ok((await greenAt(0.22)) < -60, 'what was added, at x = 31, is on the left');

  const slider = dialog.getByRole('slider', { name: 'Axial slice' });
  await slider.focus();
  await page.keyboard.press('Home');
  t.same((await captions())[0], 'Axial 1 of 20');
  t.equal(await shareOf(canvas(0), [12, 175, 110], 70), 0, 'nothing is wrong in the lowest slice');
  await page.keyboard.press('ArrowRight');
  t.same((await captions())[0], 'Axial 2 of 20');
  await canvas(1).hover();
  await page.mouse.wheel(0, 100);
  t.same((await captions())[1], 'Coronal 10 of 32', 'by the wheel');
  await dialog.getByRole('button', { name: 'Most errors' }).click();
  t.same((await captions())[0], 'Axial 6 of 20');
  const box = (await canvas(0).boundingBox())!;
  await canvas(0).click({ position: { x: box.width * 0.25, y: box.height * 0.75 } });
  t.same(await captions(), ['Axial 6 of 20', 'Coronal 8 of 32', 'Sagittal 30 of 40'], 'a click sets the other planes');

  await dialog.getByRole('combobox', { name: /^Run/ }).selectOption({ label: 'second' });
  await page.waitForFunction(() => /Dice 0\.667/.test(document.querySelector('dialog')!.textContent!));
  await dialog.getByRole('button', { name: 'Next case' }).click();
  await page.waitForFunction(() => !/case-2/.test(document.querySelector('dialog h2')!.textContent!));
  await page.keyboard.press('Escape');
  t.equal(await dialog.isVisible(), false);
  t.equal(await page.evaluate(() => document.activeElement?.textContent), 'case-2', 'the focus is where it was');
  t.same(faults, []);
});

t.test('a click on a point of a plot, or on a picture, opens its case', { skip }, async (t) => {
  const { page } = await openReport(t);
  const svg = page.locator('.case-plot svg').first();
  await svg.scrollIntoViewIfNeeded();
  await svg.locator('circle').last().hover({ force: true });
  t.match(await svg.textContent(), /case-/, 'the tip names it');
  await svg.locator('circle').last().click({ force: true });
  await page.waitForSelector('dialog[data-shown]');
  await page.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('combobox', { name: /^Metric/ }).selectOption({ label: 'own.voxelsTooMany' });
  t.match(await svg.getAttribute('aria-label'), /^own\.voxelsTooMany of every case/);
  await svg.locator('circle').first().hover({ force: true });
  t.match(await svg.textContent(), /own\.voxelsTooMany -?\d/, "a metric of one's own is drawn, too");
  await page.locator('.case-picture img').first().click();
  await page.waitForSelector('dialog[data-shown="case-2"]');
  t.ok(await page.locator('dialog').isVisible(), 'the worst is the first');
});

t.test('light, dark, on paper, and without a script', { skip }, async (t) => {
  const { page, url, faults } = await openReport(t);
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  t.equal(await background(), 'rgb(255, 255, 255)');
  await page.emulateMedia({ colorScheme: 'dark' });
  t.equal(await background(), 'rgb(20, 26, 33)');
  await page.emulateMedia({ colorScheme: 'dark', media: 'print' });
  t.equal(await background(), 'rgb(255, 255, 255)', 'paper is light');
  t.same(
    await page
      .locator('button.sort:visible, nav:visible, [role=search]:visible, .tools button:visible')
      .evaluateAll((all) => all.map((one) => one.className)),
    ['sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort', 'sort'],
    'headings, and no controls',
  );
  t.equal(await page.locator('#case-table tbody tr:visible').count(), 6);
  await page.emulateMedia({ colorScheme: 'dark', media: null });
  // The page's own listener came first.
  await page.evaluate(() =>
    addEventListener('beforeprint', () => {
      const widths = Array.from(document.querySelectorAll('.case-plot svg')).map((one) => one.getAttribute('width'));
      document.body.dataset.printed = widths.join();
    }),
  );
  const pdf = await page.pdf({ format: 'A4' });
  t.equal(pdf.subarray(0, 5).toString(), '%PDF-');
  t.equal(await page.evaluate(() => document.body.dataset.printed), '680,680,680', 'plots are drawn for the paper');
  t.same(faults, []);

  const browser = await browserType.launch({ executablePath: chromium!, args: ['--no-sandbox'] });
  t.teardown(() => browser.close());
  const still = await browser.newPage({ javaScriptEnabled: false });
  await still.goto(url);
  t.ok(await still.getByText('need its script').isVisible());
  t.equal(await page.getByText('need its script').count(), 0);
  t.equal(await still.locator('#case-table tbody tr:visible').count(), 6);
  t.equal(await still.locator('.case-picture img').count(), 3);
});
