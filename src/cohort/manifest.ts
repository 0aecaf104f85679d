import { existsSync } from 'node:fs';
import { z } from '#zod';
import { type ErrorCode, errorTable, VersemiError } from '../errors.js';
import { parseJson, shown } from '../json-text.js';
import { readWholeFile } from '../regular-file.js';

/**
 * The manifest of a cohort, or of a part of one: JSON lines, appended one by one, of which the last of a case counts. One process
 * writes it, under a lock.
 */

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]];
const count = z.int().gte(0);
const part = z.object({ index: z.int().gte(1), count: z.int().gte(1) });

/** Begins each run: what there is to do. */
const cohortLine = z.object({
  type: z.literal('cohort'),
  format: z.literal(1),
  run: z.string(),
  command: z.enum(['predict', 'evaluate', 'preprocess']),
  /** ISO 8601. */
  created: z.string(),
  part: part.nullable(),
  /** Cases of the whole cohort, and SHA-256 of their names. */
  cases: count,
  names: z.string(),
  /** Hash of the model (or the plan) and of the options, those of single cases left out. */
  settings: z.string(),
  /** Names of the cases of this part. */
  mine: z.array(z.string()),
});

/** A case is being worked on: where nothing follows, the process was killed. */
const begunLine = z.object({ type: z.literal('begun'), run: z.string(), key: z.string() });

/** A case was left as it was, because the command was asked to end. */
const leftLine = z.object({ type: z.literal('left'), run: z.string(), key: z.string() });

const caseFacts = z.object({
  run: z.string(),
  /** Name of the case: id of a scan, or dataset/id. */
  key: z.string(),
  /** Counts from 1 within the run. */
  attempt: z.int().gte(1),
  /** Hash of the model (or the plan) and of the options that decide what is computed. */
  settings: z.string(),
  device: z.string(),
  versions: z.object({ versemi: z.string(), node: z.string() }),
  /** Files as they were given. */
  input: z.object({
    files: z.array(z.string()),
    state: z.object({ files: count, bytes: count, changedMs: z.number() }).nullable(),
    sha256: z.string().nullable(),
  }),
});

const caseError = z.object({ code: z.templateLiteral(['VERSEMI_', z.enum(codes)]), message: z.string() });

const caseLine = caseFacts.extend({
  type: z.literal('case'),
  state: z.enum(['done', 'failed']),
  /** Of the attempt. */
  seconds: z.number().gte(0),
  /** Largest resident memory of the process while it worked on the case; null where it died. */
  peakMemoryBytes: z.number().gte(0).nullable(),
  outputs: z.array(z.object({ file: z.string(), bytes: count })),
  /** Absent exactly where the case is done. */
  error: caseError.nullable(),
  /** What the command prints of the case; null where it failed. */
  result: z.unknown(),
});

const line = z.discriminatedUnion('type', [cohortLine, begunLine, leftLine, caseLine]);

export type CohortLine = z.output<typeof cohortLine>;
export type CaseError = z.output<typeof caseError>;
export type CaseFacts = z.output<typeof caseFacts>;
export type CaseLine = z.output<typeof caseLine>;
export type ManifestLine = z.output<typeof line>;

/** What a manifest says of a case. */
export interface CaseHistory {
  /** The last that was done or failed. */
  last?: CaseLine;
  /** How often it has been begun since by processes that died. */
  lost: number;
  /** Attempts that failed, by run. */
  readonly failures: Map<string, number>;
}

export interface Manifest {
  /** The last run. */
  readonly cohort: CohortLine | undefined;
  readonly cases: ReadonlyMap<string, CaseHistory>;
  /** Bytes of whole lines; what follows was being written when a process died. */
  readonly wholeBytes: number;
}

/** A million cases write about half of this. */
const mostBytes = 2 ** 31 - 1;

/**
 * Reads a manifest; where there is none, an empty one.
 * @throws VERSEMI_FILE_CORRUPT naming line and field, VERSEMI_IO_FAILED, VERSEMI_FORMAT_UNSUPPORTED
 */
export function readManifest(file: string): Manifest {
  const cases = new Map<string, CaseHistory>();
  let cohort: CohortLine | undefined;
  if (!existsSync(file)) return { cohort, cases, wholeBytes: 0 };
  const bytes = readWholeFile(file, mostBytes);
  let begin = 0;
  for (let number = 1; ; number++) {
    const end = bytes.indexOf(0x0a, begin);
    if (end < 0) break;
    const found = lineIn(bytes.subarray(begin, end), file, number);
    begin = end + 1;
    if (found.type === 'cohort') {
      cohort = found;
      continue;
    }
    const history: CaseHistory = cases.get(found.key) ?? { lost: 0, failures: new Map() };
    cases.set(found.key, history);
    if (found.type === 'begun') history.lost++;
    else if (found.type === 'left') history.lost = Math.max(0, history.lost - 1);
    else {
      history.lost = 0;
      history.last = found;
      if (found.state === 'failed') history.failures.set(found.run, (history.failures.get(found.run) ?? 0) + 1);
    }
  }
  return { cohort, cases, wholeBytes: begin };
}

function lineIn(bytes: Uint8Array, file: string, number: number): ManifestLine {
  const value = parseJson(bytes, { file, field: `line ${number}`, code: 'FILE_CORRUPT' });
  const result = line.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new VersemiError('FILE_CORRUPT', {
    file,
    field: [`line ${number}`, ...(path.length === 0 ? [] : [path.map(String).join('.')])].join(', '),
    expected: `a line of a manifest (${message})`,
    found: shown(value),
    remedy: 'Name the manifest that an earlier run has written, or a file that is not there yet.',
  });
}
