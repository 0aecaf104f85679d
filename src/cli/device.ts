import {
  type DeviceChoice,
  type DeviceOptions,
  type Precision,
  type SelectedDevice,
  selectDevice,
} from '../tfjs/index.js';
import type { Terminal } from './terminal.js';

export interface DeviceArguments {
  readonly device: DeviceChoice;
  readonly threads?: number;
  readonly exact?: boolean;
  readonly precision?: Precision;
}

/** How a device computes; in every JSON output beside its description. */
export interface UsedSettings {
  readonly exact: boolean;
  readonly precision: Precision;
}

export interface ChosenDevice extends SelectedDevice {
  readonly settings: UsedSettings;
}

export function settingsOf({ exact = false, precision = 'float32' }: Omit<DeviceArguments, 'device'>): UsedSettings {
  return { exact, precision };
}

/** Only what is given: what is not keeps its default. */
export function deviceOptions({ threads, exact, precision }: Omit<DeviceArguments, 'device'>): DeviceOptions {
  return {
    ...(threads === undefined ? {} : { threads }),
    ...(exact === undefined ? {} : { exact }),
    ...(precision === undefined ? {} : { precision }),
  };
}

/** Chooses the device and says why, and how it computes. */
export async function chooseDevice(options: DeviceArguments, terminal: Terminal): Promise<ChosenDevice> {
  const selected = await selectDevice(options.device, deviceOptions(options));
  const settings = settingsOf(options);
  terminal.note(`Device ${selected.why} ${describeSettings(settings)}`);
  return { ...selected, settings };
}

export function describeSettings({ exact, precision }: UsedSettings): string {
  return `Operands ${precision}, ${exact ? 'plain sums only (--exact)' : 'minimal filtering where it is faster'}.`;
}
