import { basename, dirname } from 'node:path';
import { VersemiError } from '../errors.js';
import type { Triple } from '../volume/volume.js';
import { readBytes } from './files.js';

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
  readonly labels?: Readonly<Record<number, string>>;
  readonly modalities?: readonly string[];
  readonly training?: readonly DescribedCase[];
  readonly test?: readonly DescribedCase[];
  /** nnU-Net: case id -> files, instead of what lies in imagesTr. */
  readonly listed?: Readonly<Record<string, { readonly images: readonly string[]; readonly label?: string }>>;
  /** nnU-Net: ending of all files, '.nii.gz' unless stated. */
  readonly fileEnding?: string;
  readonly spacingMm?: Triple;
}

type Json = Readonly<Record<string, unknown>>;

/** Reads and checks a JSON file. @throws VERSEMI_DATASET_INVALID (or `code`) when it is not JSON or not an object */
export function parseJsonObject(text: string, file: string, code: 'DATASET_INVALID' | 'SPLIT_INVALID'): Json {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VersemiError(
      code,
      { file, expected: 'valid JSON', found: (error as Error).message, remedy: 'Mend the file with a JSON editor.' },
      error,
    );
  }
  if (!isObject(json)) {
    throw new VersemiError(code, {
      file,
      expected: 'a JSON object { ... }',
      found: Array.isArray(json) ? 'a list' : String(json),
    });
  }
  return json;
}

/**
 * Reads dataset.json.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_DATASET_INVALID naming the field
 */
export async function readDescription(file: string): Promise<Description> {
  const json = parseJsonObject(new TextDecoder().decode(await readBytes(file, 64 << 20)), file, 'DATASET_INVALID');
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
    labels: json.labels === undefined ? undefined : parseLabels(json.labels, file),
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

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(file: string, field: string, expected: string, found: unknown): VersemiError {
  const shown = typeof found === 'string' ? found : (JSON.stringify(found) ?? 'nothing');
  return new VersemiError('DATASET_INVALID', {
    file,
    field,
    expected,
    found: shown.length > 100 ? `${shown.slice(0, 97)}...` : shown,
    remedy: 'Correct dataset.json.',
  });
}

/**
 * Decathlon { "1": "liver" }, nnU-Net { "liver": 1 }, or nnU-Net regions { "whole tumour": [1, 2] }: a value that only
 * occurs in regions is named after the smallest of them.
 */
function parseLabels(value: unknown, file: string): Record<number, string> {
  const expected = 'names by value { "0": "background", "1": ... } or values by name { "background": 0, ... }';
  if (!isObject(value) || Object.keys(value).length === 0) throw invalid(file, 'labels', expected, value);
  const result: Record<number, string> = {};
  const set = (label: unknown, name: string) => {
    if (!(Number.isInteger(label) && (label as number) >= 0 && (label as number) <= 255))
      throw invalid(file, `labels, ${name}`, 'whole numbers from 0 to 255', label);
    if (result[label as number] !== undefined)
      throw invalid(file, `labels, value ${label}`, 'one name', `${result[label as number]} and ${name}`);
    result[label as number] = name;
  };
  const entries = Object.entries(value);
  if (entries.every(([key, name]) => /^\d+$/.test(key) && typeof name === 'string')) {
    for (const [key, name] of entries) set(Number(key), name as string);
    return result;
  }
  for (const [name, label] of entries) if (!Array.isArray(label)) set(label, name);
  const regions = entries.filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
  for (const [name, region] of regions.sort((a, b) => a[1].length - b[1].length))
    for (const label of region) if (result[label as number] === undefined) set(label, name);
  return result;
}

/** { "0": "CT" } or ["CT"]. */
function parseModalities(value: unknown, file: string): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list = Array.isArray(value) ? value : isObject(value) ? [] : undefined;
  if (list !== undefined && isObject(value)) for (const [key, name] of Object.entries(value)) list[Number(key)] = name;
  if (
    list === undefined ||
    list.length === 0 ||
    !Array.from(list).every((name) => typeof name === 'string' && name !== '')
  )
    throw invalid(file, 'modality / channel_names', 'names numbered from 0, { "0": "CT" }', value);
  return list as string[];
}

function parseCases(value: unknown, field: string, file: string): DescribedCase[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw invalid(file, field, 'a list of cases', value);
  return value.map((entry: unknown, i) => {
    if (typeof entry === 'string') return { image: entry, label: undefined };
    const label = isObject(entry) ? (entry.label ?? null) : null;
    if (isObject(entry) && typeof entry.image === 'string' && (label === null || typeof label === 'string'))
      return { image: entry.image, label: label as string | null };
    throw invalid(file, `${field}[${i}]`, 'a path, or { "image": path, "label": path }', entry);
  });
}

function parseListed(value: unknown, file: string): Description['listed'] {
  if (value === undefined) return undefined;
  const expected = '{ case: { "images": [path, ...], "label": path } }';
  if (!isObject(value)) throw invalid(file, 'dataset', expected, value);
  for (const [id, entry] of Object.entries(value)) {
    const images = isObject(entry) ? entry.images : undefined;
    const label = isObject(entry) ? entry.label : undefined;
    if (
      !Array.isArray(images) ||
      images.length === 0 ||
      !images.every((image) => typeof image === 'string') ||
      (label !== undefined && typeof label !== 'string')
    )
      throw invalid(file, `dataset, ${id}`, expected, entry);
  }
  return value as NonNullable<Description['listed']>;
}

function parseSpacing(value: unknown, file: string): Triple | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length !== 3 || !value.every((length) => Number.isFinite(length) && length > 0))
    throw invalid(file, 'spacingMm', 'three lengths above 0, [x, y, z]', value);
  return value as unknown as Triple;
}
