import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Command } from 'commander';
import { environmentWithout } from '../environment.js';
import { VersemiError } from '../errors.js';
import { packageRoot } from '../root.js';

export function addBuildAddon(program: Command): void {
  program
    .command('build-addon')
    .description(
      'Build the native addon from source on this machine, with CUDA where nvcc is found. It takes the place of the one in the package.',
    )
    .option(
      '--mpi',
      'build the addon for training over MPI instead, for the MPI whose mpicxx is found (or MPICXX names)',
    )
    .addHelpText(
      'after',
      `
It needs a C++17 compiler (GCC or Clang), make, CMake 3.18 or newer, and two npm packages beside versemi, which it names where they
are missing. VERSEMI_CUDA=0 leaves CUDA out; VERSEMI_CUDA_ARCHITECTURES chooses GPUs (docs/environment.md).

Examples:
  $ npm install cmake-js@8 node-addon-api@8
  $ npx versemi build-addon
  $ npx versemi selftest --device cuda
  $ npx versemi build-addon --mpi
  $ MPICXX=mpicxx.mpich npx versemi build-addon --mpi`,
    )
    .action(async ({ mpi }: { mpi?: boolean }) => {
      const script = join(packageRoot, 'native', mpi ? 'install-mpi.mjs' : 'install.mjs');
      const child = spawn(process.execPath, [script], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...environmentWithout('VERSEMI_SKIP_ADDON'), VERSEMI_BUILD_ADDON: '1', VERSEMI_REQUIRE_ADDON: '1' },
      });
      const [code, signal] = await once(child, 'close');
      if (code === 0) return;
      const failed = {
        expected: 'a build that ends well',
        found: signal === null ? 'what is said above' : `the signal ${signal}`,
      };
      if (mpi)
        throw new VersemiError('RANKS_UNAVAILABLE', {
          field: 'the addon for MPI',
          ...failed,
          remedy: 'Do what is said above and run this again; until then a training is one process.',
        });
      throw new VersemiError('DEVICE_UNAVAILABLE', {
        field: 'the native addon',
        ...failed,
        remedy:
          'Do what is said above and run this again; until then the addon of the package serves, or the device wasm.',
      });
    });
}
