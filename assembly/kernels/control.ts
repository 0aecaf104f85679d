// Byte offsets of the words of the control block; the host's side is src/wasm/kernel-protocol.ts. Words that threads write
// often or wait for lie 64 bytes apart, so that no two share a cache line.

/** Counts commands; a worker runs one when it changes. */
export const CONTROL_SEQUENCE: usize = 0;
/** Counts barriers. */
export const CONTROL_GENERATION: usize = 64;
/** Threads that have arrived at the barrier. */
export const CONTROL_ARRIVED: usize = 128;
/** Not 0: a thread has failed and the others must not wait for it. */
export const CONTROL_FAILED: usize = 192;
/** The command: op code (0 = stop), call block, number of parts. */
export const CONTROL_OP: usize = 256;
export const CONTROL_CALL: usize = 260;
export const CONTROL_PARTS: usize = 264;
