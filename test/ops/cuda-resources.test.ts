/**
 * What nvcc made of the CUDA kernels, read out of the addon that `npm install` built: nothing spills, nothing adds atomically,
 * and the matrix and copy instructions are there that the kernels are written for. Needs no GPU.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { environment } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';

interface KernelResources {
  readonly kernel: string;
  readonly mangled: string;
  readonly architecture: string;
  readonly registers: number;
  readonly frameBytes: number;
  readonly threads: number;
  readonly blocksByRegisters: number;
  readonly mma: number;
  readonly wgmma: number;
  readonly ldmatrix: number;
  readonly copyAsync: number;
  readonly bulkCopy: number;
  readonly localMemory: number;
  readonly atomics: number;
}
type Instruction = 'mma' | 'wgmma' | 'ldmatrix' | 'copyAsync' | 'bulkCopy' | 'localMemory' | 'atomics';

const addon = join(packageRoot, 'build', 'Release', 'versemi.node');
/** Those of VERSEMI_CUDA_ARCHITECTURES=all that have machine code (native/cuda/CMakeLists.txt). */
const allArchitectures = ['80', '86', '89', '90a'];
const nvcc = environment('CUDACXX') ?? 'nvcc';
const hasNvcc = spawnSync(nvcc, ['--version']).status === 0;

function read(file: string): KernelResources[] {
  const script = join(packageRoot, 'native', 'cuda', 'resources.mjs');
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, '--json', file], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as KernelResources[];
}

const kernels = existsSync(addon) ? read(addon) : [];
const skip =
  kernels.length > 0
    ? false
    : !existsSync(addon)
      ? 'no native addon was built here'
      : hasNvcc
        ? 'the addon was built without its CUDA device (VERSEMI_CUDA=0)'
        : 'no nvcc here, so the addon has no CUDA device';

/**
 * Kernels by their place in the mangled name, the instructions without which they would be another algorithm, and the blocks of
 * a multiprocessor that the host's plans count on.
 */
const claims: readonly {
  name: RegExp;
  instructions: readonly Instruction[];
  only?: string;
  least: number;
  blocks?: number;
}[] = [
  { name: /convolve_gemm/, instructions: ['mma', 'ldmatrix', 'copyAsync'], least: 6, blocks: 3 },
  { name: /convolve_halo.*Li4EE/, instructions: ['mma', 'ldmatrix', 'copyAsync'], least: 4, blocks: 2 },
  { name: /convolve_halo.*Li2EE/, instructions: ['mma', 'ldmatrix', 'copyAsync'], least: 4, blocks: 3 },
  { name: /convolve_first/, instructions: ['mma'], least: 6 },
  // Input and gradOutput in TF32 are transposed by plain loads: ldmatrix moves 16 bits.
  { name: /multiply_mma/, instructions: ['mma', 'copyAsync'], least: 12 },
  { name: /multiply_mma.*bf16/, instructions: ['ldmatrix'], least: 7 },
  { name: /forward_mma/, instructions: ['mma', 'ldmatrix'], least: 1 },
  { name: /gradient_mma/, instructions: ['mma', 'ldmatrix'], least: 1 },
  { name: /convolveI.*tile_shape/, instructions: ['wgmma', 'bulkCopy'], only: '90a', least: 3 },
  { name: /correlate/, instructions: ['wgmma', 'bulkCopy'], only: '90a', least: 3 },
];

/** Kernels that may keep an array in local memory, with its bytes. None does; a spill would show as a frame, too. */
const frames: Readonly<Record<string, number>> = {};

const architectures = [...new Set(kernels.map(({ architecture }) => architecture))];

t.test('machine code for the architectures that were asked for', { skip }, async (t) => {
  if (environment('VERSEMI_CUDA_ARCHITECTURES') === 'all') t.same(architectures.sort(), allArchitectures);
  const perArchitecture = architectures.map((a) => kernels.filter(({ architecture }) => architecture === a).length);
  t.ok(
    perArchitecture.every((count) => count > 100 && count === perArchitecture[0]),
    `kernels: ${perArchitecture}`,
  );
});

t.test('no kernel spills or keeps an array in local memory', { skip }, async (t) => {
  const offenders = kernels
    .filter(({ kernel, frameBytes, localMemory }) => {
      const allowed = frames[kernel] ?? 0;
      return frameBytes !== allowed || (allowed === 0 && localMemory > 0);
    })
    .map(({ kernel, architecture, frameBytes }) => `${kernel}, sm_${architecture}: ${frameBytes} bytes`);
  t.same(offenders, []);
});

t.test('sums have a fixed order: no atomic operation', { skip }, async (t) => {
  t.same(
    kernels.filter(({ atomics }) => atomics > 0).map(({ kernel, architecture }) => `${kernel}, sm_${architecture}`),
    [],
  );
});

t.test('every kernel fits a multiprocessor with the threads it is launched with', { skip }, async (t) => {
  t.same(
    kernels
      .filter(({ threads, blocksByRegisters }) => threads === 0 || blocksByRegisters < 1)
      .map(({ kernel, architecture }) => `${kernel}, sm_${architecture}`),
    [],
  );
});

for (const { name, instructions, only, least, blocks = 1 } of claims)
  t.test(`${name.source} has ${instructions.join(', ')}`, { skip }, async (t) => {
    for (const architecture of only === undefined ? architectures : architectures.filter((a) => a === only)) {
      const found = kernels.filter((kernel) => kernel.architecture === architecture && name.test(kernel.mangled));
      t.ok(found.length >= least, `${found.length} kernels on sm_${architecture}`);
      for (const kernel of found) {
        t.ok(kernel.blocksByRegisters >= blocks, `${kernel.kernel}, sm_${architecture}: ${kernel.registers} registers`);
        for (const instruction of instructions)
          t.ok(kernel[instruction] > 0, `${kernel.kernel}, sm_${architecture}: ${instruction}`);
      }
    }
  });

t.test('instructions are recognised on every architecture', { skip: !hasNvcc && 'no nvcc here' }, async (t) => {
  const object = join(t.testdir(), 'probe.o');
  const source = join(packageRoot, 'native', 'cuda', 'test', 'instruction_probe.cu');
  const targets = allArchitectures.map((a) => `-gencode=arch=compute_${a},code=sm_${a}`);
  const { status, stderr } = spawnSync(nvcc, ['--no-compress', ...targets, '-c', source, '-o', object], {
    encoding: 'utf8',
  });
  t.equal(status, 0, stderr);
  const all: readonly Instruction[] = ['mma', 'wgmma', 'ldmatrix', 'copyAsync', 'bulkCopy', 'localMemory', 'atomics'];
  const probes = read(object);
  t.ok(probes.length >= 4 * 15);
  for (const probe of probes) {
    const [, own] = probe.mangled.split('_');
    const hopperOnly = own === 'wgmma' || own === 'bulkCopy';
    const expected = hopperOnly && probe.architecture !== '90a' ? [] : all.filter((each) => each === own);
    t.same(
      all.filter((each) => probe[each] > 0),
      expected,
      `${probe.kernel}, sm_${probe.architecture}`,
    );
    t.equal(probe.frameBytes > 0, own === 'localMemory', `${probe.kernel}, sm_${probe.architecture}: frame`);
  }
});
