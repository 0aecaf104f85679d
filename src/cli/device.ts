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
  // Asked of the device: where no precision was chosen, each device has its own default.
  const settings = { exact: options.exact ?? false, precision: selected.device.precision ?? 'float32' };
  terminal.note(`Device ${selected.why} ${describeSettings(selected.device.name, settings)}`);
  return { ...selected, settings };
}

/** Minimal filtering is mentioned only where there is any: not on cuda. */
function describeSettings(device: Device['name'], { exact, precision }: UsedSettings): string {
  if (exact) return `Operands ${precision}, plain sums only (--exact).`;
  if (device === 'cuda') return `Operands of the convolutions ${precision}.`;
  return `Operands ${precision}, minimal filtering where it is faster.`;
}
