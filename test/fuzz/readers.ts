// What is fuzzed: for each kind of input, how files with faults are made and what reads them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zipSync } from 'fflate';
import { loadCheckpoint } from '../../src/checkpoints/checkpoint.js';
import { readModel } from '../../src/checkpoints/files.js';
import { readPlan } from '../../src/config/read-plan.js';
import { openDataset } from '../../src/datasets/dataset.js';
import { withHdf5Contents } from '../../src/datasets/hdf5.js';
import { loadCase, openScan, scanFacts } from '../../src/datasets/load-case.js';
import { imageInfo, readVolume } from '../../src/datasets/read-volume.js';
import { findScans } from '../../src/datasets/scan-files.js';
import { resolveSplit } from '../../src/datasets/splits.js';
import { importWeights } from '../../src/exchange/import-weights.js';
import { stateDicts } from '../../src/exchange/weights-file.js';
import { estimateMemory } from '../../src/inference/memory.js';
import { readCacheFile } from '../../src/preprocessing/cache-file.js';
import { contentKeys } from '../../src/preprocessing/content-key.js';
import { fingerprintDatasets } from '../../src/preprocessing/fingerprint.js';
import { makePlan } from '../../src/preprocessing/planning.js';
import type { RandomStream } from '../../src/random.js';
import { casesFromCsv, casesToCsv } from '../../src/reports/cases-csv.js';
import { runReport } from '../../src/reports/run-report.js';
import { assertHarmlessPage } from './checks.js';
import type { DicomSeed, DicomSeeds } from './dicom-seeds.js';
import { mutatedBytes, mutatedWords, once, pick } from './mutate.js';
import { mutatedJson, mutatedJsonLines } from './mutate-json.js';
import { mutatedCheckpoint } from './mutate-pickle.js';
import {
  datasetSeeds,
  evaluationSeed,
  type FileSeeds,
  fullPlanSeed,
  gzipped,
  hdf5Fields,
  labelSeed,
  metricsSeed,
  niftiFields,
  niftiSeeds,
  planSeed,
  rasterSeeds,
  splitSeed,
  torchSeeds,
} from './seeds.js';

/** Path in the folder of an input -> what the file holds. */
type Files = Readonly<Record<string, Uint8Array | string>>;

export interface FuzzedReader {
  /** The files of one input: a pure function of the random numbers. */
  files(random: RandomStream, seeds: FileSeeds): Files;
  /** Ways to read them, each by itself: a failure of one does not keep the others from being tried. */
  readonly ways: readonly ((folder: string, seeds: FileSeeds) => Promise<unknown>)[];
}

const json = (value: unknown) => JSON.stringify(value);

function mutatedNifti(seed: Uint8Array, random: RandomStream): Uint8Array {
  return mutatedBytes(seed, random, niftiFields(seed));
}

/** The one file of an input whose name begins with `scan` (of a pair the header). */
function scanIn(folder: string): string {
  return join(
    folder,
    readdirSync(folder)
      .filter((name) => name.startsWith('scan'))
      .sort()[0]!,
  );
}

const anyFileSegmenter = ({ plan }: FileSeeds) => ({ plan, network: { parameterCount: 1000 } }) as never;

/** What every image file is read by. */
const imageWays: FuzzedReader['ways'] = [
  (folder) => imageInfo(scanIn(folder)),
  (folder) => readVolume(scanIn(folder)),
  (folder) => openScan(scanIn(folder), { channel: 0 }),
  async (folder, seeds) => {
    const facts = await scanFacts(scanIn(folder));
    return estimateMemory(anyFileSegmenter(seeds), { ...facts, labeled: true }, [0], { maxMemoryBytes: 6e8 });
  },
];

/** Opens the dataset of an input and reads all that `plan` and `train` read of it. */
const datasetWays: FuzzedReader['ways'] = [
  async (folder, { plan }) => {
    const dataset = await openDataset(folder);
    for (const files of dataset.cases.slice(0, 3)) await loadCase(dataset, files).catch(codedOnly);
    return resolveSplit(dataset, plan.datasets[0]!, 1);
  },
  async (folder) => makePlan(await fingerprintDatasets([{ path: folder }]), { minutes: 10 }),
];

function codedOnly(error: unknown): void {
  if ((error as { name?: string } | null)?.name !== 'VersemiError') throw error;
}

/** A Decathlon, an nnU-Net or another folder of four small scans, described by `description`. */
function datasetFiles(random: RandomStream, kind: keyof typeof datasetSeeds, description: Files[string]): Files {
  const numbered = kind === 'decathlon' ? '' : '_0000';
  const image = () => (once(random, 6) ? mutatedNifti(niftiSeeds[0]!, random) : niftiSeeds[0]!);
  const label = () => (once(random, 6) ? mutatedNifti(labelSeed, random) : labelSeed);
  return {
    'dataset.json': description,
    ...Object.fromEntries(['a', 'b', 'c'].map((id) => [`imagesTr/${id}${numbered}.nii`, image()])),
    'labelsTr/a.nii': label(),
    'labelsTr/b.nii': label(),
    [`imagesTs/d${numbered}.nii`]: image(),
  };
}

/** A series in one transfer syntax, of which one file, now and then two, have faults. */
function dicomSeries(random: RandomStream, { series }: DicomSeeds, faults: boolean): Record<string, Uint8Array> {
  const chosen = pick(random, series);
  const wrong = faults
    ? [random.integer(chosen.length), ...(once(random, 4) ? [random.integer(chosen.length)] : [])]
    : [];
  return Object.fromEntries(
    chosen.map((seed, i) => [`IM${i}`, wrong.includes(i) ? mutatedDicom(seed, random) : seed.bytes]),
  );
}

function mutatedDicom({ bytes, fields }: DicomSeed, random: RandomStream): Uint8Array {
  return mutatedBytes(bytes, random, fields);
}

const within = (folder: string, files: Readonly<Record<string, Uint8Array>>): Files =>
  Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`${folder}/${name}`, bytes]));

/** Opens what lies in `patients` as a dataset, reads all cases with their labels, and finds the scans in it. */
const dicomDatasetWays: FuzzedReader['ways'] = [
  async (folder) => {
    const dataset = await openDataset(join(folder, 'patients'));
    for (const files of dataset.cases) {
      await loadCase(dataset, files).catch(codedOnly);
      await contentKeys(dataset, files, 0).catch(codedOnly);
    }
    return dataset;
  },
  (folder) => findScans([join(folder, 'patients')]),
];

export const readers = {
  nifti: {
    files(random) {
      const bytes = mutatedNifti(pick(random, niftiSeeds), random);
      if (once(random, 8)) {
        const [header, image] = [bytes.slice(0, 352), bytes.slice(352)];
        if (header.length > 344) header.set(Buffer.from('ni1\0'), 344);
        return once(random, 2)
          ? { 'scan.hdr': header, 'scan.img': image }
          : { 'scan.hdr': header, 'scan.img.gz': gzipped(image, 1) };
      }
      return { 'scan.nii': bytes };
    },
    ways: imageWays,
  },
  gzip: {
    files(random) {
      const seed = pick(random, niftiSeeds);
      const bytes = once(random, 2) ? mutatedNifti(seed, random) : seed;
      // Much more than the header promises, which compresses to little.
      const beyond = once(random, 20) ? new Uint8Array(1 + random.integer(1 << 25)) : new Uint8Array(0);
      const compressed = gzipped(Buffer.concat([bytes, beyond]), 1 + random.integer(2));
      return { 'scan.nii.gz': once(random, 3) ? compressed : mutatedBytes(compressed, random) };
    },
    ways: imageWays,
  },
  raster: {
    files(random) {
      const { name, header, data } = pick(random, rasterSeeds);
      const text = Buffer.from(once(random, 4) ? header : mutatedWords(header, random));
      const voxels = once(random, 4) ? mutatedBytes(data, random) : data;
      if (/\.(nhdr|mhd)$/.test(name)) return { [name]: text, 'scan.raw': voxels };
      const whole = Buffer.concat([text, voxels]);
      return { [name]: once(random, 4) ? mutatedBytes(whole, random) : whole };
    },
    ways: imageWays,
  },
  hdf5: {
    files(random, { hdf5 }) {
      const seed = pick(random, hdf5);
      return { 'scan.h5': mutatedBytes(seed, random, hdf5Fields(seed)) };
    },
    ways: [
      ...imageWays,
      (folder) => readVolume(scanIn(folder), { role: 'label' }),
      (folder) => withHdf5Contents(scanIn(folder), ({ names, shapeOf }) => names.map(shapeOf)),
      ...datasetWays,
    ],
  },
  model: {
    files: (random, { model }) => ({ model: mutatedSafetensors(model, random) }),
    ways: [
      async (folder) => {
        const model = await readModel(join(folder, 'model'));
        return model.networks.map((which) => model.values(which));
      },
    ],
  },
  checkpoint: {
    files: (random, { checkpoint }) => ({ checkpoint: mutatedSafetensors(checkpoint, random) }),
    ways: [(folder, { plan }) => loadCheckpoint(join(folder, 'checkpoint'), plan)],
  },
  weights: {
    files: (random, { model }) => ({
      weights: once(random, 8)
        ? mutatedSafetensors(model, random)
        : mutatedCheckpoint(pick(random, torchSeeds), random),
    }),
    ways: [
      async (folder) => {
        const config = { baseWidth: 1, levels: 2, convolutions: [1, 2], headWidth: 2, tasks: 2 };
        const options = { file: 'weights', axes: 'xyz', trunkOnly: false, seed: 1 } as const;
        return importWeights(stateDicts(readFileSync(join(folder, 'weights')), 'weights'), config, options);
      },
    ],
  },
  dataset: {
    files(random) {
      const kind = pick(random, ['decathlon', 'decathlon', 'nnunet', 'listed'] as const);
      return datasetFiles(random, kind, mutatedJson(datasetSeeds[kind], random));
    },
    ways: datasetWays,
  },
  scans: {
    files(random) {
      const all = datasetFiles(random, 'decathlon', json(datasetSeeds.decathlon));
      const name = pick(random, ['imagesTr/a.nii', 'labelsTr/a.nii'] as const);
      return { ...all, [name]: mutatedNifti(name === 'imagesTr/a.nii' ? pick(random, niftiSeeds) : labelSeed, random) };
    },
    ways: datasetWays,
  },
  splits: {
    files: (random) => ({
      ...datasetFiles(random, 'decathlon', json(datasetSeeds.decathlon)),
      'splits.json': mutatedJson(splitSeed, random),
    }),
    ways: [
      async (folder) => {
        const dataset = await openDataset(folder);
        const split = { file: null, labeled: 'labeled', validation: 'validation', unlabeled: 'unlabeled' } as const;
        return resolveSplit(dataset, { split }, 1);
      },
      datasetWays[0]!,
    ],
  },
  plan: {
    files: (random) => ({ 'plan.json': mutatedJson(planSeed, random) }),
    ways: [(folder) => readPlan(join(folder, 'plan.json'))],
  },
  cache: {
    files: (random, { cache }) => ({ 'a.case': mutatedBytes(cache, random, cacheFields) }),
    ways: [
      async (folder, { cache }) => {
        const found = await readCacheFile(join(folder, 'a.case'));
        const changed = Buffer.compare(cache, readFileSync(join(folder, 'a.case'))) !== 0;
        if (found !== undefined && changed) throw new Error('a damaged cache file was taken for a whole one');
      },
    ],
  },
  report: {
    files(random) {
      const kind = random.integer(4);
      const evaluation = kind <= 1 ? mutatedJson(evaluationSeed, random) : json(evaluationSeed);
      const lines = `${metricsSeed.map(json).join('\n')}\n`;
      return {
        'metrics.jsonl': kind === 0 || kind === 2 ? mutatedJsonLines(metricsSeed, random) : lines,
        'plan.json': kind === 3 ? mutatedJson(fullPlanSeed, random) : json(fullPlanSeed),
        'evaluation/evaluation.json': evaluation,
        'evaluation/overlays/a_organ.png': mutatedBytes(onePixel, random),
      };
    },
    ways: [
      async (folder) => assertHarmlessPage(await runReport(folder)),
      async (folder) => assertHarmlessPage(await runReport(join(folder, 'evaluation'), { compare: [folder] })),
    ],
  },
  csv: {
    files: (random) => ({ 'cases.csv': mutatedBytes(Buffer.from(casesToCsv(evaluationSeed.cases as never)), random) }),
    ways: [async (folder) => casesFromCsv(readFileSync(join(folder, 'cases.csv'), 'utf8'), 'cases.csv')],
  },
  dicom: {
    files: (random, { dicom }) => within('scan', dicomSeries(random, dicom, true)),
    ways: [...imageWays, (folder) => readVolume(join(folder, 'scan', 'IM0'))],
  },
  outlines: {
    files(random, { dicom }) {
      const faulty = once(random, 4);
      const object = once(random, 2) ? dicom.structures : dicom.segmentation;
      const images = within('patients/a', dicomSeries(random, { ...dicom, series: [dicom.series[0]!] }, faulty));
      return { ...images, 'patients/a/label': mutatedDicom(object, random) };
    },
    ways: dicomDatasetWays,
  },
  zip: {
    files(random, { dicom }) {
      const series = dicomSeries(random, dicom, once(random, 6));
      const entries = { ...series, ...(once(random, 2) ? { rs: dicom.structures.bytes } : {}) };
      // A time of its own would make other bytes at each start.
      const options = { mtime: new Date(2020, 1, 2), level: once(random, 2) ? 0 : 6 } as const;
      const bytes = zipSync(entries, options);
      // Most of what a reader believes stands in the directory at the end.
      const directory = Math.max(0, bytes.length - 400);
      const faulty = once(random, 2)
        ? Buffer.concat([bytes.subarray(0, directory), mutatedBytes(bytes.subarray(directory), random)])
        : mutatedBytes(bytes, random);
      return { 'scan.zip': faulty, 'patients/a.zip': faulty };
    },
    ways: [...imageWays, ...dicomDatasetWays],
  },
} satisfies Record<string, FuzzedReader>;

export type ReaderName = keyof typeof readers;

/** A PNG of one pixel. */
const onePixel = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

/** Version, length of the header, and the first bytes of the checksum. */
const cacheFields = [
  { at: 0, type: 'int64' },
  { at: 7, type: 'int8' },
  { at: 8, type: 'int64' },
  { at: 8, type: 'int32' },
  { at: 16, type: 'int64' },
] as const;

/** Faults in the bytes of a safetensors file, in its header as JSON, or in the JSON texts within that header. */
function mutatedSafetensors(bytes: Uint8Array, random: RandomStream): Uint8Array {
  if (once(random, 3))
    return mutatedBytes(bytes, random, [
      { at: 0, type: 'int64' },
      { at: 0, type: 'int32' },
    ]);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)).toString());
  if (once(random, 2)) {
    const key = pick(random, Object.keys(header.__metadata__));
    header.__metadata__[key] = Buffer.from(mutatedJson(jsonOrText(header.__metadata__[key]), random)).toString();
    const text = Buffer.from(JSON.stringify(header));
    return withHeader(text, bytes.subarray(8 + length));
  }
  return withHeader(mutatedJson(header, random), bytes.subarray(8 + length));
}

/** Some texts of the metadata are no JSON, a digest for one. */
function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function withHeader(header: Uint8Array, data: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return Buffer.concat([length, header, data]);
}
