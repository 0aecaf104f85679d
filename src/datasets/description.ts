import { basename, dirname } from 'node:path';
import { z } from '#zod';
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
    training: part(z.array(described), json.training, file, 'training', caseForm),
    test: part(z.array(described), json.test, file, 'test', caseForm),
    listed: part(listedCases, json.dataset, file, 'dataset', '{ case: { "images": [path, ...], "label": path } }'),
    fileEnding: text('file_ending'),
    spacingMm: part(spacing, json.spacingMm, file, 'spacingMm', 'three lengths above 0, [x, y, z]'),
  };
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as unknown as Description;
}

const caseForm = 'a path, or { "image": path, "label": path }';
const path = z.string();
/** { "0": "CT" } or ["CT"]. */
const modalities = z.union([z.array(z.string().min(1)).min(1), z.record(z.string(), z.unknown())]);
const described = z.union([
  path.transform((image): DescribedCase => ({ image, label: undefined })),
  z
    .object({ image: path, label: path.nullish() })
    .transform(({ image, label = null }): DescribedCase => ({ image, label })),
]);
const listedCases = z.record(z.string(), z.object({ images: z.array(path).min(1), label: path.exactOptional() }));
const lengthMm = z.number().gt(0);
const spacing = z.tuple([lengthMm, lengthMm, lengthMm]);

/** A part of dataset.json; undefined where it is not there. @throws VERSEMI_DATASET_INVALID naming the first entry that is wrong */
function part<T>(schema: z.ZodType<T>, value: unknown, file: string, field: string, expected: string): T | undefined {
  if (value === undefined) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [entry] = result.error.issues[0]!.path;
  if (entry === undefined) throw invalidDescription(file, field, expected, value);
  const place = typeof entry === 'number' ? `${field}[${entry}]` : `${field}, ${String(entry)}`;
  throw invalidDescription(file, place, expected, (value as Record<PropertyKey, unknown>)[entry]);
}

function parseModalities(value: unknown, file: string): readonly string[] | undefined {
  const [field, expected] = ['modality / channel_names', 'names numbered from 0, { "0": "CT" }'];
  if (value === undefined) return undefined;
  const result = modalities.safeParse(value);
  if (!result.success) throw invalidDescription(file, field, expected, value);
  if (Array.isArray(result.data)) return result.data;
  const entries = Object.entries(result.data);
  const names = z
    .array(z.string().min(1))
    .min(1)
    .safeParse(entries.map((_, i) => new Map(entries).get(String(i))));
  if (!names.success) throw invalidDescription(file, field, expected, value);
  return names.data;
}
