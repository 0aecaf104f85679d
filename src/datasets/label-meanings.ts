import { VersemiError } from '../errors.js';
import { isJsonObject, shown } from '../json-text.js';

/** nnU-Net's region: label values that together are one thing to find, and that other regions may contain too. */
export interface Region {
  readonly name: string;
  readonly labels: readonly number[];
  /** The value that stands for the region where a label map is written (`regions_class_order`). */
  readonly writtenAs?: number;
}

/** What the values of the label maps of a dataset mean. */
export interface LabelMeanings {
  /** Value -> name, 0 is the background. A value that occurs in regions only is named after the smallest of them. */
  readonly labels: Readonly<Record<number, string>>;
  /** Voxels of this value are unknown: they are no class, and count neither in training nor in metrics. */
  readonly ignoredLabel?: number;
  /** Present where the dataset describes regions; each is a task. */
  readonly regions?: readonly Region[];
}

export function invalidDescription(file: string, field: string, expected: string, found: unknown, remedy?: string) {
  return new VersemiError('DATASET_INVALID', {
    file,
    field,
    expected,
    found: shown(found, 100),
    remedy: remedy ?? 'Correct dataset.json.',
  });
}

/** There is one byte per voxel for the value. */
const [largestLabel, mostLabels] = [255, 256];

/** Decathlon { "1": "liver" }, nnU-Net { "liver": 1 }, with regions { "whole tumour": [1, 2] } and { "ignore": 3 }. */
export function parseLabels(value: unknown, order: unknown, file: string): LabelMeanings {
  const expected = 'names by value { "0": "background", "1": ... } or values by name { "background": 0, ... }';
  if (!isJsonObject(value)) throw invalidDescription(file, 'labels', expected, value);
  const given = Object.entries(value);
  if (given.length === 0 || given.length > 2 * mostLabels) throw invalidDescription(file, 'labels', expected, value);
  const byValue = given.every(([key, name]) => /^\d+$/.test(key) && typeof name === 'string');
  const entries = byValue
    ? given.map(([key, name]) => ({ name: name as string, value: Number(key) as unknown }))
    : given.map(([name, label]) => ({ name, value: label }));
  const isIgnored = (name: string) => name.toLowerCase() === 'ignore';
  const names: Record<number, string> = {};
  for (const { name, value: label } of entries) {
    if (Array.isArray(label)) continue;
    const known = labelValue(label, name, file);
    const other = names[known];
    if (other !== undefined) throw invalidDescription(file, `labels, value ${known}`, 'one name', [other, name]);
    names[known] = name;
  }
  const ignored = entries.find(({ name }) => isIgnored(name))?.value;
  if (ignored !== undefined && !(typeof ignored === 'number' && ignored > 0))
    throw invalidDescription(file, 'labels, ignore', 'one value above 0', ignored);
  const regions = entries.some(({ value: label }) => Array.isArray(label))
    ? parseRegions(
        entries.filter(({ name, value: label }) => label !== 0 && !isIgnored(name)),
        order,
        file,
      )
    : undefined;
  for (const { name, labels } of [...(regions ?? [])].sort((a, b) => a.labels.length - b.labels.length))
    for (const label of labels) names[label] ??= name;
  if (ignored !== undefined) delete names[ignored as number];
  return {
    labels: names,
    ...(ignored === undefined ? {} : { ignoredLabel: ignored as number }),
    ...(regions === undefined ? {} : { regions }),
  };
}

function labelValue(label: unknown, name: string, file: string): number {
  if (Number.isInteger(label) && (label as number) >= 0 && (label as number) <= largestLabel) return label as number;
  const number = typeof label === 'string' && /^\d+$/.test(label) ? Number(label) : undefined;
  const remedy = number === undefined ? undefined : `Write ${number} without quotes.`;
  throw invalidDescription(file, `labels, ${name}`, `whole numbers from 0 to ${largestLabel}`, label, remedy);
}

function parseRegions(
  entries: readonly { readonly name: string; readonly value: unknown }[],
  order: unknown,
  file: string,
): Region[] {
  const regions = entries.map(({ name, value }) => {
    const labels = (Array.isArray(value) ? value : [value]).map((label) => labelValue(label, name, file));
    if (labels.length === 0 || labels.includes(0) || new Set(labels).size < labels.length)
      throw invalidDescription(file, `labels, ${name}`, 'a list of values above 0, each once', value);
    return { name, labels };
  });
  if (order === undefined) return regions;
  if (!Array.isArray(order) || order.length !== regions.length)
    throw invalidDescription(file, 'regions_class_order', `${regions.length} values, one per region`, order);
  return regions.map((region, i) => ({ ...region, writtenAs: labelValue(order[i], 'regions_class_order', file) }));
}
