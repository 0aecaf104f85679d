// Small good files that faults are made in. The same bytes at every start, so that a seed repeats an input.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import h5wasm from 'h5wasm/node';
import { optimizerMemory, saveCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { saveModel } from '../../src/checkpoints/files.js';
import { modelMetadata } from '../../src/checkpoints/metadata.js';
import { type Plan, parsePlan } from '../../src/config/plan.js';
import { bufferSpecs, elementCount, networkConfig, parameterCount, parameterSpecs } from '../../src/model/layers.js';
import { writeCacheFile } from '../../src/preprocessing/cache-file.js';
import { preprocessCase } from '../../src/preprocessing/preprocess-case.js';
import { packageRoot } from '../../src/root.js';
import { niftiBytes } from '../unit/datasets-support.js';
import { type DicomSeeds, makeDicomSeeds } from './dicom-seeds.js';
import type { BinaryField } from './mutate.js';

const voxels = Uint8Array.from({ length: 6 * 5 * 4 }, (_, i) => i % 7);
const labels = Uint8Array.from({ length: 6 * 5 * 4 }, (_, i) => (i % 3 === 0 ? 1 : 0));
const dim = [3, 6, 5, 4, 1, 1, 1, 1];

/** Scans of both versions, byte orders and several datatypes. */
export const niftiSeeds: readonly Uint8Array[] = [
  niftiBytes({ dim, voxels }),
  niftiBytes({ dim, voxels, version: 2 }),
  niftiBytes({ dim, voxels, littleEndian: false, qformCode: 1, sformCode: 0, quaternion: [0, 0, 1, 5, 6, 7] }),
  niftiBytes({ dim, voxels: new Uint8Array(new Int16Array(voxels).buffer), datatype: 4, slope: 2, intercept: -1024 }),
  niftiBytes({ dim, voxels: new Uint8Array(new Float32Array(voxels).buffer), datatype: 16, version: 2 }),
  niftiBytes({ dim, voxels: new Uint8Array(new Float64Array(voxels).buffer), datatype: 64 }),
  niftiBytes({ dim, voxels: new Uint8Array(BigInt64Array.from(voxels, BigInt).buffer), datatype: 1024 }),
  niftiBytes({ dim: [4, 6, 5, 2, 2, 1, 1, 1], voxels }),
];
export const labelSeed = niftiBytes({ dim, voxels: labels });

const nrrd = (fields: string) =>
  `NRRD0005\n# made up\ntype: uchar\ndimension: 3\nsizes: 6 5 4\nspace: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)\nkinds: domain domain domain\n${fields}\n\n`;
const metaImage = (fields: string) =>
  `ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 1 1 2\nDimSize = 6 5 4\nElementType = MET_UCHAR\n${fields}\n`;
const asText = Buffer.from(voxels.join(' '));

/** Headers of NRRD and MetaImage, and the voxels that follow them or lie in `scan.raw`. */
export const rasterSeeds: readonly { readonly name: string; readonly header: string; readonly data: Uint8Array }[] = [
  { name: 'scan.nrrd', header: nrrd('encoding: raw'), data: voxels },
  { name: 'scan.nrrd', header: nrrd('encoding: gzip'), data: gzipSync(voxels) },
  { name: 'scan.nrrd', header: nrrd('encoding: ascii'), data: asText },
  { name: 'scan.nrrd', header: nrrd('encoding: hex'), data: Buffer.from(Buffer.from(voxels).toString('hex')) },
  { name: 'scan.nhdr', header: nrrd('encoding: raw\nline skip: 0\nbyte skip: -1\ndata file: scan.raw'), data: voxels },
  { name: 'scan.mha', header: metaImage('ElementDataFile = LOCAL'), data: voxels },
  {
    name: 'scan.mha',
    header: metaImage('CompressedData = True\nElementDataFile = LOCAL'),
    data: deflateSync(voxels),
  },
  { name: 'scan.mhd', header: metaImage('HeaderSize = 0\nElementDataFile = scan.raw'), data: voxels },
];

/** The numbers of a header that decide something. */
export function niftiFields(bytes: Uint8Array): readonly BinaryField[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const littleEndian = [348, 540].includes(view.getInt32(0, true));
  const version = view.getInt32(0, littleEndian) === 348 ? 1 : 2;
  const [small, large, real] =
    version === 1 ? (['int16', 'int16', 'float32'] as const) : (['int16', 'int64', 'float64'] as const);
  const width = Number(real.slice(5)) / 8;
  const row = (at: number, count: number, type: BinaryField['type']) =>
    Array.from({ length: count }, (_, i) => ({
      at: at + (i * Number(type.replace(/\D/g, ''))) / 8,
      type,
      littleEndian,
    }));
  const at =
    version === 1
      ? {
          dim: 40,
          datatype: 70,
          pixdim: 76,
          offset: 108,
          slope: 112,
          qform: 252,
          sform: 254,
          quaternion: 256,
          srow: 280,
          units: 123,
        }
      : {
          dim: 16,
          datatype: 12,
          pixdim: 104,
          offset: 168,
          slope: 176,
          qform: 344,
          sform: 348,
          quaternion: 352,
          srow: 400,
          units: 500,
        };
  return [
    ...row(0, 1, 'int32'),
    ...row(at.dim, 8, large),
    ...row(at.dim, 4, large),
    ...row(at.datatype, 2, small),
    ...row(at.pixdim, 8, real),
    ...row(at.offset, 1, version === 1 ? 'float32' : 'int64'),
    ...row(at.slope, 2, real),
    ...row(at.qform, 1, version === 1 ? 'int16' : 'int32'),
    ...row(at.sform, 1, version === 1 ? 'int16' : 'int32'),
    ...row(at.quaternion, 6, real),
    ...row(at.srow, 12, real),
    ...row(at.units, 1, width === 4 ? 'int8' : 'int32'),
  ];
}

/** `make` with a clock that stands: HDF5 writes times into files. */
async function atFixedTime<T>(make: () => Promise<T>): Promise<T> {
  const now = Date.now;
  Date.now = () => 1e12;
  try {
    return await make();
  } finally {
    Date.now = now;
  }
}

async function hdf5Seeds(folder: string): Promise<Uint8Array[]> {
  await h5wasm.ready;
  const shape = [6, 5, 4];
  const image = Float32Array.from(voxels);
  const layouts = [
    { data: image, shape },
    { data: image, shape, chunks: [2, 5, 4], compression: 'gzip' as const, compression_opts: 4 },
    { data: Int16Array.from(voxels), shape, chunks: [3, 5, 2] },
  ];
  return layouts.map((layout, i) => {
    const file = join(folder, `${i}.h5`);
    const hdf5 = new h5wasm.File(file, 'w');
    hdf5.create_dataset({ name: 'image', ...layout });
    hdf5.create_dataset({ name: 'label', data: labels, shape });
    hdf5.close();
    return readFileSync(file);
  });
}

/** Numbers of an HDF5 file that are likely to be addresses, sizes or marks of absence: aligned, and within the file. */
export function hdf5Fields(bytes: Uint8Array): readonly BinaryField[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const starts = Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => 8 * i);
  const numbers = starts.filter((at) => {
    const value = view.getBigUint64(at, true);
    return value > 0n && (value <= BigInt(bytes.length) || value === 2n ** 64n - 1n);
  });
  return numbers
    .flatMap(
      (at) =>
        [
          { at, type: 'int64' },
          { at, type: 'int16' },
          { at: at + 4, type: 'int32' },
          { at: at - 2, type: 'int16' },
        ] as const,
    )
    .filter(({ at }) => at >= 0);
}

/** A plan of one dataset and a network of a few hundred numbers. */
export const planSeed = {
  version: 1,
  name: 'fuzz',
  seed: 3,
  datasets: [
    {
      name: 'd',
      path: 'd',
      split: { labeled: ['a'], validation: [], unlabeled: 'rest' },
      preprocessing: { spacingMm: [1, 1, 2], window: [0, 5] },
    },
  ],
  tasks: [{ name: 'organ', dataset: 'd', labels: [1] }],
  network: { baseWidth: 1, levels: 2, headWidth: 1 },
  patchSizeVoxels: [4, 4, 4],
  training: { stage1Steps: 2, stage2Steps: 2, labeledBatchSize: 2, unlabeledBatchSize: 2 },
  augmentation: { flip: [true, false, false], magnification: [0.9, 1.1] },
};

/** As a run leaves it. */
export const fullPlanSeed = parsePlan(planSeed);

export const datasetSeeds = {
  decathlon: {
    name: 'organs',
    description: 'made up',
    reference: 'nobody',
    licence: 'CC0',
    modality: { '0': 'CT' },
    labels: { '0': 'background', '1': 'organ' },
    training: [
      { image: './imagesTr/a.nii', label: './labelsTr/a.nii' },
      { image: './imagesTr/b.nii', label: './labelsTr/b.nii' },
      { image: './imagesTr/c.nii' },
    ],
    test: ['./imagesTs/d.nii'],
  },
  nnunet: {
    channel_names: { '0': 'MR' },
    labels: { background: 0, organ: 1, whole: [1, 2], ignore: 3 },
    regions_class_order: [1, 2],
    numTraining: 2,
    file_ending: '.nii',
  },
  listed: {
    channel_names: { '0': 'MR' },
    labels: { background: 0, organ: 1 },
    file_ending: '.nii',
    dataset: {
      a: { images: ['imagesTr/a_0000.nii'], label: 'labelsTr/a.nii' },
      b: { images: ['imagesTr/b_0000.nii'] },
    },
  },
};
export const splitSeed = { labeled: ['a'], validation: ['b'], unlabeled: ['c'], test: ['d'] };

const history = {
  steps: 4,
  losses: [{ step: 4, losses: { dice: 0.5, total: 0.5 } }],
  validation: [{ step: 4, mean: 0.75, perTask: { organ: 0.75 } }],
  best: { step: 4, mean: 0.75 },
};

/** What training and evaluation leave behind, as far as a report reads it. */
export const metricsSeed: readonly unknown[] = [
  {
    type: 'start',
    step: 0,
    steps: 4,
    device: 'cpu',
    why: 'asked',
    parameters: 9,
    cases: { labeled: 1, unlabeled: 1, validation: 1 },
    created: '2026-01-02T03:04:05.000Z',
    program: { version: '1.2.3', commit: '0123456789ab' },
  },
  ...[1, 2, 3, 4].map((step) => ({
    type: 'step',
    step,
    stage: step < 3 ? 1 : 2,
    losses: { total: 2 / step, dice: 1 / step },
    learningRate: 0.1,
  })),
  { type: 'validation', step: 4, perTask: { organ: 0.5, other: null }, mean: 0.5, best: true, seconds: 1 },
  { type: 'checkpoint', step: 4, file: 'last.safetensors', best: false },
  { type: 'log', step: 4, message: 'done' },
  { type: 'end', step: 4, reason: 'finished', model: 'model.safetensors', seconds: 3 },
];

const metrics = {
  dice: 0.8,
  jaccard: 0.7,
  precision: 0.9,
  recall: null,
  hd95PooledMm: 3.25,
  hd95MaxMm: 4,
  asdMm: null,
  surfaceDice: 0.9,
  surfaceDiceToleranceMm: 1,
  volumePredictionMl: 2.5,
  volumeReferenceMl: 2,
  'own.volumeError': 25,
};
const summary = { mean: 0.8, std: 0, median: 0.8, min: 0.8, max: 0.8, count: 2, undefinedCount: 0 };

export const evaluationSeed = {
  format: 1,
  model: 'run/model.safetensors',
  device: 'cpu',
  deviceSettings: { exact: false, precision: 'float32' },
  inference: { protocol: 'default', overlap: 0.5, weighting: 'gaussian', mirror: false, largestComponent: false },
  created: '2026-01-02T03:04:05.000Z',
  program: { version: '1.2.3' },
  seconds: 12.5,
  weights: { step: 4, network: 'ema' },
  selections: [
    {
      dataset: 'd',
      asked: 'validation',
      recorded: true,
      count: 2,
      labeled: ['a'],
      unlabeled: [],
      validation: ['b'],
      changed: [],
      missing: ['c'],
      content: '0d',
    },
  ],
  cases: ['a', 'b'].map((id) => ({ id, dataset: 'd', task: 'organ', ...metrics })),
  summary: { organ: { dice: summary, hd95PooledMm: { ...summary, undefinedCount: 1 } } },
};

/** Slices of one voxel. */
export const slicesSeed = {
  format: 1,
  id: 'a',
  dataset: 'd',
  sizeVoxels: [1, 1, 1],
  spacingMm: [1, 1, 2.5],
  columns: 1,
  tilePixels: [8, 8],
  image: '/9j/4AAQ',
  tasks: [{ task: 'organ', masks: 'eJxjAAAAAQAB' }],
};

export interface FileSeeds {
  readonly plan: Plan;
  readonly hdf5: readonly Uint8Array[];
  readonly model: Uint8Array;
  readonly checkpoint: Uint8Array;
  readonly cache: Uint8Array;
  readonly dicom: DicomSeeds;
}

/** Checkpoints that PyTorch wrote (test/golden/pytorch.py), small, in every form of its files. */
export const torchSeeds: readonly Uint8Array[] = Object.values(
  (
    JSON.parse(readFileSync(join(packageRoot, 'test', 'golden', 'pytorch.json'), 'utf8')) as {
      containers: Record<string, string>;
    }
  ).containers,
).map((base64) => new Uint8Array(Buffer.from(base64, 'base64')));

/** Seeds that the project's own writers make. */
export async function makeFileSeeds(): Promise<FileSeeds> {
  const folder = mkdtempSync(join(tmpdir(), 'versemi-seeds-'));
  const at = (name: string) => join(folder, name);
  try {
    const plan = fullPlanSeed;
    const config = networkConfig(plan);
    const values = new Map(
      [...parameterSpecs(config), ...bufferSpecs(config)].map(({ name, shape }) => [
        name,
        new Float32Array(elementCount(shape)).fill(0.5),
      ]),
    );
    const provenance = {
      created: '2026-01-02T03:04:05.000Z',
      versions: { versemi: '0.1.0' },
      data: [{ dataset: 'd', licence: 'CC0' }],
    };
    const metadata = modelMetadata(plan, history, provenance, [
      { dataset: 'd', labeled: [['a', '0a', '0b']], unlabeled: [['b', '0c'], ['c']], validation: [], watched: [] },
    ]);
    const optimizer = new Map(
      optimizerMemory.adam.map((name) => [name, new Float32Array(parameterCount(config))] as const),
    );
    await saveModel(at('model'), values, metadata, { dtype: 'F16', average: values });
    await saveCheckpoint(at('checkpoint'), values, values, metadata, {
      step: 4,
      optimizer,
      pending: { steps: 1, sums: { dice: 0.5 } },
    });
    const affine = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    const volume = { sizeVoxels: [6, 5, 4] as const, spacingMm: [1, 1, 1] as const, affine };
    const loaded = {
      id: 'a',
      image: { data: Float32Array.from(voxels), ...volume },
      label: { data: labels, ...volume },
    };
    await writeCacheFile(at('cache'), preprocessCase(loaded, plan.datasets[0]!.preprocessing, 'd'));
    const read = (name: string) => new Uint8Array(readFileSync(at(name)));
    return {
      plan,
      hdf5: await atFixedTime(() => hdf5Seeds(folder)),
      model: read('model'),
      checkpoint: read('checkpoint'),
      cache: read('cache'),
      dicom: await makeDicomSeeds(),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A stream of gzip: of one member or two, with what follows behind it now and then. */
export function gzipped(bytes: Uint8Array, members: number): Uint8Array {
  if (members === 1) return gzipSync(bytes);
  const half = bytes.length >> 1;
  return Buffer.concat([gzipSync(bytes.subarray(0, half)), gzipSync(bytes.subarray(half))]);
}
