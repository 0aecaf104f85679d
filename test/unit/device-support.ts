import { isVersemiError } from '../../src/errors.js';
import type { BufferId, Device } from '../../src/tfjs/devices/device.js';

/** A buffer that holds these values. */
export function put(device: Device, values: readonly number[] | Float32Array): BufferId {
  const buffer = device.allocate(values.length * 4);
  device.write(buffer, Float32Array.from(values));
  return buffer;
}

/** The first `count` values of a buffer. */
export function get(device: Device, buffer: BufferId, count: number): Float32Array {
  const values = new Float32Array(count);
  device.readSync(buffer, values);
  return values;
}

/** The error that `action` throws; fails when it throws none or a foreign one. */
export function coded(action: () => unknown): { code: string; message: string } {
  try {
    action();
  } catch (error) {
    if (isVersemiError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
