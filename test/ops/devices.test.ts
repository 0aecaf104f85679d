/** The selftest on every device of this machine, and that the selftest finds faults. */
import * as tf from '@tensorflow/tfjs-core';
import t from 'tap';
import { VersemiBackend } from '../../src/tfjs/backend/backend.js';
import { registerKernels } from '../../src/tfjs/backend/register.js';
import type { Device } from '../../src/tfjs/devices/device.js';
import { registerVersemiBackends, selectDevice } from '../../src/tfjs/index.js';
import { checkCase } from '../../src/tfjs/selftest/check-case.js';
import { checkGraph } from '../../src/tfjs/selftest/check-graph.js';
import { graphCases } from '../../src/tfjs/selftest/graph-cases.js';
import { opCases, runSelftest } from '../../src/tfjs/selftest/index.js';
import { LoweredDevice } from '../../src/tfjs/selftest/lowered-device.js';
import { isLowered, runLowered } from '../../src/tfjs/selftest/lowered-kernels.js';
import { rounded } from '../../src/tfjs/selftest/precision.js';
import { inputCount } from '../../src/tfjs/table/call-check.js';
import { type KernelName, kernelTable } from '../../src/tfjs/table/kernel-table.js';

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

/** Plain arithmetic in bfloat16; `damaged` may change what a row has written first. */
class NarrowDevice extends LoweredDevice {
  readonly precision = 'bfloat16' as const;
  override round = (value: number) => rounded(value, 'bfloat16');
  override like = { precision: 'bfloat16' } as const;
  damaged: (row: KernelName, values: Float32Array) => void = () => {};
  /** Elements behind outputs that are not theirs: plain kernels fill whole arrays. */
  guardElements = 0;
  override run(row: KernelName, buffers: readonly number[], attributes: ArrayLike<number>): void {
    const inputs = inputCount(row, buffers.length);
    const own = (buffer: number, i: number) => {
      const values = this.get(buffer);
      return i < inputs ? values : values.subarray(0, values.length - this.guardElements);
    };
    if (this.guardElements === 0) super.run(row, buffers, attributes);
    else
      runLowered(
        row,
        buffers.map((buffer, i) => (buffer === 0 ? null : own(buffer, i))),
        attributes,
        this.round,
        true,
      );
    this.damaged(row, this.get(buffers[inputCount(row, buffers.length)]!));
  }
}

t.test('in bfloat16 rounding passes and faults are found', async (t) => {
  const device = new NarrowDevice();
  device.guardElements = 32;
  const rows = (Object.keys(kernelTable) as KernelName[]).filter(isLowered);
  t.equal(rows.length, 10);
  const cases = rows.map((row) => opCases.find((each) => each.row === row)!);
  for (const each of cases) {
    device.damaged = () => {};
    t.ok(checkCase(device, each).ok, `${each.row}: ${checkCase(device, each).detail}`);
    device.damaged = (_, values) => {
      const own = values.subarray(0, values.length - 32);
      const size = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0) / own.length);
      values[values.length - 33]! += size / 4;
    };
    t.notOk(checkCase(device, each).ok, `a quarter more in one number: ${each.row}`);
  }

  device.guardElements = 0;
  const backend = 'versemi-narrow';
  tf.registerBackend(backend, () => new VersemiBackend(backend, device));
  registerKernels(backend);
  const network = graphCases.find(({ name }) => name.startsWith('a small network'))!;
  device.damaged = () => {};
  t.ok((await checkGraph(backend, device, network)).ok);
  for (const row of ['conv3d_grad_input', 'conv3d_grad_weight', 'instance_norm_relu_grad'] as const) {
    // As if a gradient were added twice.
    device.damaged = (which, values) => {
      if (which === row) for (let i = 0; i < values.length; i++) values[i]! *= 2;
    };
    t.notOk((await checkGraph(backend, device, network)).ok, `twice the result of ${row}`);
  }
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
      const output = buffers[inputCount(kernel, buffers.length)]!;
      const values = new Float32Array(bytes.get(output)! / 4);
      device.readSync(output, values);
      damage(values);
      device.write(output, values);
    },
  };
}
