import type { Plan } from '../config/plan.js';
import { isVersemiError } from '../errors.js';
import { allowedMemoryBytes } from '../memory-limit.js';
import { defaultMemoryBytes, type Numbers3, type PlanningOptions } from '../preprocessing/budget.js';
import { evenly, type Fingerprint } from '../preprocessing/fingerprint.js';
import { makePlan } from '../preprocessing/planning.js';
import { preprocessDatasets } from '../preprocessing/preprocess-datasets.js';
import type { SamplingData } from '../sampling/rows.js';
import { currentDevice } from '../tfjs/index.js';
import { casesBytes, speedOf } from './planned-cost.js';
import { secondsSince } from './run.js';
import { type StepTimes, type TrialOptions, timeSteps } from './trial.js';

/** Cases of each dataset and role that a trial trains on. */
const trialCases = 2;
/** Memory that is tried next where a step did not fit, as a share of that before. */
const lessMemory = 0.7;
/** A step that does not fit this has another reason. */
const leastMemoryBytes = 2 ** 20;
/** WebAssembly addresses 4 GiB; scratch and weights need some of them. */
const wasmMemoryBytes = 3 * 2 ** 30;
/** Of the small network by which a first speed is found. */
const rough = { patchSizeVoxels: [32, 32, 32] as Numbers3, baseWidth: 8, seconds: 3 };

/** Memory for training where nothing is said: half of this machine's, or what WebAssembly can address, where that is less. */
function memoryHere(): number {
  const device = currentDevice()?.name;
  if (device === 'cuda') return defaultMemoryBytes;
  return Math.min(
    defaultMemoryBytes,
    device === 'wasm' ? wasmMemoryBytes : defaultMemoryBytes,
    allowedMemoryBytes() / 2,
  );
}

/** The plan of a trial: patches of a few cases are cut where those of all cases will be. */
function withVolumes(plan: Plan, fingerprint: Fingerprint): Plan {
  const fit = casesBytes(plan, fingerprint) <= plan.training.deviceVolumesMiB * 2 ** 20;
  return fit ? plan : { ...plan, training: { ...plan.training, deviceVolumesMiB: 0 } };
}

/** Whether a step of two plans costs the same. */
export function sameSizes(a: Plan, b: Plan): boolean {
  const sizes = ({ patchSizeVoxels, network, training }: Plan) =>
    JSON.stringify([patchSizeVoxels, network, training.labeledBatchSize, training.unlabeledBatchSize]);
  return sizes(a) === sizes(b);
}

/** Times real steps of plans for the same datasets, with a few of their cases. */
export class Calibration {
  private memoryBytes: number;
  private readonly data = new Map<string, SamplingData>();
  private prepared = { seconds: 0, cases: 0 };

  constructor(
    private readonly fingerprint: Fingerprint,
    private readonly base: PlanningOptions,
    private readonly onProgress: (text: string) => void,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.memoryBytes = base.deviceMemoryBytes ?? memoryHere();
  }

  /** How plans are made that fit the memory, as far as is known. */
  get options(): PlanningOptions {
    return { ...this.base, deviceMemoryBytes: this.memoryBytes };
  }

  /** Mean time in which one thread preprocesses a case. */
  get secondsPerCase(): number {
    return this.prepared.seconds / this.prepared.cases;
  }

  /** About how fast the device is, GFLOP/s, from steps of a small network. */
  async roughSpeed(): Promise<number> {
    const { patchSizeVoxels = rough.patchSizeVoxels, baseWidth = rough.baseWidth } = this.base;
    const voxels = (size: readonly number[]) => size[0]! * size[1]! * size[2]!;
    const { plan, steps } = await this.time(
      {
        patchSizeVoxels:
          voxels(patchSizeVoxels) < voxels(rough.patchSizeVoxels) ? patchSizeVoxels : rough.patchSizeVoxels,
        baseWidth: Math.min(baseWidth, rough.baseWidth),
      },
      rough.seconds,
    );
    return speedOf(plan, steps);
  }

  /**
   * Makes a plan and times its steps; with less memory where they do not fit it.
   * @throws VERSEMI_DEVICE_OUT_OF_MEMORY where even a small plan does not fit
   */
  async time(changes: PlanningOptions, secondsPerStage?: number): Promise<{ plan: Plan; steps: StepTimes }> {
    for (;;) {
      const { plan } = makePlan(this.fingerprint, { ...this.options, ...changes });
      const { patchSizeVoxels: patch, network, training } = plan;
      const sizes = `patch ${patch.join(' x ')}, width ${network.baseWidth}, batch ${training.labeledBatchSize}`;
      const onProgress: TrialOptions['onProgress'] = ({ stage, timed }) =>
        this.onProgress(`Timing steps (${sizes}): stage ${stage}, ${timed} timed`);
      try {
        const steps = await timeSteps(withVolumes(plan, this.fingerprint), await this.cases(plan), {
          onProgress,
          ...(secondsPerStage === undefined ? {} : { secondsPerStage }),
          ...(this.signal === undefined ? {} : { signal: this.signal }),
        });
        return { plan, steps };
      } catch (error) {
        if (!isVersemiError(error, 'DEVICE_OUT_OF_MEMORY')) throw error;
        do {
          this.memoryBytes *= lessMemory;
          if (this.memoryBytes < leastMemoryBytes) throw error;
        } while (sameSizes(plan, makePlan(this.fingerprint, { ...this.options, ...changes }).plan));
      }
    }
  }

  /** A few cases of each dataset and role, preprocessed as the plan says. */
  private async cases(plan: Plan): Promise<SamplingData> {
    const key = JSON.stringify(plan.datasets.map(({ preprocessing }) => preprocessing));
    const known = this.data.get(key);
    if (known !== undefined) return known;
    const datasets = plan.datasets.map((dataset, index) => {
      const { cases } = this.fingerprint.datasets[index]!;
      const hasTask = plan.tasks.some(({ dataset: name }) => name === dataset.name);
      const few = (of: typeof cases) =>
        evenly(
          of.map(({ id }) => id),
          trialCases,
        );
      // Where a dataset has no task, its labelled cases are not used as such.
      const labeled = hasTask ? few(cases.filter((one) => one.labeled)) : [];
      const unlabeled = few(cases.filter((one) => !hasTask || !one.labeled));
      const split = { file: null, labeled, validation: 0, unlabeled: unlabeled.length === 0 ? 'none' : unlabeled };
      return { ...dataset, split };
    });
    const began = performance.now();
    const { labeled, unlabeled } = await preprocessDatasets(
      { ...plan, datasets },
      {
        cacheFolder: null,
        onProgress: ({ index, total }) => this.onProgress(`Preprocessing ${index} of ${total} cases for the timing`),
        ...(this.signal === undefined ? {} : { signal: this.signal }),
      },
    );
    const count = labeled.length + unlabeled.length;
    this.prepared = { seconds: this.prepared.seconds + secondsSince(began), cases: this.prepared.cases + count };
    const data = { labeled, unlabeled };
    this.data.set(key, data);
    return data;
  }
}
