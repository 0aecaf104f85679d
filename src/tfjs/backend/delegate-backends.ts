import { env, findBackend } from '#tfjs';

/** Backends to delegate to, best first. TF.js's own cpu backend comes with #tfjs and has every kernel. */
const names = ['cpu'];

export function delegateNames(): readonly string[] {
  return names;
}

/**
 * Looks for a working @tensorflow/tfjs-node-gpu or tfjs-node (optional peers) and delegates to it first.
 * @returns one sentence for people
 */
export async function findDelegates(): Promise<string> {
  const { process } = globalThis as { process?: { versions?: { node?: string } } };
  const major = Number(process?.versions?.node?.split('.')[0]);
  if (names.includes('tensorflow')) return 'Other kernels run on the backend tensorflow.';
  // Node 23 removed functions that these packages call (tfjs issues 8609, 8746); outside Node they do not exist.
  if (!(major < 23)) return 'Other kernels run on the cpu backend of TF.js.';
  // These bring a copy of TF.js, which warns of all that is registered already.
  const isQuiet = env().getBool('PROD');
  for (const name of ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']) {
    env().set('PROD', true);
    try {
      // Node alone comes here: a bundler must not look for packages that no page can load.
      await import(/* webpackIgnore: true */ /* @vite-ignore */ name);
      if (findBackend('tensorflow') === null) continue;
      names.unshift('tensorflow');
      return `Other kernels run on the backend tensorflow of ${name}.`;
    } catch {
      // Not installed, or installed without its native library: the cpu backend serves.
    } finally {
      env().set('PROD', isQuiet);
    }
  }
  return 'Other kernels run on the cpu backend of TF.js.';
}
