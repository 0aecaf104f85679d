import {
  type Device,
  type DeviceChoice,
  type DeviceOptions,
  deviceOptions,
  type Precision,
  type SelectedDevice,
  selectDevice,
} from '../tfjs/index.js';
import type { Terminal } from './terminal.js';

export interface DeviceArguments extends DeviceOptions {
  readonly device: DeviceChoice;
}

/** How a device computes; in every JSON output beside its description. */
export interface UsedSettings {
  readonly exact: boolean;
  readonly precision: Precision;
}

export interface ChosenDevice extends SelectedDevice {
  readonly settings: UsedSettings;
}

/** Chooses the device and says why, and how it computes. */
export async function chooseDevice(options: DeviceArguments, terminal: Terminal): Promise<ChosenDevice> {
  const selected = await selectDevice(options.device, deviceOptions(options));
  // The device's own word: what was not asked for differs between devices.
  const settings = { exact: options.exact ?? false, precision: selected.device.precision ?? 'float32' };
  terminal.note(`Device ${selected.why} ${describeSettings(selected.device.name, settings)}`);
  return { ...selected, settings };
}

/** The kernels of cuda know no minimal filtering: there the operands alone are worth a word. */
function describeSettings(device: Device['name'], { exact, precision }: UsedSettings): string {
  if (exact) return `Operands ${precision}, plain sums only (--exact).`;
  if (device === 'cuda') return `Operands of the convolutions ${precision}.`;
  return `Operands ${precision}, minimal filtering where it is faster.`;
}
