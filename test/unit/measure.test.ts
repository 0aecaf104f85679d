// Volumes and intensities of masks, and the tables that they are written to.
import t from 'tap';
import { maskIntensities } from '../../src/inference/measure.js';
import { csvRows } from '../../src/reports/csv.js';
import { volumesToCsv, volumesToJson } from '../../src/reports/volumes.js';
import { MaskVolume } from '../../src/scans/mask-volume.js';
import { scanOf, volumeOf } from '../../src/scans/scan.js';
import { scalingAffine } from '../../src/volume/affine.js';
import type { Affine, Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';

const sizeVoxels: Triple = [7, 6, 5];
const count = 7 * 6 * 5;

t.test('intensities in the units of the scan, however it is stored', (t) => {
  const data = Int16Array.from({ length: count }, (_, i) => ((i * 7919) % 4001) - 1024);
  // Axes exchanged and reversed: the file's x runs to the left, its y to the head, its z to the front.
  const affine: Affine = [-1, 0, 0, 3, 0, 0, 2, 4, 0, 1.5, 0, 5, 0, 0, 0, 1];
  const scan = scanOf({ data, sizeVoxels, spacingMm: [1, 1.5, 2], affine }, { slope: 0.5, intercept: -3.25 });
  const whole = volumeOf(scan);
  const inside = Uint8Array.from(whole.data, (value, i) => (value > 100 && i % 3 === 0 ? 1 : 0));
  const packed = host().packMask(inside, scan.sizeVoxels);
  const none = host().packMask(new Uint8Array(count), scan.sizeVoxels);
  const masks = [packed, none].map((bits) => ({ mask: new MaskVolume(scan, bits) }));
  const wanted = Array.from(whole.data).filter((_, i) => inside[i] === 1);
  const mean = wanted.reduce((sum, v) => sum + v, 0) / wanted.length;
  const deviation = Math.sqrt(wanted.reduce((sum, v) => sum + (v - mean) ** 2, 0) / wanted.length);
  for (const image of [scan, whole]) {
    const [found, empty] = maskIntensities(image, masks);
    t.equal(empty, null);
    t.ok(Math.abs(found!.mean - mean) < 1e-9 && Math.abs(found!.standardDeviation - deviation) < 1e-9);
    t.strictSame([found!.min, found!.max], [Math.min(...wanted), Math.max(...wanted)]);
  }
  t.end();
});

t.test('a large offset costs no digits', (t) => {
  const data = Float32Array.from({ length: count }, (_, i) => 1e6 + (i % 2));
  const volume = { data, sizeVoxels, spacingMm: [1, 1, 1] as Triple, affine: scalingAffine([1, 1, 1]) };
  const mask = new MaskVolume(volume, host().packMask(new Uint8Array(count).fill(1), sizeVoxels));
  t.strictSame(maskIntensities(volume, [{ mask }]), [
    { mean: 1e6 + 0.5, standardDeviation: 0.5, min: 1e6, max: 1e6 + 1 },
  ]);
  t.end();
});

t.test('the volume of sheared voxels is that of the parallelepiped', (t) => {
  // Slices 2 mm apart along their normal, each shifted by 1 mm: the columns of the affine are longer than the voxel is thick.
  const affine: Affine = [1, 0, 0, 0, 0, 1.5, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1];
  const spacingMm: Triple = [1, 1.5, Math.sqrt(5)];
  const mask = new MaskVolume({ sizeVoxels, spacingMm, affine }, host().packMask(new Uint8Array(count), sizeVoxels));
  t.equal(mask.voxelMl, 0.003);
  t.end();
});

t.test('tables', (t) => {
  const intensity = { mean: -12.5, standardDeviation: 2, min: -20, max: 1e-7 };
  const rows = [
    { id: '=1+1', input: 'a,b/"x".nii', task: '@cmd', voxels: 12, volumeMl: 0.024, intensity },
    { id: 'b', input: '+b.nii', task: 'liver', voxels: 0, volumeMl: 0, intensity: null },
  ];
  const text = volumesToCsv(rows);
  const lines = text.split('\r\n');
  t.equal(lines[0], 'id,input,task,voxels,volumeMl,intensityMean,intensityStandardDeviation,intensityMin,intensityMax');
  t.equal(lines[1], `'=1+1,"a,b/""x"".nii",'@cmd,12,0.024,-12.5,2,-20,1e-7`);
  t.equal(lines[2], "b,'+b.nii,liver,0,0,,,,");
  t.equal(csvRows(text, 'x')[1]![0], '=1+1');
  t.strictSame(JSON.parse(volumesToJson(rows)), { format: 1, volumes: rows });
  t.end();
});
