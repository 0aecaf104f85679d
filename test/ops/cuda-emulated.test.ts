/** The CUDA device on the emulator, through the whole TypeScript stack: kernels, gradients, formats, leaks. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { packageRoot } from '../../src/root.js';

// Built by test/run.mjs with the native tests; here so that one file can be run alone: node test/native-build.mjs.
const addon = join(packageRoot, 'build', 'native-tests', 'versemi.node');
const skip = existsSync(addon) ? false : 'no emulated addon: node test/native-build.mjs makes it';

/** @param rows value of VERSEMI_ROWS */
function selftest(args: readonly string[], rows = ''): Promise<{ stdout: string; stderr: string; status: number }> {
  const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
  const options = { maxBuffer: 1 << 28, env: { ...process.env, VERSEMI_ADDON: addon, VERSEMI_ROWS: rows } };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, 'selftest', '--json', ...args], options, (_, stdout, stderr) =>
      resolve({ stdout, stderr, status: child.exitCode ?? -1 }),
    );
  });
}

// 30 s of processor time in all, beside each other.
const precisions = ['float32', 'tf32', 'bfloat16'] as const;
const runs = skip
  ? []
  : precisions.map((precision) => selftest(['--device', 'cuda', '--precision', precision, '--every-row']));

for (const [i, precision] of precisions.entries())
  t.test(`the selftest passes on every row in ${precision}`, { skip }, async (t) => {
    const { stdout, stderr, status } = await runs[i]!;
    t.equal(status, 0, stderr);
    const { device, passed, failed, rows } = JSON.parse(stdout);
    t.match(device, /emulated/);
    t.match(device.toLowerCase(), precision);
    t.equal(failed, 0);
    t.ok(passed > 400, `${passed} cases`);
    for (const row of ['dynamic_head head-8', 'dynamic_head head-any', 'conv3d_forward conv3d-plain'])
      t.ok(rows[row].passed > 0, row);
  });

t.test('VERSEMI_ROWS forbids rows of the GPU too', { skip }, async (t) => {
  const unknown = await selftest(['--device', 'cuda'], '-conv3d-none');
  t.equal(unknown.status, 6);
  t.match(unknown.stderr, /VERSEMI_DEVICE_UNAVAILABLE.*conv3d-plain.*conv3d-none/s);
  const script = `
    const { loadNativeDevice } = await import(${JSON.stringify(new URL('../../src/tfjs/devices/native-device.js', import.meta.url).href)});
    const device = loadNativeDevice({}, 'cuda');
    console.log(JSON.stringify(device.rows('dynamic_head', [1, 1, 64, 8])));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, VERSEMI_ADDON: addon, VERSEMI_ROWS: '-head-mma' },
  });
  t.same(JSON.parse(stdout), [
    { name: 'head-mma', reason: 'forbidden by VERSEMI_ROWS' },
    { name: 'head-8', reason: null },
    { name: 'head-any', reason: null },
  ]);
});

t.test('cuda is taken only by name', { skip }, async (t) => {
  const { selectDevice } = await import('../../src/tfjs/index.js');
  t.not((await selectDevice('auto')).device.name, 'cuda');
});
