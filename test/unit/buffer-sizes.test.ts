/**
 * The size formulas exist twice: in native/addon/buffer_sizes.cpp and in src/tfjs/table/call-check.ts. Here each is asked for every
 * case of the op table: the addon is called with buffers exactly as large as TypeScript says up to one that is empty or absent, and
 * must name that buffer and the same number of bytes.
 */
import t from 'tap';
import { isVersemiError } from '../../src/errors.js';
import type { BufferId } from '../../src/tfjs/devices/device.js';
import { loadNativeDevice, nativeUnavailableReason } from '../../src/tfjs/devices/native-device.js';
import { opCases } from '../../src/tfjs/selftest/index.js';
import { bufferNeeds } from '../../src/tfjs/table/call-check.js';
import type { KernelName } from '../../src/tfjs/table/kernel-table.js';

t.test('both definitions of buffer sizes agree', { skip: nativeUnavailableReason() ?? false }, async (t) => {
  const device = loadNativeDevice({ threads: 1 });
  t.teardown(() => device.dispose());
  const empty = device.allocate(0);

  /** What the addon says of a call that it must refuse; null where it runs. */
  function complaint(kernel: KernelName, buffers: readonly BufferId[], attributes: readonly number[]): string | null {
    try {
      device.run(kernel, buffers, attributes);
      return null;
    } catch (error) {
      if (isVersemiError(error)) return error.message;
      throw error;
    }
  }

  for (const { row, name, attributes, inputs, outputs } of opCases) {
    const needs = bufferNeeds(row, attributes);
    const problems: string[] = [];
    if (needs.length !== inputs.length + outputs.length) problems.push(`${needs.length} buffers`);
    const full = needs.map(({ elements }) => device.allocate(elements * 4));
    for (const [i, need] of needs.entries()) {
      const rest = needs.slice(i + 1).map(() => empty);
      const absent = complaint(row, [...full.slice(0, i), 0, ...rest], attributes);
      if (need.optional === absent?.includes(`buffer ${need.name} must not be absent`))
        problems.push(`${need.name}, absent: ${absent}`);
      if (need.elements === 0) continue;
      const small = complaint(row, [...full.slice(0, i), empty, ...rest], attributes);
      if (!small?.includes(`buffer ${need.name}: expected ${need.elements * 4} bytes, found 0`))
        problems.push(`${need.name}, ${need.elements * 4} bytes: ${small}`);
    }
    const enough = complaint(row, full, attributes);
    if (enough !== null) problems.push(`enough: ${enough}`);
    t.same(problems, [], `${row}: ${name}`);
    for (const buffer of full) device.release(buffer);
  }
});
