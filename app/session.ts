import { loadModelBytes, type ParsedModel } from '../src/checkpoints/model-file.js';
import type { Plan } from '../src/config/plan.js';
import { provideCodecs } from '../src/datasets/dicom/library.js';
import { checkFinite } from '../src/datasets/finite.js';
import { VersemiError } from '../src/errors.js';
import { agreementIsTrained, disagreement } from '../src/inference/disagreement.js';
import { misfitText, taskFits } from '../src/inference/fit.js';
import { maskIntensities } from '../src/inference/measure.js';
import { estimateMemory, explain, formatBytes } from '../src/inference/memory.js';
import { predictVolume } from '../src/inference/predict.js';
import { syntheticTaskName, taskIndices } from '../src/inference/segmenter.js';
import { segmentationMetrics } from '../src/metrics/segmentation-metrics.js';
import type { VersemiNetwork } from '../src/model/network.js';
import { intensityOf, isCt, type ScanFacts } from '../src/preprocessing/scan-facts.js';
import { MaskVolume } from '../src/scans/mask-volume.js';
import { type Scan, scanOf } from '../src/scans/scan.js';
import { currentDevice, selectDevice } from '../src/tfjs/index.js';
import { voxelCount } from '../src/volume/volume.js';
import { host } from '../src/wasm/host.js';
import { displayBytes } from './display.js';
import { grown } from './grow.js';
import { Given, type KnownModel, type ReadScan } from './intake.js';
import { reporter } from './preview.js';
import type {
  Calls,
  GivenFile,
  Measured,
  OpenedScan,
  PredictionFound,
  PredictionWanted,
  Progress,
  TaskFitting,
} from './protocol.js';
import { type ReferenceMasks, readReference } from './reference.js';
import { labelMapOf, saved } from './save.js';

/** All processes of the browser before a scan is opened (see NOTES.md). */
const pageBytes = 500e6;
/**
 * Colours of the scan and of all masks that the viewer mixes, on the graphics card or, without one, in memory; what is handed to it to be
 * mixed; and, where there are several masks, a copy of the colours.
 */
const viewerBytesPerVoxel = { one: 10, several: 14 };

interface Open {
  readonly read: ReadScan;
  readonly scan: Scan;
  readonly intensity: NonNullable<ScanFacts['intensity']>;
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
  private referenceMasks: ReferenceMasks | undefined;
  /** The mask of the reference that was compared with last, as drawing outlines takes time. */
  private comparedWith: { readonly label: number | 'all'; readonly mask: Uint8Array } | undefined;
  /** Whose masks the page shows. */
  private predictedBy: KnownModel | undefined;
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
        return { result: await this.reference(argument as Parameters<Calls['reference']>[0]) };
      case 'fits':
        return { result: this.fits(argument as number) };
      case 'compare':
        return { result: await this.compare(argument as Parameters<Calls['compare']>[0]) };
      case 'grow': {
        const mask = grown(this.current(), argument as Parameters<Calls['grow']>[0]);
        return { result: mask, transfer: [mask.buffer as ArrayBuffer] };
      }
      case 'save': {
        const found = await saved({ ...this.current(), ...this.author() }, argument as Parameters<Calls['save']>[0]);
        return { result: found, transfer: found.files.map(({ bytes }) => bytes.buffer as ArrayBuffer) };
      }
      case 'labelMap': {
        const { plan } = this.author();
        const map = await labelMapOf({ ...this.current(), plan }, argument as Parameters<Calls['labelMap']>[0]);
        return { result: map, transfer: [map.bytes.buffer as ArrayBuffer] };
      }
    }
  }

  private current(): Open {
    if (this.open !== undefined) return this.open;
    throw new VersemiError('INTERNAL', { expected: 'an open scan', remedy: 'Choose a scan first.' });
  }

  /** The model that made the masks. */
  private author(): { readonly model: string; readonly plan: Plan } {
    const { predictedBy } = this;
    if (predictedBy === undefined) throw new VersemiError('INTERNAL', { expected: 'masks of a model' });
    return { model: predictedBy.name, plan: predictedBy.plan };
  }

  private async openScan(id: number): Promise<Answer<ReturnType<Calls['open']>>> {
    // The voxels of the scan before are freed before those of the next are read.
    this.open = undefined;
    this.referenceMasks = undefined;
    this.comparedWith = undefined;
    const read = await this.given.scan(id).read();
    const scan = scanOf(read.volume, { slope: read.slope, intercept: read.intercept });
    checkFinite(scan, read.volume, read.name);
    const intensity = intensityOf(scan);
    this.open = { read, scan, intensity };
    const { percentile005: low, percentile995: high } = intensity;
    const nifti = displayBytes(read, scan);
    const { sizeVoxels, spacingMm, affine } = scan;
    const opened: OpenedScan = {
      ...{ sizeVoxels, spacingMm, affine },
      isDicom: read.placed !== undefined,
      automaticWindow: [low, high > low ? high : low + 1] as const,
      isCt: read.modality === 'CT' || (read.modality === undefined && isCt([low])),
      notices: read.notices,
    };
    return { result: { opened, nifti }, transfer: [nifti] };
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

  /** What the scan that is open is unlike, task by task; nothing where none is open. */
  private fits(id: number): TaskFitting[] {
    if (this.open === undefined) return [];
    const { read, scan, intensity } = this.open;
    const { sizeVoxels, spacingMm } = scan;
    const facts = {
      sizeVoxels,
      spacingMm,
      intensity,
      ...(read.modality === undefined ? {} : { modality: read.modality }),
    };
    return taskFits(this.given.knownModel(id), facts).map(({ task, misfits }) => ({
      task,
      reason: misfitText(misfits),
    }));
  }

  /**
   * The tasks that are predicted for those that are wanted: with the synthetic task where all tasks of their datasets are, so that it can
   * be said how much they disagree.
   */
  private predicted({ model, tasks, disagreement: asked }: PredictionWanted): readonly string[] {
    const { plan } = this.given.knownModel(model);
    const datasets = new Set(plan.tasks.flatMap(({ name, dataset }) => (tasks.includes(name) ? [dataset] : [])));
    const all = plan.tasks.every(({ name, dataset }) => !datasets.has(dataset) || tasks.includes(name));
    return asked && all && agreementIsTrained(plan) ? [...tasks, syntheticTaskName] : tasks;
  }

  /** @throws VERSEMI_MEMORY_LIMIT when the scan does not fit in any number of parts */
  private async estimate(wanted: PredictionWanted) {
    const { scan } = this.current();
    const model = await this.model(wanted.model);
    const estimate = estimateMemory(
      model,
      { geometry: scan, bytesPerVoxel: 0, loaded: true },
      taskIndices(model, this.predicted(wanted)),
      { maxMemoryBytes: wanted.maxMemoryBytes, processBytes: this.bytesBefore(wanted) },
    );
    const parts =
      estimate.strips === 1 ? '' : `, in ${estimate.strips} parts (${estimate.work.toFixed(1)} times the work)`;
    return { text: `${formatBytes(estimate.total)}${parts}`, detail: explain(estimate), parts: estimate.strips };
  }

  /**
   * The browser, the scan as it was stored and in the viewer, what the viewer mixes, and the masks that will be shown, of which one is
   * under the pen too.
   */
  private bytesBefore({ tasks }: PredictionWanted): number {
    const { data } = this.current().read.volume;
    const viewer = tasks.length > 1 ? viewerBytesPerVoxel.several : viewerBytesPerVoxel.one;
    return pageBytes + 2 * data.byteLength + (viewer + tasks.length + 1) * data.length;
  }

  private async predict(wanted: PredictionWanted, report: (progress: Progress) => void) {
    const running = new AbortController();
    this.running = running;
    try {
      const { scan } = this.current();
      const model = await this.model(wanted.model);
      const predictions = await predictVolume(model, scan, {
        tasks: this.predicted(wanted),
        signal: running.signal,
        maxMemoryBytes: wanted.maxMemoryBytes,
        processBytes: this.bytesBefore(wanted),
        onProgress: reporter(scan, report),
      });
      this.predictedBy = this.given.knownModel(wanted.model);
      const real = predictions.filter(({ task }) => task !== syntheticTaskName);
      const synthetic = predictions.find(({ task }) => task === syntheticTaskName)?.mask;
      const masks = real.map(({ mask }) => mask);
      const result: PredictionFound = {
        predictions: real.map(({ task, mask }) => ({
          task,
          mask: host().unpackMask(mask.packed),
          measured: measured(scan, mask),
        })),
        threads: currentDevice()?.threads ?? 1,
        ...(synthetic === undefined ? {} : { disagreement: disagreement(masks, synthetic) }),
      };
      return { result, transfer: result.predictions.map(({ mask }) => mask.buffer as ArrayBuffer) };
    } finally {
      if (this.running === running) this.running = undefined;
    }
  }

  private measure(mask: Uint8Array): Measured {
    const { scan } = this.current();
    return measured(scan, new MaskVolume(scan, host().packMask(mask, scan.sizeVoxels)));
  }

  private async reference(given: readonly GivenFile[]) {
    this.referenceMasks = await readReference(given, this.current());
    this.comparedWith = undefined;
    const { name, labels } = this.referenceMasks;
    return { name, labels };
  }

  private async compare({ mask, label }: Parameters<Calls['compare']>[0]) {
    const { scan } = this.current();
    if (this.referenceMasks === undefined) throw new VersemiError('INTERNAL', { expected: 'a reference mask' });
    if (mask.length !== voxelCount(scan.sizeVoxels)) throw new VersemiError('INTERNAL', { field: 'mask' });
    if (this.comparedWith?.label !== label) this.comparedWith = { label, mask: await this.referenceMasks.mask(label) };
    return segmentationMetrics(mask, this.comparedWith.mask, scan.sizeVoxels, scan.spacingMm);
  }
}

function measured(scan: Scan, mask: MaskVolume): Measured {
  const [intensity] = maskIntensities(scan, [{ mask }]);
  const voxels = mask.count();
  return { voxels, volumeMl: voxels * mask.voxelMl, meanIntensity: intensity?.mean ?? null };
}
