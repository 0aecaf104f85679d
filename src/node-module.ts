/** Node's own modules for code that also runs in browsers: no import, which a browser or a bundler for it would refuse. */

interface NodeModules {
  readonly 'node:child_process': typeof import('node:child_process');
  readonly 'node:fs': typeof import('node:fs');
  readonly 'node:module': typeof import('node:module');
  readonly 'node:os': typeof import('node:os');
  readonly 'node:url': typeof import('node:url');
  readonly 'node:worker_threads': typeof import('node:worker_threads');
}

export function isNode(): boolean {
  return typeof process === 'object' && process.versions?.node !== undefined;
}

/** @throws Error in a browser, and on Node older than 20.16 */
export function nodeModule<Name extends keyof NodeModules>(name: Name): NodeModules[Name] {
  if (!isNode() || process.getBuiltinModule === undefined)
    throw new Error(`${name} cannot be reached: this needs Node 20.16 or newer`);
  return process.getBuiltinModule(name) as NodeModules[Name];
}
