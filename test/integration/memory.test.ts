// What --max-memory prints is an upper bound of what the process then takes, and not far above it.
import t from 'tap';
import { nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { writeCt, writeLabeledCt, writeModel } from '../bench/memory-model.js';
import { peakOf } from '../bench/peak-of.js';

const folder = t.testdir();
const [size, spacing, tasks] = [[320, 320, 72], [1, 1, 1], 3] as const;
const model = await writeModel(folder, { tasks, baseWidth: 8, patchSizeVoxels: [64, 64, 64], spacingMm: spacing });
const scan = await writeCt(folder, size, spacing);
const dataset = await writeLabeledCt(folder, size, spacing, tasks);

const common = ['--overlap', '0', '--threads', '2'];
const predict = ['predict', model, scan, '--out', `${folder}/out`, ...common];
const evaluate = ['evaluate', model, '--data', dataset, ...common];
const native = { skip: nativeUnavailableReason() ?? false };

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

for (const [name, args, skip] of [
  ['predict on cpu', [...predict, '--device', 'cpu'], native],
  ['evaluate on cpu', [...evaluate, '--device', 'cpu'], native],
  ['components on wasm', [...predict, '--largest-component', '--device', 'wasm'], {}],
] as const)
  t.test(name, skip, async (t) => {
    const { peakBytes, estimate, line } = await peakOf([...args, '--max-memory', '100GB']);
    const share = peakBytes / estimate;
    t.ok(share <= 1 && share > 0.6, `${megabytes(peakBytes)}, ${share.toFixed(2)} of ${line}`);
    if (name !== 'predict on cpu') return;
    // Less than that is kept too, in parts.
    const limit = estimate - 60e6;
    const part = await peakOf([...args, '--max-memory', megabytes(limit).replace(' ', '')]);
    t.match(part.line, /in \d+ parts/);
    t.ok(part.peakBytes <= limit, `${megabytes(part.peakBytes)} of ${part.line}`);
  });
