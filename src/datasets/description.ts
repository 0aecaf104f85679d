import { basename, dirname } from 'node:path';
import { VersemiError } from '../errors.js';
import { isJsonObject, type JsonObject, shown } from '../json-text.js';
import { readJsonFile } from '../regular-file.js';
import type { Triple } from '../volume/volume.js';
import { invalidDescription, type LabelMeanings, parseLabels, type Region } from './label-meanings.js';

/** One entry of a list of cases in dataset.json. */
export interface DescribedCase {
  readonly image: string;
  /** A path; null when the entry says that there is none; undefined when it says nothing (an entry that is a string). */
  readonly label: string | null | undefined;
}

/** dataset.json in the form of the Decathlon or of nnU-Net, checked; what is absent there is absent here. */
export interface Description {
  readonly file: string;
  readonly name?: string;
  readonly description?: string;
  readonly licence?: string;
  readonly reference?: string;
  readonly labels?: LabelMeanings['labels'];
  readonly ignoredLabel?: number;
  readonly regions?: readonly Region[];
  readonly modalities?: readonly string[];
  readonly training?: readonly DescribedCase[];
  readonly test?: readonly DescribedCase[];
  /** nnU-Net: case id -> files, instead of what lies in imagesTr. */
  readonly listed?: Readonly<Record<string, { readonly images: readonly string[]; readonly label?: string }>>;
  /** nnU-Net: ending of all files, '.nii.gz' unless stated. */
  readonly fileEnding?: string;
  readonly spacingMm?: Triple;
}

/** The object in a JSON file. @throws an error of `code` when there is none, and what `readJsonFile` throws */
export function readJsonObject(file: string, code: 'DATASET_INVALID' | 'SPLIT_INVALID'): JsonObject {
  const json = readJsonFile(file, code);
  if (isJsonObject(json)) return json;
  throw new VersemiError(code, { file, expected: 'a JSON object { ... }', found: shown(json) });
}

/**
 * Reads dataset.json.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_DATASET_INVALID naming the field
 */
export function readDescription(file: string): Description {
  const json = readJsonObject(file, 'DATASET_INVALID');
  const text = (key: string) => {
    const value = json[key];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const fields: { -readonly [K in keyof Description]: Description[K] | undefined } = {
    file,
    name: text('name') ?? basename(dirname(file)),
    description: text('description'),
    licence: text('licence') ?? text('license'),
    reference: text('reference'),
    ...(json.labels === undefined ? {} : parseLabels(json.labels, json.regions_class_order, file)),
    modalities: parseModalities(json.channel_names ?? json.modality ?? json.modalities, file),
    training: parseCases(json.training, 'training', file),
    test: parseCases(json.test, 'test', file),
    listed: parseListed(json.dataset, file),
    fileEnding: text('file_ending'),
    spacingMm: parseSpacing(json.spacingMm, file),
  };
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as unknown as Description;
}

/** { "0": "CT" } or ["CT"]. */
function parseModalities(value: unknown, file: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const entries = Array.isArray(value) ? [...value.entries()] : isJsonObject(value) ? Object.entries(value) : [];
  const list = new Array<unknown>(entries.length);
  for (const [key, name] of entries)
    if (String(Number(key)) === String(key) && Number(key) < list.length) list[Number(key)] = name;
  if (list.length === 0 || !Array.from(list).every((name) => typeof name === 'string' && name !== ''))
    throw invalidDescription(file, 'modality / channel_names', 'names numbered from 0, { "0": "CT" }', value);
  return list as string[];
}

function parseCases(value: unknown, field: string, file: string): DescribedCase[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalidDescription(file, field, 'a list of cases', value);
  return value.map((entry: unknown, i) => {
    if (typeof entry === 'string') return { image: entry, label: undefined };
    const label = isJsonObject(entry) ? (entry.label ?? null) : null;
    if (isJsonObject(entry) && typeof entry.image === 'string' && (label === null || typeof label === 'string'))
      return { image: entry.image, label: label as string | null };
    throw invalidDescription(file, `${field}[${i}]`, 'a path, or { "image": path, "label": path }', entry);
  });
}

function parseListed(value: unknown, file: string): Description['listed'] {
  if (value === undefined) return undefined;
  const expected = '{ case: { "images": [path, ...], "label": path } }';
  if (!isJsonObject(value)) throw invalidDescription(file, 'dataset', expected, value);
  for (const [id, entry] of Object.entries(value)) {
    const images = isJsonObject(entry) ? entry.images : undefined;
    const label = isJsonObject(entry) ? entry.label : undefined;
    if (
      !Array.isArray(images) ||
      images.length === 0 ||
      !images.every((image) => typeof image === 'string') ||
      (label !== undefined && typeof label !== 'string')
    )
      throw invalidDescription(file, `dataset, ${id}`, expected, entry);
  }
  return value as NonNullable<Description['listed']>;
}

function parseSpacing(value: unknown, file: string): Triple | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length !== 3 || !value.every((length) => Number.isFinite(length) && length > 0))
    throw invalidDescription(file, 'spacingMm', 'three lengths above 0, [x, y, z]', value);
  return value as unknown as Triple;
}
