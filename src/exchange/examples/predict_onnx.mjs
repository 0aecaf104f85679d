// Segments a scan with an ONNX model that `versemi export` wrote: node predict_onnx.mjs MODEL.onnx SCAN.nii.gz TASK MASK.nii
// Needs onnxruntime-node, and onnx_volumes.mjs beside it. MODEL.json says all that is done. For research.
import { readFileSync } from 'node:fs';
import ort from 'onnxruntime-node';
import * as vox from './onnx_volumes.mjs';

const [modelFile, scanFile, taskName, maskFile] = process.argv.slice(2);
const model = JSON.parse(readFileSync(modelFile.replace(/\.onnx$/, '.json'), 'utf8'));
const task = model.tasks.find(({ name }) => name === taskName);
if (!task) throw new Error(`tasks: ${model.tasks.map(({ name }) => name).join(', ')}`);
const together = [task, ...model.tasks.filter(({ name }) => task.together?.includes(name))];
const { spacingMm, crop, window, normalization } = task.preprocessing;
const { sizeVoxels: patch, strideVoxels, even, weighting, mirror, largestComponent } = model.windows;

// In this order: crop to the body, clip, resample, normalise.
const scan = vox.readNifti(scanFile);
const box = (crop === 'body' ? vox.bodyBox(scan, scan.spacing) : undefined) ?? scan.size.map((count) => [0, count]);
const [first, full] = [box.map(([begin]) => begin), box.map(([begin, end]) => end - begin)];
let image = vox.cut(scan, first, full);
if (window) image.data = image.data.map((v) => Math.min(Math.max(v, window[0]), window[1]));
const ratio = vox.three((axis) => spacingMm[axis] / scan.spacing[axis]);
const scale = vox.three((axis) => (Math.abs(ratio[axis] - 1) * full[axis] < 0.05 ? 1 : ratio[axis]));
const size = vox.three((axis) => Math.max(1, Math.round(full[axis] / scale[axis])));
const offset = vox.three((axis) => (full[axis] - 1 - (size[axis] - 1) * scale[axis]) / 2);
const sigma = scale.map((s) => Math.sqrt((Math.max(1, s) ** 2 - 1) / (8 * Math.LN2)));
image = vox.alongAll(image, (axis) => vox.blurring(full[axis], sigma[axis]));
image = vox.alongAll(image, (axis) => vox.interpolation(size[axis], full[axis], scale[axis], offset[axis]));
const isUsed = (v) => normalization !== 'zscore-nonzero' || v !== 0;
const { mean, spread, low, high } = vox.statistics(image.data.filter(isUsed));
const [from, to] = window ?? [low, high];
const [middle, unit] = { range: [from, to - from], none: [0, 1] }[normalization] ?? [mean, spread];
const factor = unit > 2 ** -23 * Math.abs(middle) ? 1 / unit : 0;
image.data = image.data.map((v) => (isUsed(v) ? (v - middle) * factor : 0));

// Windows: the average of the probabilities, weighted.
const begins = vox.three((axis) => vox.windowBegins(size[axis], patch[axis], strideVoxels[axis], even));
const weight = vox.windowWeights(patch, weighting);
const session = await ort.InferenceSession.create(modelFile);
const count = model.promptCount;
const prompts = Float32Array.from(
  together.flatMap(({ prompt }) => Array.from({ length: count }, (_, i) => +(i === prompt))),
);
const outputs = together.map(({ output }, i) => (model.promptsAsInput ? i : output));
const [weights, ...sums] = [weight, ...together].map(() => new Float32Array(vox.product(size)));
for (const begin of begins[2].flatMap((z) => begins[1].flatMap((y) => begins[0].map((x) => [x, y, z]))))
  for (let bits = 0; bits < (mirror ? 8 : 1); bits++) {
    const flips = vox.three((axis) => (bits >> axis) & 1);
    const seen = vox.cut(image, begin, patch, flips).data;
    const feeds = { image: new ort.Tensor('float32', seen, [1, 1, patch[2], patch[1], patch[0]]) };
    if (model.promptsAsInput) feeds.prompts = new ort.Tensor('float32', prompts, [1, together.length, count]);
    const all = (await session.run(feeds)).probabilities.data;
    for (const [which, output] of outputs.entries()) {
      const data = all.subarray(output * seen.length);
      const found = vox.cut({ data, size: patch }, [0, 0, 0], patch, flips).data;
      vox.addTo({ data: sums[which], size }, begin, patch, (i) => weight[i] * found[i]);
    }
    vox.addTo({ data: weights, size }, begin, patch, (i) => weight[i]);
  }

// Back to the grid of the scan, in steps of 1/256.
const wayBack = (axis) => vox.interpolation(full[axis], size[axis], 1 / scale[axis], -offset[axis] / scale[axis]);
const shift = first.map((begin) => -begin);
const masks = sums.map((sum) => {
  const steps = sum.map((value, i) => Math.min(Math.max(Math.ceil((value / weights[i]) * 256) - 1, 0), 255));
  const whole = vox.cut(vox.alongAll({ data: steps, size }, wayBack), shift, scan.size);
  return Uint8Array.from(whole.data, (step) => (step > 127.5 ? 1 : 0));
});
const organ = masks[0].map((_, i) => Math.max(...masks.map((mask) => mask[i])));
if (largestComponent) vox.keepLargest(organ, scan.size);
const mask = masks[0].map((value, i) => value & organ[i]);
if (largestComponent) vox.keepLargest(mask, scan.size);
scan.writeMask(mask, maskFile);
console.log(`${maskFile}: ${mask.reduce((sum, v) => sum + v, 0)} voxels of ${taskName}`);
