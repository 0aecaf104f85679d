import type { Plan } from '../config/plan.js';
import { totalSteps } from '../config/steps.js';
import type { Fingerprint } from '../preprocessing/fingerprint.js';
import type { PlannedTime } from '../training/timed-plan.js';
import type { StageTime } from '../training/trial.js';
import { formatDuration, formatTable } from './terminal.js';

/** Files of one dataset that are named one by one; `--json` has all. */
const mostNamedFiles = 20;

/** The cases of each dataset by role, and what was passed over and why. */
export function inventory({ datasets }: Fingerprint): string {
  const rows = datasets.map(
    ({ name, modality, totalCases, labeledCases, unlabeledCases, validationCases, leftOut }) => {
      const unused = totalCases - labeledCases - unlabeledCases - validationCases;
      const counts = [totalCases, labeledCases, unlabeledCases, validationCases, unused, leftOut.length];
      return [name, modality, ...counts.map(String)];
    },
  );
  const head = ['dataset', 'modality', 'cases', 'labelled', 'unlabelled', 'validation', 'unused', 'passed over'];
  const passed = datasets.flatMap(({ name, leftOut }) => {
    const more = leftOut.length > mostNamedFiles ? [`  and ${leftOut.length - mostNamedFiles} more (all: --json)`] : [];
    const files = leftOut.slice(0, mostNamedFiles).map(({ file, reason }) => `  ${file}: ${reason}`);
    return leftOut.length === 0 ? [] : [`Passed over in ${name}`, ...files, ...more];
  });
  const remarks = datasets.flatMap(({ name, remarks = [] }) => remarks.map((text) => `${name}: ${text}`));
  return [formatTable(head, rows), ...passed, ...remarks].join('\n');
}

/** What training by the plan takes, how that was found out, and what was given up for it. */
export function costText(
  plan: Plan,
  time: PlannedTime,
  { hours, device }: { readonly hours: number | null; readonly device: string | undefined },
): string {
  const { measured, trainingSeconds, validationSeconds, preprocessingSeconds } = time;
  const patch = plan.patchSizeVoxels;
  const lines: [string, string][] = [];
  if (device !== undefined) lines.push(['device', device]);
  lines.push([
    'measured',
    measured === undefined ? `nothing: ${time.gflopsPerSecond} GFLOP/s, as given` : howMeasured(time),
  ]);
  for (const { name, preprocessing } of plan.datasets) {
    const mm = patch.map((size, axis) => Number((size * preprocessing.spacingMm[axis]!).toPrecision(3)));
    lines.push(['patch', `${patch.join(' x ')} voxels, ${mm.join(' x ')} mm of ${name}`]);
  }
  if (measured !== undefined)
    for (const one of measured.stages) lines.push([`stage ${one.stage}`, stageText(plan, one)]);
  if (measured?.bytesPeak !== undefined)
    lines.push(['memory', `${gibibytes(measured.bytesPeak)} of the device at the most, measured`]);
  lines.push([measured === undefined ? 'memory' : '', `about ${gibibytes(time.casesBytes)} for the cases`]);
  if (preprocessingSeconds !== undefined)
    lines.push(['before', `preprocessing, about ${formatDuration(preprocessingSeconds)}, once`]);
  const validating = validationSeconds === 0 ? '' : `, of which validation about ${formatDuration(validationSeconds)}`;
  lines.push([
    'training',
    `about ${formatDuration(trainingSeconds)} for ${totalSteps(plan.training).toLocaleString('en')} steps${validating}`,
  ]);
  const width = Math.max(...lines.map(([name]) => name.length)) + 2;
  const table = lines.map(([name, text]) => `  ${name.padEnd(width)}${text}`).join('\n');
  return `What training takes\n${table}${givenUpText(time, hours)}`;
}

function givenUpText({ givenUp, paperSeconds }: PlannedTime, hours: number | null): string {
  if (hours === null) return "\nAs much work as in the paper's schedule, as asked.";
  if (paperSeconds === undefined)
    return `\nThe schedule of the paper fits ${formatDuration(3600 * hours)}: nothing was given up.`;
  const kept = `--paper keeps it, which takes about ${formatDuration(paperSeconds)} here; --hours gives another time`;
  return `\nGiven up to end in ${formatDuration(3600 * hours)} (${kept}):\n${givenUp.map((text) => `  ${text}`).join('\n')}`;
}

function howMeasured({ measured, load = 0 }: PlannedTime): string {
  const counts = measured!.stages.map(({ stage, steps }) => `${steps} steps of stage ${stage}`);
  const busy =
    load > 0.5
      ? `; other programs were running (load ${load.toFixed(1)} per core): on a quiet machine it goes faster`
      : '';
  return `medians of ${counts.join(' and ')} with a few of the cases${busy}`;
}

function stageText({ training }: Plan, { stage, secondsPerStep, waitShare }: StageTime): string {
  const steps =
    training.mode === 'supervised' ? totalSteps(training) : stage === 1 ? training.stage1Steps : training.stage2Steps;
  const waits =
    waitShare > 0.1 ? `, ${Math.round(100 * waitShare)} % of it waiting for patches (training.workers)` : '';
  return `${steps.toLocaleString('en')} steps of ${seconds(secondsPerStep)}${waits}`;
}

function seconds(value: number): string {
  return value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toPrecision(3)} s`;
}

function gibibytes(bytes: number): string {
  return bytes < 2 ** 30 ? `${Math.ceil(bytes / 2 ** 20)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
