import type { Code } from '../config/facts-schema.js';
import type { Plan } from '../config/plan.js';
import type { Triple } from '../volume/volume.js';

/** Codes of what a task segments and of the category of it; absent where the plan names none. */
export interface TaskCodes {
  readonly code?: Code;
  readonly category?: Code;
}

/** What a plan calls a task to other programs. */
export function taskCodes(plan: Pick<Plan, 'tasks'>, name: string): TaskCodes {
  const { code, category } = plan.tasks.find((task) => task.name === name) ?? {};
  return { ...(code === undefined ? {} : { code }), ...(category === undefined ? {} : { category }) };
}

/**
 * Colour of a task, the synthetic one too, as '#rrggbb'.
 * @param palette for tasks whose plan names no colour: the place in the plan decides, whatever else is predicted
 */
export function taskColor(plan: Pick<Plan, 'tasks'>, name: string, palette: readonly string[]): string {
  const found = plan.tasks.findIndex((task) => task.name === name);
  const place = found < 0 ? plan.tasks.length : found;
  return plan.tasks[found]?.color ?? palette[place % palette.length]!;
}

/** Red, green and blue, 0 to 255. @param color '#rrggbb' */
export function rgbOf(color: string): Triple {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)) as unknown as Triple;
}
