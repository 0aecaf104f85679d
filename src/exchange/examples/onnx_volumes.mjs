// What predict_onnx.mjs asks of volumes: { data, size }, x fastest; and of NIfTI-1 files of one volume (.nii, .nii.gz).
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export const three = (f) => [0, 1, 2].map(f);
export const product = (list) => list.reduce((a, b) => a * b, 1);
const inside = (index, count) => Math.min(Math.max(index, 0), count - 1);

export function eachVoxel([nx, ny, nz], visit) {
  for (let z = 0, i = 0; z < nz; z++)
    for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, i++) visit([x, y, z], i);
}

/**
 * Applies a matrix along an axis; rows of it are lists of [source index, weight]. In float64, so that what is constant stays so: a
 * network makes much of small differences in air.
 */
function along({ data, size }, axis, rows) {
  const [inner, count, outer] = [product(size.slice(0, axis)), size[axis], product(size.slice(axis + 1))];
  const result = { data: new Float32Array(inner * rows.length * outer), size: size.with(axis, rows.length) };
  const line = new Float64Array(inner);
  for (let o = 0; o < outer; o++)
    for (const [k, row] of rows.entries()) {
      line.fill(0);
      for (const [source, weight] of row)
        for (let i = 0, from = (o * count + source) * inner; i < inner; i++) line[i] += weight * data[from + i];
      result.data.set(line, (o * rows.length + k) * inner);
    }
  return result;
}
export const alongAll = (volume, rowsOf) => [0, 1, 2].reduce((v, axis) => along(v, axis, rowsOf(axis)), volume);

/** A Gaussian, edges replicated. */
export function blurring(count, sigma) {
  const radius = sigma > 0.25 ? Math.ceil(3 * sigma) : 0;
  const weights = Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-0.5 * ((i - radius) / (sigma || 1)) ** 2));
  const sum = weights.reduce((a, b) => a + b);
  return Array.from({ length: count }, (_, at) => weights.map((w, i) => [inside(at + i - radius, count), w / sum]));
}

/** Linear interpolation: source index = output index * scale + offset. */
export function interpolation(outputs, count, scale, offset) {
  return Array.from({ length: outputs }, (_, i) => {
    const at = inside(i * scale + offset, count);
    const [low, share] = [Math.floor(at), at % 1];
    return share === 0 ? [[low, 1]] : [[low, 1 - share], [low + 1, share]]; // biome-ignore format: one row
  });
}

/** The box of `size` that begins at `begin`; 0 outside. With `flips` the axes of the result are reversed. */
export function cut({ data, size: [nx, ny, nz] }, begin, size, flips = []) {
  const result = { data: new Float32Array(product(size)), size };
  const place = (i, axis) => begin[axis] + (flips[axis] ? size[axis] - 1 - i : i);
  eachVoxel(size, ([h, j, k], i) => {
    const [x, y, z] = [place(h, 0), place(j, 1), place(k, 2)];
    if (x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz) result.data[i] = data[(z * ny + y) * nx + x];
  });
  return result;
}

/** Adds values to those voxels of the box of `size` at `begin` that lie in the volume. */
export function addTo({ data, size: [nx, ny, nz] }, begin, size, of) {
  eachVoxel(size, ([h, j, k], i) => {
    const [x, y, z] = [begin[0] + h, begin[1] + j, begin[2] + k];
    if (x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz) data[(z * ny + y) * nx + x] += of(i);
  });
}

/** Where windows begin along an axis; a volume that is smaller than a window stands amid zeros. */
export function windowBegins(count, window, stride, even) {
  const rest = count - window;
  if (rest <= 0) return [-Math.floor(-rest / 2)];
  const steps = Math.ceil(rest / stride);
  const begin = (i) => (even ? Math.round((i * rest) / steps) : Math.min(i * stride, rest));
  return Array.from({ length: steps + 1 }, (_, i) => begin(i));
}

/** What the voxels of a window weigh. */
export function windowWeights(window, weighting) {
  const weights = new Float32Array(product(window)).fill(1);
  const square = (at, axis) => ((at - (window[axis] - 1) / 2) / (window[axis] / 8)) ** 2;
  if (weighting === 'gaussian')
    eachVoxel(window, ([x, y, z], i) => {
      weights[i] = Math.max(1e-3, Math.exp(-0.5 * (square(x, 0) + square(y, 1) + square(z, 2))));
    });
  return weights;
}

export function statistics(values) {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const spread = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  const [low, high] = values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
  return { mean, spread, low, high };
}

/** Where what is not air begins and ends, with 5 mm round it; undefined where nothing stands out. */
export function bodyBox(volume, spacing) {
  const { size } = volume;
  const sorted = volume.data.slice().sort();
  const [low, high] = [0.01, 0.99].map((share) => {
    const at = share * (sorted.length - 1);
    const below = sorted[Math.floor(at)];
    return below + (sorted[Math.ceil(at)] - below) * (at - Math.floor(at));
  });
  const threshold = sorted[0] <= -500 ? -500 : low + 0.1 * (high - low);
  const [begin, end] = [[...size], [0, 0, 0]];
  const smooth = alongAll(volume, (axis) => blurring(size[axis], 3 / spacing[axis]));
  eachVoxel(size, (voxel, i) => {
    if (smooth.data[i] < threshold) return;
    for (const axis of [0, 1, 2]) {
      begin[axis] = Math.min(begin[axis], voxel[axis]);
      end[axis] = Math.max(end[axis], voxel[axis] + 1);
    }
  });
  if (end[0] === 0 || !(high > low)) return undefined;
  const margin = spacing.map((mm) => Math.ceil(5 / mm));
  return three((axis) => [Math.max(0, begin[axis] - margin[axis]), Math.min(size[axis], end[axis] + margin[axis])]);
}

/** Keeps the largest part of a mask; voxels that touch at a corner belong together. */
export function keepLargest(mask, size) {
  const part = new Int32Array(mask.length);
  let [largest, parts] = [{ voxels: 0, part: 0 }, 0];
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || part[first]) continue;
    const list = [first];
    part[first] = ++parts;
    for (const at of list) {
      const [x, y, z] = [at % size[0], Math.floor(at / size[0]) % size[1], Math.floor(at / size[0] / size[1])];
      eachVoxel([3, 3, 3], ([i, j, k]) => {
        const near = [x + i - 1, y + j - 1, z + k - 1];
        if (near.some((v, axis) => v < 0 || v >= size[axis])) return;
        const to = (near[2] * size[1] + near[1]) * size[0] + near[0];
        if (mask[to] && !part[to]) part[list[list.push(to) - 1]] = parts;
      });
    }
    if (list.length > largest.voxels) largest = { voxels: list.length, part: parts };
  }
  for (let i = 0; i < mask.length; i++) mask[i] = part[i] > 0 && part[i] === largest.part ? 1 : 0;
}

/** A scan with its axes x, y, z towards right, front and head, its spacing in mm, and how a mask of it is written. */
export function readNifti(scanFile) {
  const raw = readFileSync(scanFile);
  const file = raw[0] === 0x1f && raw[1] === 0x8b ? gunzipSync(raw) : raw;
  const types = { 2: 'Uint8', 4: 'Int16', 8: 'Int32', 16: 'Float32', 64: 'Float64', 256: 'Int8', 512: 'Uint16' };
  const type = types[file.readInt16LE(70)];
  const [qform, sform] = [file.readInt16LE(252), file.readInt16LE(254)];
  if (file.readInt32LE(0) !== 348 || !type || file.readInt16LE(48) > 1 || qform + sform < 1)
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
  const ofSform = (row, column) => file.readFloatLE(280 + 16 * row + 4 * column);
  const ofQform = (row, column) => rotation[row][column] * file.readFloatLE(80 + 4 * column);
  const affine = three((row) => three((column) => (sform > 0 ? ofSform : ofQform)(row, column)));
  const lengths = three((column) => Math.hypot(...affine.map((row) => row[column])));
  const shares = three((row) =>
    three((column) => [Math.abs(affine[row][column]) / lengths[column], row, column]),
  ).flat();
  const axes = []; // canonical axis -> stored axis; the largest components first
  for (const [, row, column] of shares.sort((p, q) => q[0] - p[0]))
    if (axes[row] === undefined && !axes.includes(column)) axes[row] = column;
  const size = axes.map((axis) => stored[axis]);
  /** Index of a canonical voxel in the file. */
  const storedIndex = (voxel) => {
    const at = [];
    for (const [i, axis] of axes.entries()) at[axis] = affine[i][axis] < 0 ? stored[axis] - 1 - voxel[i] : voxel[i];
    return (at[2] * stored[1] + at[1]) * stored[0] + at[0];
  };
  const view = new DataView(file.buffer, file.byteOffset + file.readFloatLE(108));
  const [bytes, slope, intercept] = [Number(/\d+/.exec(type)[0]) / 8, file.readFloatLE(112), file.readFloatLE(116)];
  const data = new Float32Array(product(size));
  eachVoxel(size, (voxel, i) => {
    const value = view[`get${type}`](storedIndex(voxel) * bytes, true);
    data[i] = slope ? value * slope + intercept : value;
  });
  return { data, size, spacing: axes.map((axis) => lengths[axis]), writeMask };

  function writeMask(mask, maskFile) {
    const output = Buffer.alloc(352 + mask.length);
    file.copy(output, 0, 0, 348);
    output.writeInt16LE(2, 70); // bytes
    output.writeInt16LE(8, 72);
    output.writeFloatLE(352, 108);
    output.fill(0, 112, 120); // no slope
    output.fill(0, 124, 132); // nor a range that is displayed
    eachVoxel(size, (voxel, i) => {
      output[352 + storedIndex(voxel)] = mask[i];
    });
    writeFileSync(maskFile, output);
  }
}
