// What the command line prints of files from elsewhere: nothing that a terminal obeys, whatever a file says of itself.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parseSafetensors } from '../../src/checkpoints/safetensors.js';
import { evaluationSeed, makeFileSeeds, metricsSeed, niftiSeeds } from '../fuzz/seeds.js';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
/** Clears the screen, sets the title of the window, writes backwards. */
const hostile = '\u001b[2J\u009b31m\u001b]0;title\u0007\u202egpj';
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const obeyed = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

function assertHarmless(t: Test, args: readonly string[], code: number): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  t.equal(status, code, `${args[0]}: ${stderr}`);
  t.notMatch(stdout, obeyed, 'stdout');
  t.notMatch(stderr, obeyed, 'stderr');
  return stdout + stderr;
}

/** A model whose metadata is `change` of a good one's. */
async function modelWith(change: (metadata: Record<string, never>) => unknown): Promise<Uint8Array> {
  const { model } = await makeFileSeeds();
  const length = Number(new DataView(model.buffer, model.byteOffset, 8).getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(model.subarray(8, 8 + length)).toString());
  header.__metadata__.versemi = JSON.stringify(change(JSON.parse(header.__metadata__.versemi)));
  const text = Buffer.from(JSON.stringify(header));
  const start = new Uint8Array(8);
  new DataView(start.buffer).setBigUint64(0, BigInt(text.length), true);
  const bytes = Buffer.concat([start, text, model.subarray(8 + length)]);
  parseSafetensors(bytes);
  return bytes;
}

t.test('info: a model and a scan', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'model.safetensors');
  const provenance = { created: hostile, versions: {}, data: [{ dataset: hostile, licence: hostile }] };
  writeFileSync(file, await modelWith((metadata) => ({ ...metadata, provenance })));
  t.match(assertHarmless(t, ['info', file], 0), '\\x1b[2J');
  const json = assertHarmless(t, ['info', file, '--json'], 0);
  t.equal(JSON.parse(json).provenance.created, hostile, 'JSON stands for what was in the file');
  writeFileSync(file, await modelWith((metadata) => ({ ...metadata, plan: { version: hostile } })));
  assertHarmless(t, ['info', file], 5);
  if (process.platform === 'win32') return;
  const scan = join(folder, `${hostile}.nii`.replaceAll('/', ''));
  writeFileSync(scan, niftiSeeds[0]!);
  assertHarmless(t, ['info', scan], 0);
  writeFileSync(scan, 'nothing');
  assertHarmless(t, ['info', scan], 3);
});

t.test('a command line that is not valid', async (t) => {
  assertHarmless(t, [hostile], 2);
  assertHarmless(t, ['info', `--${hostile}`], 2);
});

t.test('report and plan: folders that say odd things', async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, 'run'));
  writeFileSync(
    join(folder, 'run', 'metrics.jsonl'),
    `${metricsSeed.map((event) => JSON.stringify(event)).join('\n')}\n`,
  );
  writeFileSync(join(folder, 'run', 'evaluation.json'), JSON.stringify({ ...evaluationSeed, model: hostile }));
  assertHarmless(t, ['report', join(folder, 'run'), '--title', hostile], 0);
  writeFileSync(join(folder, 'run', 'evaluation.json'), JSON.stringify({ ...evaluationSeed, format: hostile }));
  assertHarmless(t, ['report', join(folder, 'run')], 3);
  mkdirSync(join(folder, 'data', 'imagesTr'), { recursive: true });
  writeFileSync(join(folder, 'data', 'imagesTr', 'a.nii'), niftiSeeds[0]!);
  const labels = { '0': 'background', '1': hostile };
  const description = { name: hostile, modality: { '0': hostile }, labels, training: [{ image: 'imagesTr/a.nii' }] };
  for (const json of [
    description,
    { ...description, labels: { [hostile]: hostile } },
    { ...description, training: [hostile] },
  ]) {
    writeFileSync(join(folder, 'data', 'dataset.json'), JSON.stringify(json));
    const plan = ['plan', join(folder, 'data'), '--out', join(folder, 'plan.json'), '--force', '--gflops', '100'];
    assertHarmless(t, plan, 3);
  }
});
