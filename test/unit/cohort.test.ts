// Parts of a cohort by every scheduler's variables, manifests, joining, and the threads that a process is allowed.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allowedThreads } from '../../src/allowed-threads.js';
import { readManifest } from '../../src/cohort/manifest.js';
import { mergeInputs, mergeManifests } from '../../src/cohort/merge.js';
import { casesOfPart, fileOfPart, scheduledPart } from '../../src/cohort/parts.js';
import { environmentTable } from '../../src/environment.js';

const folder = t.testdir();
const at = (...path: string[]) => join(folder, ...path);

t.test('parts are disjoint, complete, of equal cost, and the same in whatever order cases are found', (t) => {
  const cases = Array.from({ length: 101 }, (_, i) => ({
    key: `case-${i}`,
    cost: i % 7 === 0 ? 5000 : 100 + ((i * 37) % 400),
  }));
  const reversed = [...cases].reverse();
  const seen: string[] = [];
  const costs: number[] = [];
  for (let index = 1; index <= 4; index++) {
    const mine = casesOfPart(cases, { index, count: 4 });
    seen.push(...mine.map(({ key }) => key));
    costs.push(mine.reduce((sum, { cost }) => sum + cost, 0));
    const again = casesOfPart(reversed, { index, count: 4 });
    t.same(again.map(({ key }) => key).sort(), mine.map(({ key }) => key).sort());
    t.same(
      mine,
      cases.filter((one) => mine.includes(one)),
      'in the order of the cohort',
    );
  }
  t.same(seen.sort(), cases.map(({ key }) => key).sort());
  t.ok(Math.max(...costs) / Math.min(...costs) < 1.02, costs.join(' '));
  const free = Array.from({ length: 9 }, (_, i) => ({ key: `${i}`, cost: 0 }));
  t.same(
    [1, 2, 3].map((index) => casesOfPart(free, { index, count: 3 }).length),
    [3, 3, 3],
  );
  t.end();
});

/** What a function gives with these variables, and no others of a scheduler. */
function withVariables<T>(variables: Record<string, string>, work: () => T): T {
  const kept = { ...process.env };
  try {
    for (const { name, effect } of environmentTable)
      if (/^(Slurm|srun|Open MPI|MPICH|Kubernetes|the number of parts)/.test(effect)) delete process.env[name];
    Object.assign(process.env, variables);
    return work();
  } finally {
    process.env = kept;
  }
}

const partBy = (variables: Record<string, string>) => withVariables(variables, scheduledPart);

t.test('every scheduler', (t) => {
  t.equal(partBy({}), undefined);
  const array = (id: number, min: number, max: number, step: number, count: number) =>
    partBy({
      ...{ SLURM_ARRAY_TASK_ID: `${id}`, SLURM_ARRAY_TASK_MIN: `${min}`, SLURM_ARRAY_TASK_MAX: `${max}` },
      ...{ SLURM_ARRAY_TASK_STEP: `${step}`, SLURM_ARRAY_TASK_COUNT: `${count}` },
    });
  t.match(array(0, 0, 9, 1, 10), { index: 1, count: 10, from: 'SLURM_ARRAY_TASK_ID' });
  t.match(array(9, 0, 9, 1, 10), { index: 10, count: 10 });
  t.match(array(7, 3, 11, 4, 3), { index: 2, count: 3 });
  t.throws(
    () => array(5, 1, 9, 1, 3),
    { code: 'VERSEMI_USAGE', message: /task 5 of 3 tasks from 1 to 9.*--part/ },
    'numbers in a list',
  );
  t.throws(() => partBy({ SLURM_ARRAY_TASK_ID: 'x' }), { code: 'VERSEMI_USAGE' });
  t.match(partBy({ JOB_COMPLETION_INDEX: '3', VERSEMI_PARTS: '8' }), { index: 4, count: 8 });
  t.throws(() => partBy({ JOB_COMPLETION_INDEX: '3' }), { code: 'VERSEMI_USAGE', message: /VERSEMI_PARTS/ });
  t.throws(() => partBy({ JOB_COMPLETION_INDEX: '8', VERSEMI_PARTS: '8' }), { code: 'VERSEMI_USAGE' });
  t.match(partBy({ SLURM_PROCID: '1', SLURM_STEP_NUM_TASKS: '4' }), { index: 2, count: 4, from: 'SLURM_PROCID' });
  t.equal(partBy({ SLURM_PROCID: '0' }), undefined, 'the script of a job');
  const mpi = { OMPI_COMM_WORLD_RANK: '2', OMPI_COMM_WORLD_SIZE: '3' };
  t.match(partBy({ ...mpi, SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '2' }), { index: 3, count: 3 }, 'mpirun in Slurm');
  t.match(partBy({ PMI_RANK: '0', PMI_SIZE: '2' }), { index: 1, count: 2 });
  const both = partBy({ SLURM_ARRAY_TASK_ID: '1', SLURM_ARRAY_TASK_COUNT: '2', ...mpi });
  t.match(both, { index: 6, count: 6 }, 'ranks in an array');
  t.end();
});

t.test('names of files of parts', (t) => {
  const part = { index: 3, count: 8 };
  t.equal(fileOfPart('out.d/manifest.jsonl', part), 'out.d/manifest-3-of-8.jsonl');
  t.equal(fileOfPart('out.d/manifest', part), 'out.d/manifest-3-of-8');
  t.equal(fileOfPart('manifest.jsonl', undefined), 'manifest.jsonl');
  t.end();
});

t.test('threads follow affinity, control groups and Slurm', (t) => {
  const threads = (files: Record<string, string>, cores = 64, allocated?: number) =>
    allowedThreads({ cores, allocated, read: (file) => files[file] });
  t.equal(threads({}), 64);
  t.equal(threads({}, 64, 3), 3);
  t.equal(threads({}, 2, 3), 2, 'never more than affinity allows');
  const v2 = { '/proc/self/cgroup': '0::/user/pod/box\n' };
  t.equal(threads({ ...v2, '/sys/fs/cgroup/user/pod/box/cpu.max': '400000 100000\n' }), 4);
  t.equal(threads({ ...v2, '/sys/fs/cgroup/user/pod/cpu.max': '250000 100000' }), 2, 'of a group around it');
  t.equal(threads({ ...v2, '/sys/fs/cgroup/user/pod/box/cpu.max': 'max 100000' }), 64);
  t.equal(threads({ ...v2, '/sys/fs/cgroup/cpu.max': '50000 100000' }), 1, 'half a core; in a container at the root');
  const v1 = { '/proc/self/cgroup': '5:memory:/a\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/x\n' };
  const quota = (path: string, us: string) => ({
    [`${path}/cpu.cfs_quota_us`]: us,
    [`${path}/cpu.cfs_period_us`]: '100000\n',
  });
  t.equal(threads({ ...v1, ...quota('/sys/fs/cgroup/cpu,cpuacct', '300000\n') }), 3);
  t.equal(threads({ ...v1, ...quota('/sys/fs/cgroup/cpu/docker/1', '200000') }), 2);
  t.equal(threads({ ...v1, ...quota('/sys/fs/cgroup/cpu', '-1') }), 64);

  const bySlurm = (variables: Record<string, string>) => withVariables(variables, () => allowedThreads());
  t.equal(bySlurm({ SLURM_CPUS_PER_TASK: '1', SLURM_CPUS_ON_NODE: '64' }), 1);
  t.equal(bySlurm({ SLURM_CPUS_ON_NODE: '1' }), 1);
  const step = { SLURM_CPUS_ON_NODE: '6', SLURM_STEP_NUM_TASKS: '8', SLURM_STEP_NUM_NODES: '2' };
  t.equal(bySlurm(step), 1, 'the four tasks of a step on this machine share its CPUs');
  t.end();
});

const cohort = (index: number, count: number, mine: string[], settings = 's') => ({
  ...{ type: 'cohort', format: 1, run: 'r', command: 'predict', created: '', names: 'n', settings, mine },
  ...{ part: { index, count }, cases: 4 },
});
const caseLine = (key: string, state: 'done' | 'failed', run = 'r') => ({
  ...{ type: 'case', run, key, attempt: 1, settings: 's', device: 'd', versions: { versemi: '0', node: '0' }, state },
  ...{ input: { files: [key], state: null, sha256: null }, seconds: 1, peakMemoryBytes: 1, outputs: [], result: null },
  error: state === 'done' ? null : { code: 'VERSEMI_FILE_CORRUPT', message: 'm' },
});
const begun = (key: string) => ({ type: 'begun', run: 'r', key });
const write = (file: string, lines: unknown[], rest = '') => {
  mkdirSync(join(at(file), '..'), { recursive: true });
  writeFileSync(at(file), lines.map((line) => `${JSON.stringify(line)}\n`).join('') + rest);
  return at(file);
};

t.test('manifests: the last line of a case counts; half a line is none; what is no manifest is refused', (t) => {
  const file = write(
    'm.jsonl',
    [
      cohort(1, 1, ['a', 'b']),
      begun('a'),
      caseLine('a', 'failed'),
      begun('a'),
      caseLine('a', 'done'),
      begun('b'),
      begun('b'),
    ],
    '{"type":"ca',
  );
  const { cases, cohort: last, wholeBytes } = readManifest(file);
  t.match(cases.get('a'), { last: { state: 'done' }, lost: 0 });
  t.equal(cases.get('a')!.failures.get('r'), 1);
  t.match(cases.get('b'), { lost: 2 });
  t.equal(last?.mine.length, 2);
  t.equal(readManifest(at('none.jsonl')).cases.size, 0);
  t.ok(wholeBytes > 100);
  const wrong = write('w.jsonl', [cohort(1, 1, []), { type: 'case', key: 'a' }]);
  t.throws(() => readManifest(wrong), { code: 'VERSEMI_FILE_CORRUPT', message: /line 2/ });
  writeFileSync(at('x.jsonl'), 'no json\n');
  t.throws(() => readManifest(at('x.jsonl')), { code: 'VERSEMI_FILE_CORRUPT', message: /line 1/ });
  t.end();
});

t.test('joining: parts that are missing, doubled or of something else are refused', (t) => {
  const first = write('j/m-1-of-2.jsonl', [cohort(1, 2, ['a', 'c', 'd']), begun('c'), caseLine('a', 'done')]);
  const second = write('j/m-2-of-2.jsonl', [cohort(2, 2, ['b']), caseLine('b', 'failed')]);
  t.same(mergeInputs([at('j')]).manifests, [first, second]);
  t.same(
    mergeManifests([first, second]).map(({ key, state }) => [key, state]),
    [
      ['a', 'done'],
      ['b', 'failed'],
      ['c', 'unfinished'],
      ['d', 'missing'],
    ],
  );
  t.throws(() => mergeManifests([first]), { code: 'VERSEMI_USAGE', message: /no part 2/ });
  const copy = write('j/copy.jsonl', [cohort(1, 2, ['e'])]);
  t.throws(() => mergeManifests([first, second, copy]), { code: 'VERSEMI_USAGE', message: /part 1 in/ });
  const both = write('j/both.jsonl', [cohort(2, 2, ['a'])]);
  t.throws(() => mergeManifests([first, both]), { code: 'VERSEMI_USAGE', message: /a in .* and in/ });
  const less = write('j/less.jsonl', [cohort(2, 2, [])]);
  t.throws(
    () => mergeManifests([first, less]),
    { code: 'VERSEMI_USAGE', message: /4 cases.*3 cases/ },
    'one in no part',
  );
  const other = write('j/other.jsonl', [cohort(2, 2, ['b'], 'another model')]);
  t.throws(() => mergeManifests([first, other]), { code: 'VERSEMI_USAGE', message: /same model and options/ });
  t.throws(() => mergeInputs([at('gone')]), { code: 'VERSEMI_FILE_NOT_FOUND' });
  mkdirSync(at('empty'));
  t.throws(() => mergeInputs([at('empty')]), { code: 'VERSEMI_FILE_NOT_FOUND', message: /none in this folder/ });
  t.end();
});
