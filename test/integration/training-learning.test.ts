// That training learns: balls and boxes, a small network, the device that a user would get.
import t from 'tap';
import {
  type DeviceChoice,
  dispatchCounts,
  registerVersemiBackends,
  resetDispatchCounts,
} from '../../src/tfjs/index.js';
import type { StepEvent, TrainingEvent } from '../../src/training/events.js';
import { train } from '../../src/training/train.js';
import { shapes, shapesPlan } from './training-support.js';

const data = shapes(24);

function plan(training: Readonly<Record<string, unknown>>) {
  return shapesPlan(16, {
    network: { baseWidth: 4, levels: 3 },
    training: {
      labeledBatchSize: 4,
      unlabeledBatchSize: 4,
      learningRate: 3e-3,
      validateEverySteps: 0,
      checkpointEverySteps: 0,
      workers: 0,
      ...training,
    },
  });
}

async function run(settings: Readonly<Record<string, unknown>>, runFolder: string, device: DeviceChoice) {
  const events: TrainingEvent[] = [];
  for await (const event of train(plan(settings), { runFolder, device, data })) events.push(event);
  const steps = events.filter((event): event is StepEvent => event.type === 'step');
  const validation = events.find((event) => event.type === 'validation');
  if (validation?.type !== 'validation') throw new Error('no validation at the end');
  return { steps, validation };
}

const average = (steps: readonly StepEvent[], name: keyof StepEvent['losses']) =>
  steps.reduce((sum, { losses }) => sum + losses[name]!, 0) / steps.length;

for (const { backend, device, available, why } of await registerVersemiBackends()) {
  if (!available) {
    t.test(backend, { skip: why }, async () => {});
    continue;
  }
  t.test(`supervised training on ${device} segments new cases, and delegates nothing`, async (t) => {
    resetDispatchCounts();
    const { validation } = await run(
      { mode: 'supervised', stage1Steps: 60, stage2Steps: 0 },
      `${t.testdir()}/run`,
      device,
    );
    t.ok(validation.mean > 0.8, `Dice ${JSON.stringify(validation.perTask)}`);
    t.same(dispatchCounts().delegated, {});
  });

  t.test(`both stages on ${device}: every term is finite and falls`, async (t) => {
    resetDispatchCounts();
    const { steps, validation } = await run({ stage1Steps: 40, stage2Steps: 40 }, `${t.testdir()}/run`, device);
    for (const { step, losses } of steps)
      for (const [name, value] of Object.entries(losses))
        if (!Number.isFinite(value)) t.fail(`step ${step}, ${name}: ${value}`);
    const [first, second] = [steps.slice(0, 40), steps.slice(40)];
    for (const [stage, names] of [
      [first, ['dice', 'crossEntropy', 'synthetic', 'auxiliary']],
      [second, ['dice', 'crossEntropy', 'synthetic', 'cube']],
    ] as const)
      for (const name of names) {
        const [early, late] = [average(stage.slice(0, 10), name), average(stage.slice(-10), name)];
        t.ok(late < early, `stage ${stage[0]!.stage}, ${name}: ${early} -> ${late}`);
      }
    t.ok(average(second, 'unsupervised') < 0.05, 'the synthetic task agrees with the aggregate');
    t.ok(validation.mean > 0.8, `Dice ${JSON.stringify(validation.perTask)}`);
    t.same(dispatchCounts().delegated, {});
  });
}
