// The Python of the system, whose packages (pydicom, nibabel) are the independent programs of these tests.
import { spawnSync } from 'node:child_process';

/** The first Python that has the modules; undefined where there is none. */
export function systemPython(...modules: readonly string[]): string | undefined {
  const command = modules.map((name) => `import ${name}`).join('; ');
  return ['/usr/bin/python3', 'python3', 'python'].find((name) => spawnSync(name, ['-c', command]).status === 0);
}
