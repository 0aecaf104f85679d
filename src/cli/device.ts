import { type DeviceChoice, type Precision, type SelectedDevice, selectDevice } from '../tfjs/index.js';
import type { Terminal } from './terminal.js';

export interface DeviceArguments {
  readonly device: DeviceChoice;
  readonly threads?: number;
  readonly precision?: Precision;
}

/** Chooses the device and says why. */
export async function chooseDevice({ device, threads }: DeviceArguments, terminal: Terminal): Promise<SelectedDevice> {
  const selected = await selectDevice(device, threads === undefined ? {} : { threads });
  terminal.note(`Device ${selected.why}`);
  return selected;
}
