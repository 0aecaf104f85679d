// The HDF5 library in a long process: what odd files break, leak or leave open ends with the instance that read them.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readHdf5, withHdf5Contents } from '../../src/datasets/hdf5.js';
import { isVersemiError } from '../../src/errors.js';
import { RandomStream, streams } from '../../src/random.js';
import { mutatedBytes } from '../fuzz/mutate.js';
import { hdf5Fields, makeFileSeeds } from '../fuzz/seeds.js';

/** An instance of the library can have 4096 files open, and leaves nearly every one open that it fails to read. */
const oddFiles = 5500;
const mostGrowthBytes = 200e6;

/** Files that this process has open, where the system says so. */
const openFiles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);

t.test('thousands of odd files in one process, then good ones', async (t) => {
  const folder = t.testdir();
  const { hdf5 } = await makeFileSeeds();
  const good = hdf5.map((bytes, i) => {
    const file = join(folder, `good${i}.h5`);
    writeFileSync(file, bytes);
    return file;
  });
  const first = await Promise.all(good.map((file) => readHdf5(file)));
  const before = { bytes: process.memoryUsage().rss, files: openFiles() };
  const odd = join(folder, 'odd.h5');
  const counts = { read: 0, refused: 0 };
  const seeds = hdf5.map((bytes) => ({ bytes, fields: hdf5Fields(bytes) }));
  const ways = [
    () => readHdf5(odd),
    () => withHdf5Contents(odd, ({ names, shapeOf }) => names.map(shapeOf)),
    () => readHdf5(odd, { role: 'label' }),
  ];
  for (let i = 0; i < oddFiles; i++) {
    const { bytes, fields } = seeds[i % seeds.length]!;
    const random = new RandomStream(11, streams.test, i);
    // Cut files first, of which nearly every one stays open in the library; then faults of every kind, some of which break it.
    const cut = i < 4500;
    writeFileSync(
      odd,
      cut ? bytes.subarray(0, 64 + random.integer(bytes.length - 64)) : mutatedBytes(bytes, random, fields),
    );
    try {
      await ways[i % 5 === 0 ? 1 : i % 2 === 0 ? 2 : 0]!();
      counts.read++;
    } catch (error) {
      if (!isVersemiError(error)) throw error;
      counts.refused++;
    }
    // Good files between them are read all the time.
    if (i % 500 === 0) t.same(await readHdf5(good[0]!), first[0], `after ${i} odd files`);
  }
  t.ok(counts.refused > 4500, `${counts.refused} refused`);
  t.ok(counts.read > 50, `${counts.read} read`);
  t.same(await Promise.all(good.map((file) => readHdf5(file))), first, 'all good files after them');
  const growth = process.memoryUsage().rss - before.bytes;
  t.ok(growth < mostGrowthBytes, `${Math.round(growth / 1e6)} MB more than before`);
  t.equal(openFiles(), before.files, 'everything that was opened is closed');
});
