// The page as `versemi serve` serves it: a case of a dataset is opened, predicted and saved as its label.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makePhantomDataset, openDataset } from '../../src/index.js';
import { packageRoot } from '../../src/root.js';
import { chooseTasks, closeBrowser, exampleModel, noPage, openAddress, textOf, waitForStatus } from './page.js';

t.teardown(closeBrowser);

t.test('a case is labelled', { skip: noPage }, async (t) => {
  const folder = join(t.testdir(), 'phantom');
  const counts = { cases: 2, labeledCases: 1, validationCases: 0, testCases: 0 };
  await makePhantomDataset(folder, 'mr-atrium', { ...counts, seed: 3 });
  const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
  const server = spawn(process.execPath, [main, 'serve', exampleModel, '--data', folder, '--port', '0']);
  t.teardown(() => server.kill('SIGINT'));
  const address = await new Promise<string>((resolve, reject) => {
    let text = '';
    const read = (part: Buffer) => {
      text += part;
      const found = /http:\S+token=\S+/.exec(text)?.[0];
      if (found !== undefined) resolve(found);
    };
    server.stdout.on('data', read);
    server.stderr.on('data', read);
    server.on('exit', () => reject(new Error(text)));
  });
  const { page, requests } = await openAddress(t, address);
  await page.waitForSelector('#tasks:not([hidden])', { timeout: 60_000 });
  await page.waitForFunction(() => document.querySelectorAll('#cases option').length > 0);
  t.equal(await page.locator('#cases option').count(), 3, 'two cases, and the line that asks for one');
  t.match(await page.locator('#next-case').getAttribute('title'), /mr-atrium_002: the first case without a label/);
  await page.locator('#next-case').dispatchEvent('click');
  await waitForStatus(page, /voxels of/);
  await chooseTasks(page, ['left-atrium', 'hippocampus']);
  await page.locator('#predict').dispatchEvent('click');
  await waitForStatus(page, /^Predicted in/);
  const told = await page.locator('#cases option:checked').textContent();
  t.match(told, /^mr-atrium_002 \(disagreement [01]\.\d\d\)$/, 'the server knows how much the tasks disagree on it');
  await page.waitForSelector('#save-label:not(:disabled)');
  await page.locator('#save-label').dispatchEvent('click');
  t.match(
    await waitForStatus(page, /^Saved as/),
    /the label of mr-atrium_002\. Left out, as the dataset does not name it: 1 structure\./,
  );
  const dataset = await openDataset(folder);
  const saved = dataset.cases.find(({ id }) => id === 'mr-atrium_002')!.label!;
  t.ok(readFileSync(saved).length > 0, 'the next plan finds the label');
  await page.waitForFunction(() => document.getElementById('cases')!.textContent!.includes('mr-atrium_002 (labelled)'));
  t.ok(await page.locator('#next-case').isDisabled(), 'every case has a label');
  await page.locator('#save-label').dispatchEvent('click');
  await page.waitForSelector('#error:not([hidden])');
  t.match(await textOf(page, '#error-text'), /The server refused.*label/, 'a label is not replaced unasked');
  const { origin } = new URL(address);
  t.strictSame(
    requests.filter((each) => !each.startsWith(origin) && !each.startsWith(`blob:${origin}`)),
    [],
  );
});
