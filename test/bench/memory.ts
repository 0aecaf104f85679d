// Peak memory of `versemi predict` (or evaluate) on a large CT, whole process, beside what --max-memory estimated.
//   node dist/test/bench/memory.js [--evaluate] [--size 512,512,600] [--spacing 0.8,0.8,0.8] [--plan-spacing 0.8,0.8,0.8] [--width 16]
//     [--patch 96] [--tasks 4] [--overlap 0] [--devices cpu,wasm] [--max-memory 2GB,...] [-- more options of the command]
// Default: the plan's spacing is the CT's own, where memory is largest. Windows do not overlap, so that it ends in minutes;
// memory is the same with overlap.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Triple } from '../../src/volume/volume.js';
import { writeCt, writeLabeledCt, writeModel } from './memory-model.js';
import { peakOf } from './peak-of.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    evaluate: { type: 'boolean', default: false },
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

const folder = mkdtempSync(join(tmpdir(), 'versemi-memory-'));
try {
  const spacing = triple(values.spacing);
  const size = triple(values.size);
  const tasks = Number(values.tasks);
  const patch = Number(values.patch);
  const model = await writeModel(folder, {
    tasks,
    baseWidth: Number(values.width),
    patchSizeVoxels: [patch, patch, patch],
    spacingMm: values['plan-spacing'] === undefined ? spacing : triple(values['plan-spacing']),
  });
  const command = values.evaluate
    ? ['evaluate', model, '--data', await writeLabeledCt(folder, size, spacing, tasks)]
    : ['predict', model, await writeCt(folder, size, spacing), '--out', join(folder, 'out')];
  for (const device of values.devices.split(',')) {
    for (const limit of values['max-memory'].split(',')) {
      const args = ['--device', device, '--max-memory', limit, '--overlap', values.overlap, ...positionals];
      const { peakBytes, estimate, line, seconds } = await peakOf([...command, ...args]);
      const share = (peakBytes / estimate).toFixed(2);
      console.log(
        `${device}, limit ${limit}: peak ${(peakBytes / 1e9).toFixed(2)} GB, ${share} of the estimate, in ${seconds.toFixed(0)} s`,
      );
      console.log(`  estimate ${line}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
