/** What the page holds for its script. */
import type { PageData } from '../src/reports/page-data.js';

export const data = JSON.parse(document.getElementById('page-data')!.textContent!) as PageData;

/** Places for the plots of one kind. */
export function plotPlaces(name: string): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(`[data-plots="${name}"]`)];
}

/** A case that is asked for: `task` is the one that is shown first. */
export interface CaseChoice {
  readonly run: number;
  readonly dataset: string;
  readonly id: string;
  readonly task?: string;
}

/** Where the slices of a case are; undefined where the page has none. */
export function slicesOf({ run, dataset, id }: CaseChoice): PageData['slices'][number] | undefined {
  return data.slices.find((one) => one.run === run && one.dataset === dataset && one.id === id);
}

/** A label with its control inside. */
export function labelled(text: string, control: HTMLElement): HTMLLabelElement {
  const label = document.createElement('label');
  label.append(`${text} `, control);
  return label;
}

/** A list of choices; the value of an option is its place. */
export function choice(names: readonly string[], onChange: (index: number) => void): HTMLSelectElement {
  const select = document.createElement('select');
  for (const [i, name] of names.entries()) select.append(new Option(name, String(i)));
  select.addEventListener('change', () => onChange(Number(select.value)));
  return select;
}
