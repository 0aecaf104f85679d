import { environment } from '../../environment.js';
import { VersemiError } from '../../errors.js';
import type { Device, DeviceSettings } from './device.js';

/**
 * For devices that compute in float32 alone.
 * @throws VERSEMI_DEVICE_UNAVAILABLE for another precision
 */
export function requireFloat32(device: Device['name'], { precision = 'float32' }: DeviceSettings): void {
  if (precision === 'float32') return;
  throw new VersemiError('DEVICE_UNAVAILABLE', {
    field: `${device}, precision`,
    expected: 'float32: lower precisions are not faster on this device',
    found: precision,
    remedy: 'Leave the precision out. The device cuda has bfloat16 and tf32.',
  });
}

/** What a row says that may not be taken; the native devices say the same (row_filter.h). */
export const forbiddenReason = 'forbidden by VERSEMI_ROWS';

/**
 * Rows of the kernel table that VERSEMI_ROWS forbids: `-name,-name`.
 * @throws VERSEMI_DEVICE_UNAVAILABLE for a name without its minus sign
 */
export function forbiddenRows(): string[] {
  const names = (environment('VERSEMI_ROWS') ?? '').split(',').filter((name) => name.trim() !== '');
  return names.map((name) => {
    if (name.trim().startsWith('-')) return name.trim().slice(1);
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: 'VERSEMI_ROWS',
      expected: 'rows of the kernel table that may not be taken, each with a minus sign before it, as -name,-name',
      found: name,
    });
  });
}

/** @throws VERSEMI_DEVICE_UNAVAILABLE for a forbidden row that the device does not have */
export function checkForbiddenRows(
  device: Device['name'],
  forbidden: readonly string[],
  known: readonly string[],
): void {
  const unknown = forbidden.filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  throw new VersemiError('DEVICE_UNAVAILABLE', {
    field: `${device}, VERSEMI_ROWS`,
    expected: `names of rows that this device has: ${known.join(', ')}`,
    found: unknown.join(', '),
  });
}
