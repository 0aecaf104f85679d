// The command line of the harness: which readers, from which seed, for how long.
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type ReaderName, readers } from './readers.js';
import { type Failure, Session } from './session.js';

const help = `node test/fuzz/run.mjs [options]
  --reader NAME   one of ${Object.keys(readers).join(', ')} (several: comma-separated; default: all)
  --minutes N     how long (default 1)
  --inputs N      how many inputs instead
  --seed N        seed of the first input (default: from the clock); those after it have N + 1, N + 2 ...
  --keep FOLDER   where inputs that failed are kept
A failure is printed with the command that repeats it.`;

export interface FuzzOptions {
  readonly names: readonly ReaderName[];
  readonly seed: number;
  /** Inputs of all readers together, in turn. */
  readonly inputs: number;
  /** Milliseconds after which no more are made. */
  readonly milliseconds: number;
  readonly keep: string;
  readonly onFailure: (failure: Failure) => void;
}

/** Reads inputs of several readers in turn. @returns how often which outcome was seen */
export async function fuzz({ names, seed, inputs, milliseconds, ...options }: FuzzOptions): Promise<Session['counts']> {
  const session = new Session(options);
  const end = performance.now() + milliseconds;
  try {
    for (let i = 0; i < inputs && performance.now() < end; i++)
      await session.input(names[i % names.length]!, seed + Math.floor(i / names.length));
    return session.counts;
  } finally {
    session.close();
  }
}

export async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      reader: { type: 'string' },
      minutes: { type: 'string' },
      inputs: { type: 'string' },
      seed: { type: 'string' },
      keep: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  const all = Object.keys(readers) as ReaderName[];
  const names = values.reader === undefined ? all : (values.reader.split(',') as ReaderName[]);
  const numbers = [values.minutes, values.inputs, values.seed].filter((text) => text !== undefined);
  if (values.help || !names.every((name) => all.includes(name)) || !numbers.every((text) => Number(text) >= 0)) {
    console.log(help);
    return values.help ? 0 : 2;
  }
  const started = performance.now();
  const counts = await fuzz({
    names,
    seed: Number(values.seed ?? Date.now() % 1e9),
    inputs: Number(values.inputs ?? Number.POSITIVE_INFINITY),
    milliseconds:
      values.inputs === undefined || values.minutes !== undefined
        ? 60_000 * Number(values.minutes ?? 1)
        : Number.POSITIVE_INFINITY,
    keep: values.keep ?? join(tmpdir(), 'versemi-fuzz-failures'),
    onFailure: ({ reader, seed, fault, folder }) =>
      console.log(
        `FAILED ${reader}: ${fault}\n  again: node test/fuzz/run.mjs --reader ${reader} --seed ${seed} --inputs 1\n  files: ${folder}`,
      ),
  });
  const inputs = counts.result + counts.refused + counts.fault;
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${inputs} inputs in ${seconds.toFixed(0)} s: ${counts.result} read, ${counts.refused} refused, ${counts.fault} failed`,
  );
  return counts.fault === 0 ? 0 : 1;
}
