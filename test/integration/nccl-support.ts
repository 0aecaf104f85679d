// A library that answers as NCCL does, compiled where a test runs: native/cuda/test/nccl_stub.cpp.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { environment } from '../../src/environment.js';
import { packageRoot } from '../../src/root.js';
import { noEmulator } from './cuda-support.js';

const compiler = environment('CXX') ?? 'c++';

/** Why no test can take the stub, or false. */
export const noStub: string | false =
  noEmulator !== false
    ? noEmulator
    : process.platform !== 'linux'
      ? 'NCCL is there for Linux alone'
      : spawnSync(compiler, ['--version']).status === 0
        ? false
        : 'no C++ compiler on this machine';

/**
 * Compiles libnccl.so.2 into a folder.
 * @param defines what it does otherwise, see its source
 * @returns its file
 */
export function buildStub(folder: string, ...defines: string[]): string {
  const file = join(folder, 'libnccl.so.2');
  const source = join(packageRoot, 'native', 'cuda', 'test', 'nccl_stub.cpp');
  const options = ['-std=c++17', '-O2', '-fPIC', '-shared', ...defines.map((define) => `-D${define}`)];
  const { status, stderr } = spawnSync(compiler, [...options, source, '-o', file, '-lrt', '-ldl'], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return file;
}
