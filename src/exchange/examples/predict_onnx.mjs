// Segments a scan with an ONNX model that `versemi export` wrote: node predict_onnx.mjs MODEL.onnx SCAN.nii.gz TASK MASK.nii
// Needs onnxruntime-node alone. Reads NIfTI-1 of one volume (.nii, .nii.gz); MODEL.json says all that is done. For research.
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import ort from 'onnxruntime-node';

const [modelFile, scanFile, taskName, maskFile] = process.argv.slice(2);
const model = JSON.parse(readFileSync(modelFile.replace(/\.onnx$/, '.json'), 'utf8'));
const task = model.tasks.find(({ name }) => name === taskName);
if (!task) throw new Error(`tasks: ${model.tasks.map(({ name }) => name).join(', ')}`);
const { preprocessing: settings } = task;
const { windows } = model;
const product = (list) => list.reduce((a, b) => a * b, 1);
const three = (f) => [0, 1, 2].map(f);

/** Applies a matrix along an axis of a volume (x fastest); rows of it are lists of [source index, weight]. */
function along({ data, size }, axis, rows) {
  const [inner, count, outer] = [product(size.slice(0, axis)), size[axis], product(size.slice(axis + 1))];
  const result = { data: new Float32Array(inner * rows.length * outer), size: size.with(axis, rows.length) };
  for (let o = 0; o < outer; o++)
    for (const [k, row] of rows.entries())
      for (const [source, weight] of row)
        for (let i = 0, to = (o * rows.length + k) * inner, from = (o * count + source) * inner; i < inner; i++)
          result.data[to + i] += weight * data[from + i];
  return result;
}
const inside = (index, count) => Math.min(Math.max(index, 0), count - 1);
/** A Gaussian, edges replicated. */
function blurring(count, sigma) {
  const radius = sigma > 0.25 ? Math.ceil(3 * sigma) : 0;
  const weights = Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-0.5 * ((i - radius) / (sigma || 1)) ** 2));
  const sum = weights.reduce((a, b) => a + b);
  return Array.from({ length: count }, (_, at) => weights.map((w, i) => [inside(at + i - radius, count), w / sum]));
}
/** Linear interpolation: source index = output index * scale + offset. */
function interpolation(outputs, count, scale, offset) {
  return Array.from({ length: outputs }, (_, i) => {
    const at = inside(i * scale + offset, count);
    const low = Math.floor(at);
    return at === low
      ? [[low, 1]]
      : [
          [low, 1 - (at - low)],
          [low + 1, at - low],
        ];
  });
}
const alongAll = (volume, rowsOf) => [0, 1, 2].reduce((v, axis) => along(v, axis, rowsOf(axis)), volume);
/** The box of `size` that begins at `begin`; 0 outside. With `flips` the axes of the result are reversed. */
function cut({ data, size: [nx, ny, nz] }, begin, size, flips = []) {
  const result = { data: new Float32Array(product(size)), size };
  const place = (i, axis) => begin[axis] + (flips[axis] ? size[axis] - 1 - i : i);
  for (let k = 0, i = 0; k < size[2]; k++)
    for (let j = 0; j < size[1]; j++)
      for (let h = 0; h < size[0]; h++, i++) {
        const [x, y, z] = [place(h, 0), place(j, 1), place(k, 2)];
        if (x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz) result.data[i] = data[(z * ny + y) * nx + x];
      }
  return result;
}

// The file, and its voxels with the axes x, y, z towards right, front and head.
const raw = readFileSync(scanFile);
const file = raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw;
const types = { 2: 'Uint8', 4: 'Int16', 8: 'Int32', 16: 'Float32', 64: 'Float64', 256: 'Int8', 512: 'Uint16' };
const type = types[file.readInt16LE(70)];
if (
  file.readInt32LE(0) !== 348 ||
  !type ||
  file.readInt16LE(48) > 1 ||
  file.readInt16LE(252) + file.readInt16LE(254) < 1
)
  throw new Error('expected NIfTI-1 of one volume, little-endian, with a qform or an sform');
const stored = three((i) => file.readInt16LE(42 + 2 * i));
const [b, c, d] = three((i) => file.readFloatLE(256 + 4 * i));
const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
const handed = file.readFloatLE(76) < 0 ? -1 : 1;
const rotation = [
  [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c) * handed],
  [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b) * handed],
  [2 * (b * d - a * c), 2 * (c * d + a * b), (a * a + d * d - b * b - c * c) * handed],
];
const affine = three((row) =>
  three((column) =>
    file.readInt16LE(254) > 0
      ? file.readFloatLE(280 + 16 * row + 4 * column)
      : rotation[row][column] * file.readFloatLE(80 + 4 * column),
  ),
);
const lengths = three((column) => Math.hypot(...affine.map((row) => row[column])));
const pairs = three((row) => three((column) => [Math.abs(affine[row][column]) / lengths[column], row, column])).flat();
const axes = []; // canonical axis -> stored axis; the largest components first
for (const [, row, column] of pairs.sort((p, q) => q[0] - p[0]))
  if (axes[row] === undefined && !axes.includes(column)) axes[row] = column;
const flipped = axes.map((axis, row) => affine[row][axis] < 0);
const spacing = axes.map((axis) => lengths[axis]);
const canonical = axes.map((axis) => stored[axis]);
/** Index of a canonical voxel in the file. */
function storedIndex(voxel) {
  const at = [];
  for (const [i, axis] of axes.entries()) at[axis] = flipped[i] ? stored[axis] - 1 - voxel[i] : voxel[i];
  return (at[2] * stored[1] + at[1]) * stored[0] + at[0];
}
function eachVoxel([nx, ny, nz], visit) {
  for (let z = 0, i = 0; z < nz; z++)
    for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, i++) visit([x, y, z], i);
}
const view = new DataView(file.buffer, file.byteOffset + file.readFloatLE(108));
const bytes = Number(/\d+/.exec(type)[0]) / 8;
const slope = file.readFloatLE(112) || 1;
const whole = { data: new Float32Array(product(canonical)), size: canonical };
eachVoxel(canonical, (voxel, i) => {
  const value = view[`get${type}`](storedIndex(voxel) * bytes, true);
  whole.data[i] = file.readFloatLE(112) ? value * slope + file.readFloatLE(116) : value;
});

// Preprocessing, in the order of the model's plan: crop, clip, resample, normalise.
const statistics = (values) => {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return { mean, spread: Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length) };
};
const extremes = (values) => values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
let [begin, end] = [[0, 0, 0], canonical];
if (settings.crop === 'body') {
  const sorted = whole.data.slice().sort();
  const quantile = (share) => {
    const at = share * (sorted.length - 1);
    const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
    return low + (high - low) * (at - Math.floor(at));
  };
  const [low, high] = [quantile(0.01), quantile(0.99)];
  const threshold = sorted[0] <= -500 ? -500 : low + 0.1 * (high - low);
  const box = [canonical, [-1, -1, -1]];
  const smooth = alongAll(whole, (axis) => blurring(canonical[axis], 3 / spacing[axis]));
  eachVoxel(canonical, (voxel, i) => {
    if (smooth.data[i] < threshold) return;
    for (const axis of [0, 1, 2]) {
      box[0] = box[0].with(axis, Math.min(box[0][axis], voxel[axis]));
      box[1] = box[1].with(axis, Math.max(box[1][axis], voxel[axis]));
    }
  });
  if (box[1][0] >= 0 && high > low) {
    begin = three((axis) => Math.max(0, box[0][axis] - Math.ceil(5 / spacing[axis])));
    end = three((axis) => Math.min(canonical[axis], box[1][axis] + 1 + Math.ceil(5 / spacing[axis])));
  }
}
const full = three((axis) => end[axis] - begin[axis]);
let image = cut(whole, begin, full);
const clip = settings.window ?? [-Infinity, Infinity];
image.data = image.data.map((v) => Math.min(Math.max(v, clip[0]), clip[1]));
const scale = three((axis) => {
  const ratio = settings.spacingMm[axis] / spacing[axis];
  return Math.abs(ratio - 1) * full[axis] < 0.05 ? 1 : ratio;
});
const size = three((axis) => Math.max(1, Math.round(full[axis] / scale[axis])));
const offset = three((axis) => (full[axis] - 1 - (size[axis] - 1) * scale[axis]) / 2);
image = alongAll(image, (axis) =>
  blurring(full[axis], Math.sqrt((Math.max(1, scale[axis]) ** 2 - 1) / (8 * Math.LN2))),
);
image = alongAll(image, (axis) => interpolation(size[axis], full[axis], scale[axis], offset[axis]));
if (settings.normalization !== 'none') {
  const nonzero = settings.normalization === 'zscore-nonzero';
  const [low, high] = settings.window ?? extremes(image.data);
  const { mean, spread } =
    settings.normalization === 'range'
      ? { mean: low, spread: high - low }
      : statistics(nonzero ? image.data.filter((v) => v !== 0) : image.data);
  const factor = spread > 2 ** -23 * Math.abs(mean) ? 1 / spread : 0;
  image.data = image.data.map((v) => (nonzero && v === 0 ? 0 : (v - mean) * factor));
}

// Windows: the average of the probabilities, weighted.
const patch = windows.sizeVoxels;
const begins = three((axis) => {
  const rest = size[axis] - patch[axis];
  if (rest <= 0) return [-Math.floor(-rest / 2)]; // a small volume stands amid zeros
  const steps = Math.ceil(rest / windows.strideVoxels[axis]);
  return Array.from({ length: steps + 1 }, (_, i) =>
    windows.even ? Math.round((i * rest) / steps) : Math.min(i * windows.strideVoxels[axis], rest),
  );
});
const weights = new Float32Array(product(patch)).fill(1);
if (windows.weighting === 'gaussian')
  eachVoxel(patch, (voxel, i) => {
    const square = (axis) => ((voxel[axis] - (patch[axis] - 1) / 2) / (patch[axis] / 8)) ** 2;
    weights[i] = Math.max(1e-3, Math.exp(-0.5 * (square(0) + square(1) + square(2))));
  });
const session = await ort.InferenceSession.create(modelFile);
const prompts = new Float32Array(model.promptCount);
prompts[task.prompt] = 1;
const sums = new Float32Array(product(size));
const shares = new Float32Array(product(size));
for (const z of begins[2])
  for (const y of begins[1])
    for (const x of begins[0])
      for (let bits = 0; bits < (windows.mirror ? 8 : 1); bits++) {
        const flips = three((axis) => (bits >> axis) & 1);
        const seen = cut(image, [x, y, z], patch, flips).data;
        const feeds = { image: new ort.Tensor('float32', seen, [1, 1, patch[2], patch[1], patch[0]]) };
        if (model.promptsAsInput) feeds.prompts = new ort.Tensor('float32', prompts, [1, 1, prompts.length]);
        const all = (await session.run(feeds)).probabilities.data;
        const one = { data: all.subarray(task.output * seen.length, (task.output + 1) * seen.length), size: patch };
        const found = cut(one, [0, 0, 0], patch, flips).data;
        eachVoxel(patch, ([i, j, k], at) => {
          if (![x + i, y + j, z + k].every((v, axis) => v >= 0 && v < size[axis])) return;
          const to = ((z + k) * size[1] + y + j) * size[0] + x + i;
          sums[to] += weights[at] * found[at];
          shares[to] += weights[at];
        });
      }

// Back to the grid of the file, in steps of 1/256.
const steps = sums.map((sum, i) => Math.min(Math.max(Math.ceil((sum / shares[i]) * 256) - 1, 0), 255));
const back = alongAll({ data: steps, size }, (axis) =>
  interpolation(full[axis], size[axis], 1 / scale[axis], -offset[axis] / scale[axis]),
);
const mask = new Uint8Array(product(canonical));
eachVoxel(full, ([x, y, z], i) => {
  mask[((z + begin[2]) * canonical[1] + y + begin[1]) * canonical[0] + x + begin[0]] = back.data[i] > 127.5 ? 1 : 0;
});
if (windows.largestComponent) {
  const part = new Int32Array(mask.length);
  let [largest, parts] = [{ voxels: 0, part: 0 }, 0];
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || part[first]) continue;
    const list = [first];
    part[first] = ++parts;
    for (const at of list) {
      const [x, y, z] = [at, Math.floor(at / canonical[0]), Math.floor(at / canonical[0] / canonical[1])];
      eachVoxel([3, 3, 3], ([i, j, k]) => {
        const near = [(x % canonical[0]) + i - 1, (y % canonical[1]) + j - 1, z + k - 1];
        if (near.some((v, axis) => v < 0 || v >= canonical[axis])) return;
        const to = (near[2] * canonical[1] + near[1]) * canonical[0] + near[0];
        if (mask[to] && !part[to]) part[list[list.push(to) - 1]] = parts;
      });
    }
    if (list.length > largest.voxels) largest = { voxels: list.length, part: parts };
  }
  for (let i = 0; i < mask.length; i++) mask[i] = part[i] > 0 && part[i] === largest.part ? 1 : 0;
}
const header = Buffer.alloc(352);
file.copy(header, 0, 0, 348);
header.writeInt16LE(2, 70); // bytes
header.writeInt16LE(8, 72);
header.writeFloatLE(352, 108);
header.writeFloatLE(0, 112);
header.fill(0, 124, 132); // range that is displayed
const output = Buffer.alloc(352 + mask.length);
header.copy(output);
eachVoxel(canonical, (voxel, i) => {
  output[352 + storedIndex(voxel)] = mask[i];
});
writeFileSync(maskFile, output);
console.log(`${maskFile}: ${mask.reduce((sum, v) => sum + v, 0)} voxels of ${taskName}`);
