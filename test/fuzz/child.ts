// Makes and reads one input after the other, as the session asks, until it is thrown away.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { RandomStream, streams } from '../../src/random.js';
import { faultOf } from './checks.js';
import { type FuzzedReader, type ReaderName, readers } from './readers.js';
import { makeFileSeeds } from './seeds.js';

export interface Question {
  readonly reader: ReaderName;
  readonly seed: number;
  /** Where the files of the input go; emptied first. */
  readonly folder: string;
}

export interface Answer {
  readonly outcome: 'result' | 'refused' | 'fault';
  /** Of a fault: what was seen. */
  readonly fault?: string;
  /** Processor time of reading. */
  readonly seconds: number;
  /** Most memory that the process ever had. */
  readonly peakBytes: number;
}

/** The files of the input are there; now they are read. */
export const reading = 'reading';

const seeds = await makeFileSeeds();

function writeInput({ reader, seed, folder }: Question): void {
  rmSync(folder, { recursive: true, force: true });
  const number = Object.keys(readers).indexOf(reader);
  const files = (readers[reader] as FuzzedReader).files(new RandomStream(seed, streams.test, number), seeds);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
}

async function answer({ reader, folder }: Question): Promise<Answer> {
  const before = process.cpuUsage();
  const faults: string[] = [];
  let results = 0;
  for (const way of (readers[reader] as FuzzedReader).ways) {
    try {
      await way(folder, seeds);
      results++;
    } catch (error) {
      const fault = faultOf(error);
      if (fault !== undefined) faults.push(fault);
    }
  }
  const { user, system } = process.cpuUsage(before);
  return {
    outcome: faults.length > 0 ? 'fault' : results > 0 ? 'result' : 'refused',
    ...(faults.length > 0 ? { fault: faults.join('\n') } : {}),
    seconds: (user + system) / 1e6,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  };
}

process.on('message', async (question: Question) => {
  writeInput(question);
  process.send!(reading);
  process.send!(await answer(question));
});
process.send!('ready');
