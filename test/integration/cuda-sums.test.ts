// Sums from GPU to GPU: two emulated devices in one process are the ranks, and a stub sums as NCCL would.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Device, DeviceSums } from '../../src/tfjs/devices/device.js';
import { loadNativeDevice } from '../../src/tfjs/devices/native-device.js';
import { buildStub, noStub } from './nccl-support.js';

type Ranked = Device & { readonly sums: DeviceSums };

const skip = noStub;
const folder = t.testdir({ new: {}, old: {}, refuses: {}, other: {} });
const stub = skip ? '' : buildStub(`${folder}/new`);

function devices(): [Ranked, Ranked] {
  return [loadNativeDevice({}, 'cuda') as Ranked, loadNativeDevice({}, 'cuda') as Ranked];
}

/** @returns the alarm of each */
async function join2(ranks: readonly [Ranked, Ranked]): Promise<[Int32Array, Int32Array]> {
  for (const { sums } of ranks) sums.open(stub);
  const id = ranks[0].sums.makeId();
  const alarms: [Int32Array, Int32Array] = [new Int32Array(1), new Int32Array(1)];
  await Promise.all(ranks.map(({ sums }, rank) => sums.join(id, rank, 2, alarms[rank]!)));
  return alarms;
}

function filled(device: Device, values: Float32Array): number {
  const buffer = device.allocate(values.byteLength);
  device.write(buffer, values);
  return buffer;
}

/** More than the stub moves at a time, and no multiple of it. */
const length = 40_001;
const valuesOf = (rank: number) => Float32Array.from({ length }, (_, i) => rank * 1000 + i / 3);
const [ofZero, ofOne] = [valuesOf(0), valuesOf(1)];
const summed = ofZero.map((value, i) => value + ofOne[i]!);

/** Bit for bit; tap's own comparison of long arrays takes minutes. */
function equal(found: Float32Array, expected: Float32Array): boolean {
  return Buffer.from(found.buffer).equals(Buffer.from(expected.buffer));
}

async function valuesIn(device: Device, buffer: number): Promise<Float32Array> {
  const values = new Float32Array(length);
  await device.read(buffer, values);
  return values;
}

t.test(
  'a sum begins after the kernels before it, nobody waits for it, and who uses it sees it',
  { skip },
  async (t) => {
    const ranks = devices();
    const [first, second] = ranks;
    await join2(ranks);
    const [x, y] = [filled(first, valuesOf(0)), filled(second, valuesOf(1))];
    first.sums.start(x, length);
    // The other rank has not begun yet.
    const meanwhile = filled(first, valuesOf(5));
    const read = new Float32Array(length);
    first.readSync(meanwhile, read);
    t.ok(equal(read, valuesOf(5)), 'work that does not need the sum goes on');
    // Its memory must not be given to others before the sum is over.
    first.sums.start(meanwhile, length);
    first.release(meanwhile);
    const after = filled(first, valuesOf(7));

    const own = filled(second, valuesOf(6));
    second.sums.start(y, length);
    second.sums.start(own, length);
    const [ofFirst, ofSecond, untouched, last] = await Promise.all([
      ...[valuesIn(first, x), valuesIn(second, y), valuesIn(first, after), valuesIn(second, own)],
    ]);
    t.ok(equal(ofFirst!, summed) && equal(ofSecond!, summed));
    t.ok(equal(untouched!, valuesOf(7)), 'what was written into memory that was free again stands');
    const [a, b] = [valuesOf(5), valuesOf(6)];
    t.ok(
      equal(
        last!,
        a.map((value, i) => value + b[i]!),
      ),
    );

    // A part of a buffer, twice, with a write in between.
    for (const [rank, buffer] of [x, y].entries()) {
      ranks[rank]!.sums.start(buffer, 2);
      ranks[rank]!.write(buffer, Float32Array.of(rank + 1));
      ranks[rank]!.sums.start(buffer, 3);
    }
    const expected = summed.slice();
    expected.set([3, 4 * summed[1]!, 2 * summed[2]!]);
    for (const found of await Promise.all([valuesIn(first, x), valuesIn(second, y)])) t.ok(equal(found, expected));
    await Promise.all(ranks.map((device) => device.synchronize()));
    for (const device of ranks) {
      device.sums.leave(false);
      device.dispose();
    }
  },
);

t.test('sums that wait for a rank which is lost are given up', { skip }, async (t) => {
  const ranks = devices();
  const [first, second] = ranks;
  const [alarm] = await join2(ranks);
  const x = filled(first, valuesOf(0));
  first.sums.start(x, length);
  const reading = valuesIn(first, x);
  alarm[0] = 2;
  await t.rejects(reading, { code: 'VERSEMI_KERNEL_FAILED', message: /given up: a rank is lost/ });
  t.throws(() => first.sums.start(x, length), /given up: a rank is lost/);
  for (const device of ranks) device.sums.leave(true);

  // The devices themselves are as before, and may join again.
  const again = filled(first, valuesOf(3));
  t.ok(equal(await valuesIn(first, again), valuesOf(3)));
  await join2(ranks);
  const other = filled(second, valuesOf(1));
  first.sums.start(again, length);
  second.sums.start(other, length);
  const [a, b] = await Promise.all([valuesIn(first, again), valuesIn(second, other)]);
  t.equal(a[1], Math.fround(valuesOf(3)[1]! + valuesOf(1)[1]!));
  t.ok(equal(a, b));
  for (const device of ranks) device.dispose();
});

t.test('what cannot be summed is refused', { skip }, async (t) => {
  const device = loadNativeDevice({}, 'cuda') as Ranked;
  t.match(device.sums.open(`${folder}/none.so`), { found: /none.so: cannot open/, version: undefined });
  t.match(device.sums.open(buildStub(`${folder}/old`, 'STUB_VERSION=2804')), { found: 'NCCL 2.8.4' });
  t.match(device.sums.open(buildStub(`${folder}/other`, 'ncclCommAbort=another')), {
    found: 'a library without ncclCommAbort',
  });
  writeFileSync(join(folder, 'text.so'), 'no library');
  t.match(device.sums.open(join(folder, 'text.so')), { found: /text.so/ });
  const x = filled(device, valuesOf(0));
  t.throws(() => device.sums.makeId(), /NCCL is not open/);
  t.throws(() => device.sums.start(x, length), /has not joined/);
  device.sums.open(buildStub(`${folder}/refuses`, 'STUB_REFUSES'));
  await t.rejects(device.sums.join(new Uint8Array(128), 0, 2, new Int32Array(1)), {
    message: /ncclCommInitRank: invalid usage \(Duplicate GPU detected/,
  });
  await t.rejects(device.sums.join(new Uint8Array(5), 0, 2, new Int32Array(1)), /id, rank, ranks or alarm/);

  t.same(device.sums.open(stub), { version: '2.21.5' });
  await device.sums.join(device.sums.makeId(), 0, 1, new Int32Array(1));
  t.throws(() => device.sums.start(x, length + 1), /does not hold/);
  t.throws(() => device.sums.start(99, 1), /not live/);
  t.throws(() => device.record!(() => device.sums.start(x, length)), /it sums over ranks/);
  device.sums.start(x, length);
  t.throws(() => device.record!(() => device.write(x, new Float32Array(1))), /a sum over ranks is under way/);
  t.ok(equal(await valuesIn(device, x), valuesOf(0)), 'one rank sums with itself');
  device.dispose();
  t.equal(loadNativeDevice({ threads: 1 }).sums, undefined, 'the device cpu has none');
});
