/** Random calls of the rows of the kernel table, whose attributes may be as large as they are allowed to be. */
import { RandomStream, streams } from '../../src/random.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { bufferNeeds, CallError } from '../../src/tfjs/table/call-check.js';
import { attributeRules, type KernelName, kernelTable } from '../../src/tfjs/table/kernel-table.js';
import { type AttributeRule, largestCount } from '../../src/tfjs/table/rules.js';

/** Draws until one of them is a call of such buffers. */
const mostDraws = 20_000;
const sizes = [0, 1, 1, 1, 2, 2, 3, 5, 8, 17, 100, 1000, 2 ** 16, 2 ** 20, 2 ** 31 - 1, 2 ** 40, largestCount];

export interface RowCall {
  readonly row: KernelName;
  readonly attributes: Float64Array;
  /** Elements of each buffer. */
  readonly elements: readonly number[];
  readonly description: string;
}

/**
 * Call `index` of a seed: its attributes describe a call of the row, and its buffers are small.
 * @param mostElements of all buffers together
 */
export function randomRowCall(seed: number, index: number, mostElements: number): RowCall {
  const stream = new RandomStream(seed, streams.test, index);
  const one = <Item>(items: readonly Item[]): Item => items[stream.uint32() % items.length]!;
  const rows = Object.keys(kernelTable) as KernelName[];
  for (let draw = 0; draw < mostDraws; draw++) {
    const row = one(rows);
    const attributes = drawAttributes(attributeRules(row), one);
    const elements = elementsOf(row, attributes);
    if (elements === null || elements.reduce((sum, count) => sum + count, 0) > mostElements) continue;
    const named = Object.keys(attributeRules(row)).join(', ');
    return { row, attributes, elements, description: `${row} (${named}) = ${Array.from(attributes).join(' ')}` };
  }
  throw new Error(`no call of small buffers in ${mostDraws} draws`);
}

function drawAttributes(
  rules: Readonly<Record<string, AttributeRule>>,
  one: <Item>(items: readonly Item[]) => Item,
): Float64Array {
  // Most calls have a few large numbers, or their buffers would be too large.
  const pool = one([sizes, sizes.slice(0, 11), sizes.slice(1, 9)]);
  const numbers = new Map<string, number>();
  const packed: number[] = [];
  for (const [name, rule] of Object.entries(rules)) {
    if (rule.is === 'list') {
      for (let i = 0; i < numbers.get(rule.length)!; i++) packed.push(one(pool));
      continue;
    }
    const isLength = Object.values(rules).some((other) => other.is === 'list' && other.length === name);
    const value = isLength
      ? one([1, 2, 3, 4])
      : rule.is === 'whole'
        ? Math.min(rule.high, Math.max(rule.low, one(pool)))
        : rule.is === 'flag'
          ? one([0, 1])
          : one([0, 0.5, 1, 1e30, Number.POSITIVE_INFINITY]);
    numbers.set(name, value);
    packed.push(value);
  }
  return Float64Array.from(packed);
}

/** null where the attributes describe no call. */
function elementsOf(row: KernelName, attributes: Float64Array): number[] | null {
  try {
    return bufferNeeds(row, attributes).map(({ elements }) => elements);
  } catch (error) {
    if (error instanceof CallError) return null;
    throw error;
  }
}

/**
 * Runs a call on a device, with elements behind each buffer that it must not touch.
 * @returns what was wrong, or nothing
 */
export function runRowCall(device: Device, { row, attributes, elements }: RowCall): string {
  if (device.refuses(row, attributes) !== null) return '';
  const guard = new Float32Array(64).fill(-12345);
  const buffers = elements.map((count) => device.allocate(4 * (count + guard.length)));
  try {
    for (const [i, count] of elements.entries()) {
      const values = new Float32Array(count + guard.length).fill(0.5);
      values.set(guard, count);
      device.write(buffers[i]!, values);
    }
    device.run(row, buffers, attributes);
    for (const [i, count] of elements.entries()) {
      const values = new Float32Array(count + guard.length);
      device.readSync(buffers[i]!, values);
      if (values.subarray(count).some((value) => value !== guard[0])) return `buffer ${i} was written beyond its end`;
    }
    return '';
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return code === 'VERSEMI_DEVICE_OUT_OF_MEMORY' ? '' : message;
  } finally {
    for (const buffer of buffers) device.release(buffer);
  }
}
