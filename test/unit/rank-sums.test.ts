// How the ranks of a training choose between sums through NCCL and through MPI, with ranks and devices that are made up.
import t from 'tap';
import { environment } from '../../src/environment.js';
import { VersemiError } from '../../src/errors.js';
import { type Communicator, solo } from '../../src/ranks/communicator.js';
import type { Device, DeviceSums } from '../../src/tfjs/devices/device.js';
import { openRankSums } from '../../src/training/rank-sums.js';

type Found = ReturnType<DeviceSums['open']>;

const variables = ['VERSEMI_NCCL', 'NCCL_NVLS_ENABLE'] as const;
t.afterEach(() => {
  for (const name of variables) delete process.env[name];
});

/** Rank 0 of 2; the other one finds `other` and answers as a communicator does. */
function made(own: Found, other: Found, joins: DeviceSums['join'] = async () => {}) {
  const calls: string[] = [];
  const watched: Int32Array[] = [];
  let lost: VersemiError | undefined;
  const ranks: Communicator = {
    ...solo,
    size: 2,
    gather: async <T>(value: T) => {
      const theirs = typeof value === 'object' ? { ...value, found: undefined, version: undefined, ...other } : value;
      return [value, theirs] as T[];
    },
    barrier: async () => void calls.push('barrier'),
    watch: (alarm) => {
      watched.push(alarm);
      return () => calls.push('watch ends');
    },
    foundLost: () => lost,
  };
  const sums: DeviceSums = {
    open: (file) => {
      calls.push(`open ${file}`);
      return own;
    },
    makeId: () => Uint8Array.of(1, 2, 255),
    join: async (id, rank, size, alarm) => {
      calls.push(`join ${id} as ${rank} of ${size}`);
      await joins(id, rank, size, alarm);
    },
    start: () => {},
    leave: (atOnce) => calls.push(`leave ${atOnce ? 'at once' : 'together'}`),
  };
  const device = { sums, synchronize: async () => void calls.push('synchronize') } as unknown as Device;
  const lose = () => {
    lost = new VersemiError('RANK_LOST', { field: 'step 3' });
    watched[0]![0] = 2;
  };
  return { ranks, device, calls, lose };
}

t.test('the same library on every rank', async (t) => {
  const { ranks, device, calls } = made({ version: '2.21.5' }, { version: '2.21.5' });
  const { sums, notice } = await openRankSums(ranks, device);
  t.equal(notice, 'Sums over the ranks go from GPU to GPU through NCCL 2.21.5.');
  t.type(sums.sum, 'function');
  t.equal(environment('NCCL_NVLS_ENABLE'), '0', 'sums that differ from run to run are off');
  await sums.close(true);
  const joined = ['open libnccl.so.2', 'join 1,2,255 as 0 of 2'];
  t.same(calls, [...joined, 'synchronize', 'barrier', 'leave together', 'watch ends']);

  process.env.NCCL_NVLS_ENABLE = '1';
  const failing = made({ version: '2.21.5' }, { version: '2.21.5' });
  const opened = await openRankSums(failing.ranks, failing.device);
  t.equal(environment('NCCL_NVLS_ENABLE'), '1', 'unless somebody wants them');
  await opened.sums.close(false);
  t.same(failing.calls, [...joined, 'leave at once', 'watch ends'], 'who fails waits for nobody');
  failing.ranks.barrier = () => Promise.reject(new Error('lost'));
  await t.rejects(opened.sums.close(true), /lost/);
  t.same(failing.calls.slice(-2), ['leave at once', 'watch ends']);
});

t.test('without it sums go through the host, and the log says why', async (t) => {
  const missing = { found: 'libnccl.so.2: cannot open shared object file' };
  const cases: [Found, Found, RegExp][] = [
    [
      missing,
      missing,
      /host memory and MPI \(NCCL 2.9 or newer on every rank expected, found on rank 0: libnccl.so.2: c/,
    ],
    [{ version: '2.21.5' }, { found: 'NCCL 2.8.4' }, /found on rank 1: NCCL 2.8.4\)/],
    [{ version: '2.21.5' }, { version: '2.20.3' }, /found on rank 1: NCCL 2.20.3, and 2.21.5 on rank 0\)/],
  ];
  for (const [own, other, expected] of cases) {
    const { ranks, device, calls } = made(own, other);
    const { sums, notice } = await openRankSums(ranks, device);
    t.match(notice, expected);
    t.equal(sums.sum, undefined);
    await sums.close(true);
    t.same(calls, ['open libnccl.so.2'], 'no rank joins');
  }
  process.env.VERSEMI_NCCL = 'none';
  const off = made({ version: '2.21.5' }, { found: 'VERSEMI_NCCL=none' });
  const { notice } = await openRankSums(off.ranks, off.device);
  t.equal(notice, 'Sums over the ranks go through host memory and MPI (VERSEMI_NCCL=none).');
  t.same(off.calls, [], 'nothing is opened');
});

t.test('one process, and devices without such sums, have no choice to tell of', async (t) => {
  const { device } = made({ version: '2.21.5' }, { version: '2.21.5' });
  t.equal((await openRankSums(solo, device)).notice, undefined);
  const { ranks } = made({ version: '2.21.5' }, { version: '2.21.5' });
  t.equal((await openRankSums(ranks, undefined)).notice, undefined);
  t.equal((await openRankSums(ranks, {} as Device)).notice, undefined);
});

t.test('a library that is named must be there', async (t) => {
  process.env.VERSEMI_NCCL = '/opt/nccl/libnccl.so.2';
  const missing = made({ found: '/opt/nccl/libnccl.so.2: no such file' }, { version: '2.21.5' });
  await t.rejects(openRankSums(missing.ranks, missing.device), {
    code: 'VERSEMI_RANKS_UNAVAILABLE',
    message:
      /\(\/opt\/nccl\/libnccl.so.2, VERSEMI_NCCL of rank 0\): expected NCCL 2.9 or newer, found .*no such file. Install .*VERSEMI_NCCL=none/,
  });
  t.same(missing.calls, ['open /opt/nccl/libnccl.so.2']);
  const differ = made({ version: '2.21.5' }, { version: '2.22.3' });
  await t.rejects(openRankSums(differ.ranks, differ.device), {
    message: /expected the same NCCL on every rank, found NCCL 2.22.3, and 2.21.5 on rank 0/,
  });
});

t.test('ranks that do not come together', async (t) => {
  const refused = new VersemiError('KERNEL_FAILED', {
    found: 'ncclCommInitRank: invalid usage (Duplicate GPU detected)',
  });
  const both = { version: '2.21.5' };
  const failing = made(both, both, () => Promise.reject(refused));
  await t.rejects(openRankSums(failing.ranks, failing.device), {
    code: 'VERSEMI_RANKS_UNAVAILABLE',
    message:
      /\(NCCL 2.21.5\): expected .* one each, found ncclCommInitRank.*Duplicate GPU.*NCCL_DEBUG=INFO.*VERSEMI_NCCL=none/,
  });
  t.equal(failing.calls.at(-1), 'watch ends');

  // One that dies on the way: NCCL itself would wait for ever.
  const dying = made(both, both, () => new Promise(() => dying.lose()));
  await t.rejects(openRankSums(dying.ranks, dying.device), { code: 'VERSEMI_RANK_LOST' });
});
