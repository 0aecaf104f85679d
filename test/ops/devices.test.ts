/** The selftest on every device of this machine, and that the selftest finds faults. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import type { Device } from '../../src/tfjs/device.js';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import { kernelTable } from '../../src/tfjs/kernel-table.js';
import { checkCase } from '../../src/tfjs/selftest/check-case.js';
import { opCases, runSelftest } from '../../src/tfjs/selftest/index.js';

// New buffers hold NaN, so that a kernel that reads what it should write is found out.
process.env.VERSEMI_POISON = '1';

t.test('every row of the kernel table has cases, with unique names', (t) => {
  for (const row of Object.keys(kernelTable))
    t.ok(
      opCases.some((each) => each.row === row),
      row,
    );
  const names = opCases.map(({ row, name }) => `${row}: ${name}`);
  t.same(
    names.filter((name, i) => names.indexOf(name) !== i),
    [],
  );
  t.end();
});

for (const status of await registerVersemiBackends()) {
  const choice = status.device;
  t.test(`selftest of ${status.backend}`, { skip: status.available ? false : status.why }, async (t) => {
    const selected = await selectDevice(choice);
    t.equal(tf.getBackend(), status.backend);
    t.equal(selected.device.name, choice);
    t.match(selected.why, selected.device.description);
    for await (const { name, ok, detail } of runSelftest(selected)) t.ok(ok, `${name}: ${detail}`);
  });
}

t.test('the selftest finds faults', async (t) => {
  const { device } = await selectDevice('auto');
  const rows = ['conv3d_forward', 'dynamic_head_grad', 'reduce', 'adam_step'];
  const cases = rows.map((row) => opCases.find((each) => each.row === row)!);
  const faults: Record<string, Partial<Device>> = {
    'a wrong number': corrupting(device, (values) => {
      values[values.length - 33]! += 1e-3;
    }),
    'a number that was not written': corrupting(device, (values) => {
      values[0] = Number.NaN;
    }),
    'a write beyond the end': corrupting(device, (values) => {
      values[values.length - 1] = 0;
    }),
  };
  for (const [fault, overrides] of Object.entries(faults)) {
    const faulty = Object.assign(Object.create(device) as Device, overrides);
    for (const each of cases) t.notOk(checkCase(faulty, each).ok, `${fault}: ${each.row}`);
  }
  let calls = 0;
  const leaking = Object.assign(Object.create(device) as Device, {
    memory: () => ({ ...device.memory(), buffers: calls++ }),
  });
  t.match(checkCase(leaking, cases[0]!).detail, 'left over');
});

/** A device whose kernels damage their first output. */
function corrupting(device: Device, damage: (values: Float32Array) => void): Partial<Device> {
  const bytes = new Map<number, number>();
  return {
    allocate(size) {
      const buffer = device.allocate(size);
      bytes.set(buffer, size);
      return buffer;
    },
    release: (buffer) => device.release(buffer),
    write: (buffer, source) => device.write(buffer, source),
    readSync: (buffer, target) => device.readSync(buffer, target),
    refuses: (kernel, attributes) => device.refuses(kernel, attributes),
    memory: () => device.memory(),
    run(kernel, buffers, attributes) {
      device.run(kernel, buffers, attributes);
      const output = buffers[kernelTable[kernel].inputs.length]!;
      const values = new Float32Array(bytes.get(output)! / 4);
      device.readSync(output, values);
      damage(values);
      device.write(output, values);
    },
  };
}
