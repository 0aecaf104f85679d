/** The CUDA device on the emulator, through the whole TypeScript stack: kernels, gradients, formats, leaks. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/root.js';

// Built by test/run.mjs with the native tests; here so that one file can be run alone: node test/native-build.mjs.
const addon = join(packageRoot, 'build', 'native-tests', 'versemi.node');
const skip = existsSync(addon) ? false : 'no emulated addon: node test/native-build.mjs makes it';

function selftest(...args: string[]): Promise<{ stdout: string; stderr: string; status: number }> {
  const main = join(packageRoot, 'dist', 'src', 'cli', 'main.js');
  const options = { maxBuffer: 1 << 28, env: { ...process.env, VERSEMI_ADDON: addon } };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, 'selftest', '--json', ...args], options, (_, stdout, stderr) =>
      resolve({ stdout, stderr, status: child.exitCode ?? -1 }),
    );
  });
}

// 30 s of processor time in all, beside each other.
const precisions = ['float32', 'tf32', 'bfloat16'] as const;
const runs = skip ? [] : precisions.map((precision) => selftest('--device', 'cuda', '--precision', precision));

for (const [i, precision] of precisions.entries())
  t.test(`the selftest passes in ${precision}`, { skip }, async (t) => {
    const { stdout, stderr, status } = await runs[i]!;
    t.equal(status, 0, stderr);
    const { device, passed, failed } = JSON.parse(stdout);
    t.match(device, /emulated/);
    t.match(device.toLowerCase(), precision);
    t.equal(failed, 0);
    t.ok(passed > 400, `${passed} cases`);
  });

t.test('cuda is taken only by name', { skip }, async (t) => {
  const { selectDevice } = await import('../../src/tfjs/index.js');
  t.not((await selectDevice('auto')).device.name, 'cuda');
});
