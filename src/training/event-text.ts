import { formatDuration } from '../duration-text.js';
import type { StepEvent, TrainingEvent } from './events.js';

const shortNames: Readonly<Record<string, string>> = {
  crossEntropy: 'CE',
  synthetic: 'syn',
  auxiliary: 'aux',
  unsupervised: 'unsup',
};

/**
 * One line about a step. Pace and time left stand before the loss terms, because a narrow terminal cuts off the end of the line.
 * @param steps of the whole run
 */
export function stepText({ step, stage, losses, samplesPerSecond, etaSeconds }: StepEvent, steps: number): string {
  const { total, ...terms } = losses;
  const list = Object.entries(terms).map(([name, value]) => `${shortNames[name] ?? name} ${value.toFixed(3)}`);
  const pace = `${samplesPerSecond.toFixed(1)} samples/s, ${formatDuration(etaSeconds)} left`;
  return `${step}/${steps} stage ${stage}, ${pace}, loss ${total.toFixed(3)} (${list.join(', ')})`;
}

/** What people are told of an event, one line each; nothing for cases and steps, of which there are many: see {@link stepText}. */
export function eventText(event: TrainingEvent): readonly string[] {
  switch (event.type) {
    case 'start': {
      const { labeled, unlabeled, validation } = event.cases;
      const cases = `${labeled} labelled, ${unlabeled} unlabelled, ${validation} validation cases`;
      const parameters = `${event.parameters.toLocaleString('en')} parameters`;
      return [`Device ${event.why}`, `${cases}; ${parameters}; steps ${event.step + 1} to ${event.steps}`];
    }
    case 'validation': {
      const perTask = Object.entries(event.perTask).map(([task, dice]) => `${task} ${dice.toFixed(3)}`);
      const mean = `validation Dice ${event.mean.toFixed(3)}${event.best ? ' (best)' : ''}`;
      return [`step ${event.step}: ${mean}: ${perTask.join(', ')} (${formatDuration(event.seconds)})`];
    }
    case 'log':
      return [event.message];
    default:
      return [];
  }
}
