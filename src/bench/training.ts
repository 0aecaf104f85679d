import { type Plan, parsePlan } from '../config/plan.js';
import { forwardPasses, stageBegins, stageOf, trunkPasses } from '../config/steps.js';
import { networkConfig } from '../model/layers.js';
import { VersemiNetwork } from '../model/network.js';
import { medianOf } from '../preprocessing/fingerprint.js';
import { RandomStream, streams } from '../random.js';
import { fields, type StepBatch } from '../sampling/fields.js';
import { madeBatch } from '../sampling/made-batch.js';
import type { Device } from '../tfjs/index.js';
import { createState, disposeState, runStep } from '../training/step.js';
import { hostStep } from '../training/step-data.js';
import { randomTensor } from './cases.js';
import { layerCase, layerDirections, layerShapes, layerWork } from './layers.js';

/** What a device can do at most; measured beside the rows that are compared with it. */
export interface Ceilings {
  readonly flopsPerSecond: number;
  /** Read and written. */
  readonly bytesPerSecond: number;
}

/** A row of the training bench: a layer in one direction, or a whole step. */
export interface TrainingRow {
  readonly name: string;
  /** Times that the network has this layer; 1 for a step. */
  readonly count: number;
  readonly milliseconds: number;
  readonly flops: number;
  /** Time that the arithmetic and the traffic to memory take at the ceilings, the longer of the two; null without ceilings. */
  readonly floorMilliseconds: number | null;
  /** Most memory of the device that was in use at one time, what was there before included. */
  readonly bytesPeak: number;
}

const tasks = 4;

/** The paper's setting (METHOD: network, batch 8 + 8) with random data, since only the time counts. */
export function trainingBenchPlan(patch: number, batch: number) {
  return parsePlan({
    version: 1,
    name: 'bench',
    datasets: [{ name: 'a', path: 'a', preprocessing: { spacingMm: [1, 1, 1] } }],
    tasks: Array.from({ length: tasks }, (_, k) => ({ name: `task ${k}`, dataset: 'a', labels: [k + 1] })),
    patchSizeVoxels: [patch, patch, patch],
    training: { labeledBatchSize: batch, unlabeledBatchSize: batch, stage1Steps: 1_000_000, stage2Steps: 1_000_000 },
  });
}

/** A batch of noise and random masks. */
function randomBatch(plan: Plan, step: number): StepBatch {
  const random = new RandomStream(1, streams.test, step);
  // One pool of numbers, over and over: drawing each would take longer than the step.
  const pool = Float32Array.from({ length: 65_521 }, () => random.normal());
  return madeBatch(plan, step, (name, voxels) => {
    const noise = Float32Array.from({ length: voxels }, (_, i) => pool[i % pool.length]!);
    return fields[name].kind === 'image' ? noise : noise.map((value) => Number(value > 0.8));
  });
}

export interface TrainingBenchOptions {
  readonly device: Device;
  readonly patch: number;
  readonly batch: number;
  /** The median of as many counts. */
  readonly runs: number;
  readonly ceilings: Ceilings | null;
  /** 2 where the device keeps activations as bfloat16, else 4. */
  readonly elementBytes: number;
}

/** Every convolution of the trunk, in every direction. */
export async function* benchLayers(options: TrainingBenchOptions): AsyncGenerator<TrainingRow> {
  const { device, patch, batch, runs, elementBytes } = options;
  for (const shape of layerShapes(networkConfig(trainingBenchPlan(patch, batch)), patch)) {
    for (const direction of layerDirections) {
      // Nobody asks for the gradient of the image.
      if (shape.inputChannels === 1 && direction === 'grad-input') continue;
      const { flops, bytes } = layerWork(shape, direction, batch, elementBytes);
      const { run, dispose } = layerCase(shape, direction, batch, randomTensor);
      device.trim();
      const milliseconds = await timed(device, runs, run);
      const { bytesPeak } = device.memory();
      dispose();
      yield {
        name: `${shape.name} at ${shape.edge}, ${direction}`,
        count: shape.count,
        milliseconds,
        flops,
        floorMilliseconds: floor(options, flops, bytes),
        bytesPeak,
      };
    }
  }
}

/** Operations of one forward pass of an image through the trunk (METHOD: network). */
const trunkFlops = 2 * 29.47e9;

/** A whole training step of each stage: losses, gradients, Adam, moving average, and the losses read back. */
export async function* benchSteps(options: TrainingBenchOptions): AsyncGenerator<TrainingRow> {
  const { patch, batch, runs } = options;
  const plan = trainingBenchPlan(patch, batch);
  const state = createState(new VersemiNetwork(networkConfig(plan), 0), plan);
  try {
    for (const first of stageBegins(plan.training)) {
      const stage = stageOf(first, plan.training);
      const times: number[] = [];
      options.device.trim();
      // The first steps fill the memory pool and, where the device does so, record the step.
      const warmup = 5;
      for (let i = 0; i < warmup + runs; i++) {
        const data = hostStep(plan, randomBatch(plan, first + i));
        const start = performance.now();
        await runStep(state, plan, data);
        await options.device.synchronize();
        if (i >= warmup) times.push(performance.now() - start);
      }
      const passes = forwardPasses(trunkPasses(plan, first));
      const flops = trunkFlops * (patch / 96) ** 3 * passes;
      yield {
        name: `stage ${stage} step, batch ${batch}${stage === 2 ? ` + ${batch}` : ''}`,
        count: 1,
        milliseconds: medianOf(times),
        flops,
        floorMilliseconds: floor(options, flops, 0),
        bytesPeak: options.device.memory().bytesPeak,
      };
    }
  } finally {
    disposeState(state);
  }
}

function floor({ ceilings }: TrainingBenchOptions, flops: number, bytes: number): number | null {
  if (ceilings === null) return null;
  return 1000 * Math.max(flops / ceilings.flopsPerSecond, bytes / ceilings.bytesPerSecond);
}

/** Median time of a run. Work is started several times per wait, so that a wait costs nothing. */
async function timed(device: Device, runs: number, run: () => void): Promise<number> {
  run();
  await device.synchronize();
  const perWait = device.name === 'cuda' ? 10 : 1;
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    for (let j = 0; j < perWait; j++) run();
    await device.synchronize();
    times.push((performance.now() - start) / perWait);
  }
  return medianOf(times);
}
