// Peak memory of `versemi predict` on a large CT, whole process, beside what --max-memory estimated.
//   node dist/test/bench/memory.js [--size 512,512,600] [--spacing 0.8,0.8,0.8] [--plan-spacing 0.8,0.8,0.8] [--width 16]
//     [--patch 96] [--tasks 4] [--overlap 0] [--devices cpu,wasm] [--max-memory 2GB,...] [-- options of versemi predict]
// Default: the plan's spacing is the CT's own, where memory is largest. Windows do not overlap, so that it ends in minutes;
// memory is the same with overlap.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Triple } from '../../src/volume/volume.js';
import { writeCt, writeModel } from './memory-model.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: 'string', default: '512,512,600' },
    spacing: { type: 'string', default: '0.8,0.8,0.8' },
    'plan-spacing': { type: 'string' },
    width: { type: 'string', default: '16' },
    patch: { type: 'string', default: '96' },
    tasks: { type: 'string', default: '4' },
    overlap: { type: 'string', default: '0' },
    devices: { type: 'string', default: 'cpu,wasm' },
    'max-memory': { type: 'string', default: '100GB' },
  },
});
const triple = (text: string) => text.split(',').map(Number) as unknown as Triple;

const child = fileURLToPath(new URL('./peak-memory.js', import.meta.url));

/** Runs the command line in a process of its own, which prints its peak at the end. */
function run(args: readonly string[]): Promise<{ stderr: string; peakBytes: number; seconds: number }> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const { stderr, on } = attach(spawn(process.execPath, [child, ...args], { stdio: ['ignore', 'ignore', 'pipe'] }));
    on((code) => {
      const peak = /peak (\d+) KiB/.exec(stderr());
      if (code !== 0 || peak === null) reject(new Error(stderr()));
      else
        resolve({
          stderr: stderr(),
          peakBytes: 1024 * Number(peak[1]),
          seconds: (performance.now() - started) / 1000,
        });
    });
  });
}

function attach(process: ReturnType<typeof spawn>) {
  let text = '';
  process.stderr!.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  return { stderr: () => text, on: (end: (code: number | null) => void) => process.on('close', end) };
}

const folder = mkdtempSync(join(tmpdir(), 'versemi-memory-'));
try {
  const spacing = triple(values.spacing);
  const ct = await writeCt(folder, triple(values.size), spacing);
  const patch = Number(values.patch);
  const model = await writeModel(folder, {
    tasks: Number(values.tasks),
    baseWidth: Number(values.width),
    patchSizeVoxels: [patch, patch, patch],
    spacingMm: values['plan-spacing'] === undefined ? spacing : triple(values['plan-spacing']),
  });
  for (const device of values.devices.split(',')) {
    for (const limit of values['max-memory'].split(',')) {
      const args = ['predict', model, ct, '--out', join(folder, 'out'), '--device', device, '--max-memory', limit];
      const { stderr, peakBytes, seconds } = await run([...args, '--overlap', values.overlap, ...positionals]);
      const estimate = /at most (.*)/.exec(stderr)?.[1];
      console.log(`${device}, limit ${limit}: peak ${(peakBytes / 1e9).toFixed(2)} GB in ${seconds.toFixed(0)} s`);
      console.log(`  estimate ${estimate}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
