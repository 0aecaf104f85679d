// Metrics, components, resampling and percentiles against scipy and numpy (test/golden/metrics.py).
import t from 'tap';
import { distanceNames, segmentationMetrics } from '../../src/metrics/segmentation-metrics.js';
import { createHost } from '../../src/wasm/host.js';
import { makeImage, makeMask, readGolden, relativeError, sha256 } from './metrics-support.js';

const golden = readGolden();
const host = createHost();

for (const expected of golden.metrics) {
  t.test(`segmentation metrics: ${expected.name}`, async (t) => {
    const { sizeVoxels, spacingMm, mm, voxels } = expected;
    const prediction = makeMask(sizeVoxels, expected.prediction);
    const reference = makeMask(sizeVoxels, expected.reference);
    t.same([sha256(prediction), sha256(reference)], expected.sha256, 'the masks are those of the golden file');
    const found = segmentationMetrics(prediction, reference, sizeVoxels, spacingMm, {
      toleranceMm: golden.toleranceMm,
      voxels: true,
      host,
    });
    for (const name of ['dice', 'jaccard', 'volumePredictionMl', 'volumeReferenceMl'] as const)
      t.ok(relativeError(found[name], expected[name]) < 1e-12, `${name} ${found[name]} is ${expected[name]}`);
    for (const name of ['precision', 'recall'] as const) {
      if (expected[name] === null) t.equal(found[name], null, `${name} is undefined`);
      else t.ok(relativeError(found[name]!, expected[name]) < 1e-12, `${name} ${found[name]} is ${expected[name]}`);
    }
    for (const name of distanceNames) {
      if (mm === null || voxels === null) {
        t.equal(found[`${name}Mm`], null, `${name}Mm is undefined`);
        t.equal(found[`${name}Voxels`], null, `${name}Voxels is undefined`);
        continue;
      }
      t.ok(relativeError(found[`${name}Mm`]!, mm[name]) < 1e-9, `${name}Mm ${found[`${name}Mm`]} is ${mm[name]}`);
      t.ok(relativeError(found[`${name}Voxels`]!, voxels[name]) < 1e-9, `${name}Voxels is ${voxels[name]}`);
    }
    t.ok(relativeError(found.surfaceDice, mm?.surfaceDice ?? 0) < 1e-12, 'surface Dice at the tolerance in mm');
    t.ok(relativeError(found.surfaceDiceVoxels!, voxels?.surfaceDice ?? 0) < 1e-12, 'surface Dice at one voxel');
  });
}

t.test('the largest connected component is that of scipy.ndimage.label', async (t) => {
  for (const { sizeVoxels, mask, connectivity, largest, sha256: digest } of golden.components) {
    const voxels = makeMask(sizeVoxels, mask);
    const kept = host.largestComponent(voxels, sizeVoxels, connectivity);
    t.equal(
      kept.reduce((sum, value) => sum + value, 0),
      largest,
      `voxels of the largest by ${connectivity}`,
    );
    t.equal(sha256(kept), digest, 'its mask');
  }
});

t.test('resampling is that of scipy.ndimage.map_coordinates', async (t) => {
  for (const { sizeVoxels, outSizeVoxels, scale, offset, linear, labels } of golden.resampling) {
    const image = makeImage(sizeVoxels);
    const found = host.resampleLinear(image, sizeVoxels, outSizeVoxels, { scale, offset });
    const worst = linear.reduce((max, value, i) => Math.max(max, Math.abs(found[i]! - value)), 0);
    t.equal(found.length, linear.length);
    // Values up to 33: eight roundings to float32.
    t.ok(worst < 2e-5, `linear, largest error ${worst}`);
    const classes = Uint8Array.from(image, (value) => ((Math.floor(Math.trunc(value) / 12) % 4) + 4) % 4);
    const voted = host.resampleLabels(classes, sizeVoxels, outSizeVoxels, { scale, offset });
    t.same(
      labels.map((label, i) => (label < 0 ? -1 : voted[i])),
      labels,
      'labels',
    );
    t.ok(labels.filter((label) => label >= 0).length > labels.length / 2, 'most label comparisons mean something');
  }
});

t.test('statistics and percentiles are those of numpy', async (t) => {
  const { sizeVoxels, fractions, mask, all, masked } = golden.intensities;
  const image = makeImage(sizeVoxels);
  for (const [expected, selection] of [
    [all, undefined],
    [masked, makeMask(sizeVoxels, mask)],
  ] as const) {
    const { percentiles, ...statistics } = expected;
    const voxels = image.filter((_, i) => selection === undefined || selection[i] !== 0);
    const found = host.statistics(voxels);
    t.same(
      { min: found.min, max: found.max, count: found.count },
      {
        min: statistics.min,
        max: statistics.max,
        count: statistics.count,
      },
    );
    t.equal(found.nonFinite, 0);
    t.ok(relativeError(found.mean, statistics.mean) < 1e-12, `mean ${found.mean}`);
    t.ok(relativeError(found.standardDeviation, statistics.standardDeviation) < 1e-12, 'standard deviation');
    t.same(host.percentiles(voxels, fractions), percentiles, 'percentiles, exactly');
  }
});
