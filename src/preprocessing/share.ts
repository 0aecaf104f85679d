import type { PreprocessedCase } from './types.js';

/** The same case with its arrays in shared memory, so that worker threads read them without copies. */
export function shareCase(one: PreprocessedCase): PreprocessedCase {
  const shared = <T extends Float32Array | Uint8Array | Int32Array>(array: T): T => {
    if (array.buffer instanceof SharedArrayBuffer) return array;
    const type = array.constructor as new (buffer: SharedArrayBuffer) => T;
    const copy = new type(new SharedArrayBuffer(array.byteLength));
    copy.set(array);
    return copy;
  };
  return {
    ...one,
    image: shared(one.image),
    ...(one.label === undefined ? {} : { label: shared(one.label) }),
    ...(one.foreground === undefined
      ? {}
      : { foreground: Object.fromEntries(Object.entries(one.foreground).map(([k, v]) => [k, shared(v)])) }),
  };
}
