import { loadModelBytes, type ParsedModel } from '../src/checkpoints/model-file.js';
import { provideCodecs } from '../src/datasets/dicom/library.js';
import { checkFinite } from '../src/datasets/finite.js';
import { labelBytes } from '../src/datasets/label-values.js';
import { readVolumeBytes } from '../src/datasets/nifti-bytes.js';
import { VersemiError } from '../src/errors.js';
import { maskIntensities } from '../src/inference/measure.js';
import { estimateMemory, explain, formatBytes } from '../src/inference/memory.js';
import { type PredictProgress, predictVolume } from '../src/inference/predict.js';
import { taskIndices } from '../src/inference/segmenter.js';
import { segmentationMetrics } from '../src/metrics/segmentation-metrics.js';
import type { VersemiNetwork } from '../src/model/network.js';
import { toCanonical } from '../src/scans/canonical.js';
import { MaskVolume } from '../src/scans/mask-volume.js';
import { type Scan, scanOf } from '../src/scans/scan.js';
import { currentDevice, selectDevice } from '../src/tfjs/index.js';
import { voxelCount } from '../src/volume/volume.js';
import { host } from '../src/wasm/host.js';
import { displayBytes, intensitySummary } from './display.js';
import { grown } from './grow.js';
import { Given, type ReadScan, unpacked } from './intake.js';
import type {
  Calls,
  GivenFile,
  Measured,
  OpenedScan,
  PackedBits,
  PredictionWanted,
  Progress,
  SavedFile,
} from './protocol.js';
import { saved } from './save.js';

/** What the page itself takes, with its viewer and the code of the device, before a scan is opened. */
const pageBytes = 250e6;
/** Between two pictures of what was found so far. */
const previewEveryMs = 1500;

interface Open {
  readonly read: ReadScan;
  readonly scan: Scan;
}

interface Answer<Result> {
  readonly result: Result;
  /** Buffers that are handed over with the result. */
  readonly transfer?: Transferable[];
}

/** The state of one page: files that were given, the scan that is open, the model that is loaded. */
export class Session {
  private readonly given = new Given();
  private open: Open | undefined;
  private loaded:
    | { readonly id: number; readonly model: ParsedModel & { readonly network: VersemiNetwork } }
    | undefined;
  private referenceMask: Uint8Array | undefined;
  private running: AbortController | undefined;
  private device: ReturnType<typeof selectDevice> | undefined;

  constructor() {
    // Fetched now, so that compressed images can be read when the network has gone.
    const decoders = fetch('dicom-codecs.wasm').then((response) => response.arrayBuffer());
    decoders.catch(() => undefined);
    provideCodecs(() => decoders);
  }

  /** Answers one call of the page. @throws VersemiError, whose sentence is shown */
  async answer(call: keyof Calls, argument: unknown, report: (progress: Progress) => void): Promise<Answer<unknown>> {
    switch (call) {
      case 'take':
        return { result: await this.given.take(argument as Parameters<Calls['take']>[0]) };
      case 'open':
        return this.openScan(argument as number);
      case 'estimate':
        return { result: await this.estimate(argument as PredictionWanted) };
      case 'predict':
        return this.predict(argument as PredictionWanted, report);
      case 'cancel':
        this.running?.abort();
        return { result: null };
      case 'measure':
        return { result: this.measure(argument as Uint8Array) };
      case 'reference':
        return { result: await this.reference(argument as GivenFile) };
      case 'compare':
        return { result: this.compare(argument as Parameters<Calls['compare']>[0]) };
      case 'grow': {
        const mask = grown(this.current(), argument as Parameters<Calls['grow']>[0]);
        return { result: mask, transfer: [mask.buffer as ArrayBuffer] };
      }
      case 'save': {
        const files: SavedFile[] = await saved(this.current(), argument as Parameters<Calls['save']>[0]);
        return { result: files, transfer: files.map(({ bytes }) => bytes.buffer as ArrayBuffer) };
      }
    }
  }

  private current(): Open {
    if (this.open !== undefined) return this.open;
    throw new VersemiError('INTERNAL', { expected: 'an open scan', remedy: 'Choose a scan first.' });
  }

  private async openScan(id: number): Promise<Answer<OpenedScan>> {
    // The voxels of the scan before are freed before those of the next are read.
    this.open = undefined;
    this.referenceMask = undefined;
    const read = await this.given.scan(id).read();
    const scan = scanOf(read.volume, { slope: read.slope, intercept: read.intercept });
    checkFinite(scan, read.volume, read.name);
    this.open = { read, scan };
    const { low, high, min } = intensitySummary(read);
    const nifti = displayBytes(read, scan);
    const { sizeVoxels, spacingMm, affine } = scan;
    const result = {
      ...{ sizeVoxels, spacingMm, affine, nifti },
      isDicom: read.placed !== undefined,
      automaticWindow: [low, high] as const,
      isCt: read.modality === 'CT' || (read.modality === undefined && min <= -900),
      notices: read.notices,
    };
    return { result, transfer: [nifti] };
  }

  /** Loads a model, in place of the one that is loaded. */
  private async model(id: number) {
    if (this.loaded?.id === id) return this.loaded.model;
    this.device ??= selectDevice('wasm');
    await this.device;
    this.loaded?.model.network.dispose();
    this.loaded = undefined;
    const known = this.given.knownModel(id);
    const model = loadModelBytes(await known.bytes(), { name: known.name });
    this.loaded = { id, model };
    return model;
  }

  /** @throws VERSEMI_MEMORY_LIMIT when the scan does not fit in any number of parts */
  private async estimate(wanted: PredictionWanted) {
    const { scan } = this.current();
    const model = await this.model(wanted.model);
    const estimate = estimateMemory(
      model,
      { geometry: scan, bytesPerVoxel: 0, loaded: true },
      taskIndices(model, wanted.tasks),
      { maxMemoryBytes: wanted.maxMemoryBytes, processBytes: this.bytesBefore() },
    );
    const parts =
      estimate.strips === 1 ? '' : `, in ${estimate.strips} parts (${estimate.work.toFixed(1)} times the work)`;
    return { text: `${formatBytes(estimate.total)}${parts}`, detail: explain(estimate), parts: estimate.strips };
  }

  /** The page, and the scan three times: as it was stored, in the viewer, and on the graphics card. */
  private bytesBefore(): number {
    const { read } = this.current();
    return pageBytes + 3 * read.volume.data.byteLength;
  }

  private async predict(wanted: PredictionWanted, report: (progress: Progress) => void) {
    const running = new AbortController();
    this.running = running;
    try {
      const { scan } = this.current();
      const model = await this.model(wanted.model);
      const predictions = await predictVolume(model, scan, {
        tasks: wanted.tasks,
        signal: running.signal,
        maxMemoryBytes: wanted.maxMemoryBytes,
        processBytes: this.bytesBefore(),
        onProgress: reporter(report),
      });
      const result = {
        predictions: predictions.map(({ task, mask }) => ({ task, mask: mask.packed })),
        threads: currentDevice()?.threads ?? 1,
      };
      return { result, transfer: result.predictions.map(({ mask }) => mask.bits.buffer as ArrayBuffer) };
    } finally {
      if (this.running === running) this.running = undefined;
    }
  }

  private measure(mask: Uint8Array): Measured {
    const { scan } = this.current();
    const volume = new MaskVolume(scan, host().packMask(mask, scan.sizeVoxels));
    const [intensity] = maskIntensities(scan, [{ mask: volume }]);
    const voxels = volume.count();
    return { voxels, volumeMl: voxels * volume.voxelMl, meanIntensity: intensity?.mean ?? null };
  }

  /** @throws VERSEMI_VOLUME_INVALID when the reference lies on another grid than the scan */
  private async reference(given: GivenFile) {
    const { read } = this.current();
    const [file, ...others] = await unpacked(given);
    if (file === undefined || others.length > 0)
      throw new VersemiError('FORMAT_UNSUPPORTED', {
        ...{
          file: given.name,
          expected: 'one NIfTI file',
          found: `${others.length + (file === undefined ? 0 : 1)} files`,
        },
        remedy: 'Drop the file of the reference mask itself.',
      });
    const { volume, slope, intercept } = await readVolumeBytes(await file.bytes(), { name: file.name });
    const here = read.volume;
    const farthest = Math.max(...volume.affine.map((value, i) => Math.abs(value - here.affine[i]!)));
    if (volume.sizeVoxels.join() !== here.sizeVoxels.join() || farthest > 0.01)
      throw new VersemiError('VOLUME_INVALID', {
        ...{ file: file.name, field: 'reference' },
        expected: `the grid of the scan, ${here.sizeVoxels.join(' x ')} voxels at the same place`,
        found: `${volume.sizeVoxels.join(' x ')} voxels${volume.sizeVoxels.join() === here.sizeVoxels.join() ? ' at another place' : ''}`,
        remedy: 'Give the mask that was drawn on this scan.',
      });
    const data = labelBytes(volume.data, { slope, intercept }, file.name);
    this.referenceMask = toCanonical({ ...volume, data }).data;
    const labels = [...new Set(data)].filter((value) => value !== 0).sort((a, b) => a - b);
    return { name: file.name, labels };
  }

  private compare({ mask, label }: Parameters<Calls['compare']>[0]) {
    const { scan } = this.current();
    if (this.referenceMask === undefined) throw new VersemiError('INTERNAL', { expected: 'a reference mask' });
    const reference = label === 0 ? this.referenceMask : this.referenceMask.map((value) => (value === label ? 1 : 0));
    if (mask.length !== voxelCount(scan.sizeVoxels)) throw new VersemiError('INTERNAL', { field: 'mask' });
    return segmentationMetrics(mask, reference, scan.sizeVoxels, scan.spacingMm);
  }
}

/** Reports each window, and now and then what was found so far. */
function reporter(report: (progress: Progress) => void): (progress: PredictProgress) => void {
  let shownAt = performance.now();
  let shownSlices = 0;
  return ({ window, windows, pass, passes, slices, tasks, masks }) => {
    const plain = { window, windows, pass, passes };
    if (slices < shownSlices) shownSlices = 0;
    if (slices === shownSlices || performance.now() - shownAt < previewEveryMs) return report(plain);
    shownAt = performance.now();
    shownSlices = slices;
    const copies: PackedBits[] = masks.map(({ sizeVoxels, bits }) => ({ sizeVoxels, bits: bits.slice() }));
    report({ ...plain, preview: { tasks, masks: copies } });
  };
}
