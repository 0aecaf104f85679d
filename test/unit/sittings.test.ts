// Where a model was trained: a record that can be read back, and that does not grow with every stop.
import t from 'tap';
import { placeHere, withSitting } from '../../src/training/sittings.js';

const place = placeHere({ version: '1.2.3', commit: 'abc' }, 'CPU, avx512, 2 threads');
const elsewhere = { ...place, machine: { ...place.machine, processor: 'another one' } };

t.test('a place names program, device and machine', async (t) => {
  t.match(place, { program: { node: process.versions.node }, device: 'CPU, avx512, 2 threads' });
  t.ok(place.machine.cores >= 1 && place.machine.memoryBytes > 2 ** 28 && place.machine.processor.length > 0);
});

t.test('no step, no sitting; one place, one sitting; another place, another', async (t) => {
  t.same(withSitting([], place, 0, 0, 5), []);
  const first = withSitting([], place, 0, 100, 10);
  t.same(first, [{ firstStep: 1, lastStep: 100, seconds: 10, ...place }]);
  const longer = withSitting(first, place, 100, 150, 4);
  t.same(longer, [{ firstStep: 1, lastStep: 150, seconds: 14, ...place }]);
  const moved = withSitting(longer, elsewhere, 150, 151, 1);
  t.same(
    moved.map(({ firstStep, lastStep }) => [firstStep, lastStep]),
    [
      [1, 150],
      [151, 151],
    ],
  );
  // Read back from a file, fields may have another order.
  const { program, device, machine } = place;
  const { version, node, ...commit } = program;
  const shuffled = { machine, device, program: { node, ...commit, version }, seconds: 10, lastStep: 100, firstStep: 1 };
  t.equal(withSitting([shuffled], place, 100, 150, 4).length, 1);
});
