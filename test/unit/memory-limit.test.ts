// How much memory a process may take: what control groups say, at the level of the process and round it.
import { totalmem } from 'node:os';
import t from 'tap';
import { allowedMemoryBytes, groupLimitBytes } from '../../src/memory-limit.js';

const limit = (groups: string, files: Readonly<Record<string, string>>) =>
  groupLimitBytes((file) => (file === '/proc/self/cgroup' ? groups : files[file]));

t.test('version 2: the lowest limit of all levels', async (t) => {
  const job = '/system.slice/slurmstepd.scope/job_7';
  const files = {
    [`/sys/fs/cgroup${job}/memory.max`]: '4000000000\n',
    [`/sys/fs/cgroup${job}/step_0/memory.max`]: '3000000000\n',
    [`/sys/fs/cgroup${job}/step_0/user/task_0/memory.max`]: 'max\n',
  };
  t.equal(limit(`0::${job}/step_0/user/task_0\n`, files), 3e9);
  t.equal(limit(`0::${job}\n`, files), 4e9);
  t.equal(limit('0::/\n', { '/sys/fs/cgroup/memory.max': '5' }), 5, 'in a container');
  t.equal(limit('0::/elsewhere\n', files), Number.POSITIVE_INFINITY);
});

t.test('version 1: of the controller of memory alone', async (t) => {
  const files = {
    '/sys/fs/cgroup/memory/job/memory.limit_in_bytes': '2000000000\n',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    '/sys/fs/cgroup/memory/other/memory.limit_in_bytes': '1\n',
  };
  t.equal(limit('5:cpu,cpuacct:/other\n4:memory,hugetlb:/job/task\n1:name=systemd:/\n', files), 2e9);
  t.equal(limit('', files), Number.POSITIVE_INFINITY);
});

t.test('this machine', async (t) => {
  t.ok(allowedMemoryBytes() > 1e8 && allowedMemoryBytes() <= totalmem());
});
