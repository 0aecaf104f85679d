// `predict` on a DICOM folder: the same mask in every format, and what is refused.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parseDicom } from '../../src/datasets/dicom/elements.js';
import { readDicom } from '../../src/datasets/dicom/read-series.js';
import { maskOfSegment, readSegmentation } from '../../src/datasets/dicom/segmentation.js';
import { dicomFiles } from '../../src/datasets/dicom/sources.js';
import { maskOfRoi, readStructureSet } from '../../src/datasets/dicom/structures.js';
import { readVolume } from '../../src/datasets/read-volume.js';
import { noData, realData } from '../unit/datasets-support.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const model = join(root, 'test', 'examples', 'real-data.safetensors');
const data = realData('dicom');

function predict(...args: string[]) {
  return spawnSync(
    process.execPath,
    [
      join(root, 'dist', 'src', 'cli', 'main.js'),
      'predict',
      model,
      ...args,
      '--device',
      'wasm',
      '--task',
      'sarcoma,hippocampus',
    ],
    { encoding: 'utf8' },
  );
}

t.test('one mask in four formats', { skip: data === undefined && noData, timeout: 300_000 }, async (t) => {
  const folder = t.testdir();
  const source = join(data!, 'STS_025', 'CT');
  const { status, stdout, stderr } = predict(
    source,
    '--out',
    folder,
    '--format',
    'nifti,nrrd,seg,rtstruct',
    '--deidentify',
    '--json',
  );
  t.equal(status, 0, stderr);
  const told = JSON.parse(stdout) as { objects: { output: string; format: string }[]; remarks: string[] };
  t.strictSame(
    told.objects.map(({ format }) => format),
    ['seg', 'rtstruct'],
  );
  t.match(told.remarks.join(), /149 x 138 pixels fill no whole bytes.*rtstruct/);
  const { volume } = await readDicom(source);
  const [segFile, rtFile] = [join(folder, 'CT.seg.dcm'), join(folder, 'CT.rtstruct.dcm')];
  const seg = await readSegmentation((await dicomFiles(segFile))[0]!);
  const rt = await readStructureSet((await dicomFiles(rtFile))[0]!);
  for (const [i, task] of ['sarcoma', 'hippocampus'].entries()) {
    const nifti = await readVolume(join(folder, `CT_${task}.nii.gz`));
    const nrrd = await readVolume(join(folder, `CT_${task}.nrrd`));
    t.strictSame(nifti.sizeVoxels, volume.sizeVoxels);
    t.ok(nrrd.affine.every((value, k) => Math.abs(value - nifti.affine[k]!) < 1e-4));
    // tap's own comparison of a million numbers takes minutes.
    const same = (found: ArrayLike<number>) => nifti.data.every((value, k) => value === found[k]);
    t.ok(same(nrrd.data));
    t.ok(same(await maskOfSegment(seg, i + 1, volume.sizeVoxels, volume.affine)));
    t.ok(same(maskOfRoi(rt.rois[i]!, volume.sizeVoxels, volume.affine, rtFile)));
    if (task === 'sarcoma') t.ok(nifti.data.some((voxel) => voxel !== 0));
  }
  for (const file of [segFile, rtFile]) {
    const [read] = await dicomFiles(file);
    const { elements } = await parseDicom(await read!.bytes(), file);
    t.equal(elements.text('patientName'), undefined);
  }
});

t.test('what DICOM objects cannot be made of', { skip: data === undefined && noData, timeout: 300_000 }, (t) => {
  const folder = t.testdir();
  const image = join(data!, 'STS_025', 'CT_image.nii.gz');
  const { status, stderr } = predict(image, '--out', folder, '--format', 'seg');
  t.equal(status, 3);
  t.match(stderr, /VERSEMI_FORMAT_UNSUPPORTED.*a DICOM series.*nifti or nrrd/);
  t.notOk(existsSync(join(folder, 'CT_image.seg.dcm')));
  t.equal(predict(image, '--out', folder, '--format', 'dicom').status, 2);
  t.end();
});
