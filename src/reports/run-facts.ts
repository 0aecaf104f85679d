/** What a report is of: which program, plan, device, cases and weights, and whether the run came to its end. */
import { basename } from 'node:path';
import { casesOf, weightsOf } from './compared-cases.js';
import type { TrainingLog } from './curves.js';
import type { LoggedEvent, PlanFacts, ReportedEvaluation } from './report-inputs.js';

export interface FactTable {
  readonly title: string;
  readonly rows: readonly (readonly [name: string, value: string])[];
}

type EventOf<Type extends LoggedEvent['type']> = Extract<LoggedEvent, { type: Type }>;

function eventsOf<Type extends LoggedEvent['type']>({ events }: TrainingLog, type: Type): EventOf<Type>[] {
  return events.filter((event): event is EventOf<Type> => event.type === type);
}

/** Steps that the run is to have; undefined where its log does not say so. */
export function stepsOf(log: TrainingLog): number | undefined {
  return eventsOf(log, 'start').at(-1)?.steps;
}

/** How far a run is; undefined where its log does not say how long it was to be. */
export function stateOf(log: TrainingLog): { readonly finished: boolean; readonly text: string } | undefined {
  const steps = stepsOf(log);
  if (steps === undefined) return undefined;
  const done = eventsOf(log, 'step').at(-1)?.step ?? 0;
  const last = log.events.at(-1)!;
  if (last.type === 'end' && last.reason === 'finished') return { finished: true, text: `finished: ${steps} steps` };
  const how = last.type === 'end' ? 'interrupted' : 'not finished (running, or ended without a word)';
  return { finished: false, text: `${how}: ${done} of ${steps} steps` };
}

/** @param log of the run, @param plan of the run, each undefined where the folder has none */
export function trainingFacts(log: TrainingLog | undefined, plan: PlanFacts | undefined): FactTable {
  const [start] = log === undefined ? [] : eventsOf(log, 'start').slice(-1);
  const first = log === undefined ? undefined : eventsOf(log, 'start')[0];
  const state = log === undefined ? undefined : stateOf(log);
  return {
    title: 'Training',
    rows: [
      ...row('State', state?.text),
      ...(plan === undefined
        ? []
        : [
            ...row('Plan', `${plan.name}: ${plan.training.mode}, ${stepsInPlan(plan)} steps`),
            ...row('Tasks', plan.tasks.map((task) => `${task.name} (${task.dataset})`).join(', ')),
            ...row(
              'Network',
              `width ${plan.network.baseWidth}, ${plan.network.levels} levels, patch ${plan.patchSizeVoxels.join(' × ')} voxels`,
            ),
            ...row('Seed', String(plan.seed)),
          ]),
      ...row(
        'Cases',
        start &&
          `${start.cases.labeled} labelled, ${start.cases.unlabeled} unlabelled, ${start.cases.validation} for validation`,
      ),
      ...row('Device', start?.why),
      ...row('Began', first?.created && dateOf(first.created)),
      ...row('Duration', log && durationOf(secondsOf(log))),
      ...row('Versemi', start?.program && versionOf(start.program)),
    ],
  };
}

/** @param log of the run whose model was evaluated, where it is known */
export function evaluationFacts(evaluation: ReportedEvaluation, log?: TrainingLog): FactTable {
  const { model, models, masks, device, created, seconds, program, cases } = evaluation;
  const tolerances = [...new Set(cases.flatMap((one) => one.surfaceDiceToleranceMm ?? []))];
  return {
    title: 'Evaluation',
    rows: [
      ...row('Masks', masks && `${masks}, which were there already`),
      ...(models === undefined
        ? row('Model', model)
        : row('Models', `${models.map((one) => one.model).join(', ')} (mean of ${models.length})`)),
      ...row('Weights', model === undefined ? undefined : weightsInRun({ ...evaluation, model }, log)),
      ...row('Cases', casesOf(evaluation)),
      ...row(
        'Surface Dice',
        tolerances.length === 0 ? undefined : `tolerance ${tolerances.map((mm) => `${mm} mm`).join(', ')}`,
      ),
      ...row('Device', device),
      ...row('Date', dateOf(created)),
      ...row('Duration', seconds === undefined ? undefined : durationOf(seconds)),
      ...row('Versemi', program && versionOf(program)),
    ],
  };
}

function row(name: string, value: string | undefined): FactTable['rows'] {
  return value === undefined || value === '' ? [] : [[name, value]];
}

/** Of which moment of the run the weights are. */
function weightsInRun(
  evaluation: ReportedEvaluation & { readonly model: string },
  log: TrainingLog | undefined,
): string {
  if (evaluation.models !== undefined) return [...new Set(evaluation.models.map(weightsOf))].join('; ');
  const step = evaluation.weights?.step;
  const best =
    log &&
    eventsOf(log, 'validation')
      .filter((event) => event.best === true)
      .at(-1)?.step;
  const last = log && eventsOf(log, 'step').at(-1)?.step;
  const places = [
    ...(step !== undefined && step === last ? ['the last'] : []),
    ...(step !== undefined && step === best ? ['the best in validation'] : []),
  ];
  const file = basename(evaluation.model).replace(/\.safetensors$/, '');
  const named = file === 'best' || file === 'last' ? `${file}: ` : '';
  return `${named}${weightsOf(evaluation)}${places.length === 0 ? '' : ` (${places.join(' and ')})`}`;
}

function stepsInPlan({ training: { stage1Steps, stage2Steps } }: PlanFacts): string {
  return stage2Steps === 0 ? String(stage1Steps) : `${stage1Steps} + ${stage2Steps}`;
}

function versionOf({ version, commit }: NonNullable<ReportedEvaluation['program']>): string {
  return commit === undefined ? version : `${version}, commit ${commit}`;
}

/** "2026-11-29 08:06 UTC"; what is no date stays as it is. */
function dateOf(created: string): string {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*Z$/.test(created)
    ? `${created.slice(0, 16).replace('T', ' ')} UTC`
    : created;
}

/** Seconds in steps and validations, those of all parts of a run that was resumed. */
function secondsOf(log: TrainingLog): number {
  return log.events.reduce((sum, event) => {
    if (event.type === 'step') return sum + (event.secondsPerStep ?? 0);
    return event.type === 'validation' ? sum + (event.seconds ?? 0) : sum;
  }, 0);
}

/** "1 h 20 min", "3 min 5 s", "12 s"; nothing where nothing was measured. */
export function durationOf(seconds: number): string {
  if (seconds === 0) return '';
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${Math.max(1, whole)} s`;
}
