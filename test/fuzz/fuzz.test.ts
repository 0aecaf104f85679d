// A short run of the harness with a fixed seed, and that it sees what it is there to see.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { VersemiError } from '../../src/errors.js';
import { RandomStream, streams } from '../../src/random.js';
import { faultOf } from './checks.js';
import { fuzz } from './command.js';
import { type FuzzedReader, type ReaderName, readers } from './readers.js';
import { makeFileSeeds } from './seeds.js';
import { type Failure, Session } from './session.js';

const names = Object.keys(readers) as ReaderName[];
const inputsPerReader = 200;
/** On a busy machine fewer inputs are tried, but some of each reader. */
const [mostMilliseconds, fewestPerReader] = [120_000, 20];

t.test('every reader reads or refuses what is almost right', async (t) => {
  const failures: Failure[] = [];
  const counts = await fuzz({
    names,
    seed: 20_000,
    inputs: inputsPerReader * names.length,
    milliseconds: mostMilliseconds,
    keep: join(t.testdir(), 'kept'),
    onFailure: (failure) => failures.push(failure),
  });
  for (const { reader, seed, fault } of failures)
    t.fail(`node test/fuzz/run.mjs --reader ${reader} --seed ${seed} --inputs 1: ${fault}`);
  const tried = counts.result + counts.refused;
  t.equal(counts.fault, 0);
  t.ok(tried >= fewestPerReader * names.length, `${tried} inputs`);
  t.ok(Math.min(counts.result, counts.refused) > tried / names.length, 'some are read and some are refused');
});

t.test('a seed repeats its input', async (t) => {
  const [first, second] = [await makeFileSeeds(), await makeFileSeeds()];
  for (const name of names) {
    const { files } = readers[name] as FuzzedReader;
    const made = [first, second].map((seeds) => files(new RandomStream(4, streams.test, 1), seeds));
    t.same(made[0], made[1], name);
  }
});

t.test('what is no coded error that a person can read is a fault', async (t) => {
  t.match(faultOf(new TypeError('x')), /no coded error: TypeError: x/);
  t.match(faultOf({ toString: 1 }), /no coded error/);
  t.match(faultOf(new VersemiError('INTERNAL', { found: 'x' })), /internal/);
  const odd = new VersemiError('FILE_CORRUPT', { file: 'a\u001b[31m\u202eb' });
  t.equal(faultOf(odd), undefined, 'a coded error writes such characters out');
  for (const message of ['\u001b[2J', 'a\u202eb', 'x'.repeat(50_000)])
    t.match(faultOf(Object.assign(new VersemiError('FILE_CORRUPT'), { message })), /a message/);
  t.equal(faultOf(new VersemiError('FILE_CORRUPT', { found: 'x' })), undefined);
});

t.test(
  'a child that hangs, crashes, or takes time or memory is a failure, and the next input gets another',
  async (t) => {
    const failures: Failure[] = [];
    const session = new Session({
      keep: join(t.testdir(), 'kept'),
      onFailure: (failure) => failures.push(failure),
      limits: { seconds: 5, waitSeconds: 2, bytes: 4e8 },
      child: new URL('./bad-child.js', import.meta.url),
    });
    for (const seed of [7, 1, 2, 3, 4, 5, 6, 7]) await session.input('nifti', seed);
    session.close();
    const faults = new Map(failures.map(({ seed, fault }) => [seed, fault]));
    t.match(faults.get(1), /no answer after 2 s/);
    t.match(faults.get(2), /ended \(SIGABRT/);
    t.match(faults.get(3), existsSync('/proc/self/status') ? /GB of memory/ : /no answer/);
    t.match(faults.get(4), /6\.0 s of processor time/);
    t.match(faults.get(5), /3\.0 GB of memory/);
    t.match(faults.get(6), /a fault/);
    t.same(session.counts, { result: 2, refused: 0, fault: 6 });
  },
);

t.test('files of failures are kept, others are not', async (t) => {
  const keep = join(t.testdir(), 'kept');
  const failures: Failure[] = [];
  const session = new Session({
    keep,
    onFailure: (failure) => failures.push(failure),
    limits: { seconds: -1, waitSeconds: 60, bytes: 2e9 },
  });
  await session.input('plan', 3);
  session.close();
  t.same(readdirSync(keep), ['plan-3']);
  t.same(readdirSync(failures[0]!.folder), ['plan.json']);
});
