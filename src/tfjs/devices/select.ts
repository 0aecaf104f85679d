import { engine, registerBackend, removeBackend, setBackend } from '#tfjs';
import { VersemiError } from '../../errors.js';
import { VersemiBackend } from '../backend/backend.js';
import { findDelegates } from '../backend/delegate-backends.js';
import { registerKernels } from '../backend/register.js';
import type { Device, DeviceSettings } from './device.js';

/** Settings of a device. */
export type DeviceOptions = DeviceSettings;

/** The settings of a device among other options, and only those that are given: what is not keeps its default. */
export function deviceOptions({ threads, exact, precision }: DeviceOptions): DeviceOptions {
  return {
    ...(threads === undefined ? {} : { threads }),
    ...(exact === undefined ? {} : { exact }),
    ...(precision === undefined ? {} : { precision }),
  };
}

/** Best first. */
const deviceNames = ['cuda', 'cpu', 'wasm'] as const;
type DeviceName = (typeof deviceNames)[number];

/** Whether a backend can be used, and a sentence that explains it. */
export interface BackendStatus {
  readonly backend: `versemi-${DeviceName}`;
  readonly device: DeviceName;
  readonly available: boolean;
  readonly why: string;
}

/** A device by name, or the best one. */
export type DeviceChoice = 'auto' | DeviceName;

/** The device that was chosen, and why. */
export interface SelectedDevice {
  /** Name of the TF.js backend, now the current one. */
  readonly backend: string;
  readonly device: Device;
  /** One sentence: what was chosen and why. */
  readonly why: string;
}

interface Registration {
  readonly options: DeviceOptions;
  readonly make: () => VersemiBackend | Promise<VersemiBackend>;
  /** Made ahead of TF.js by selectDevice, until TF.js takes it: TF.js would log an error and go on. */
  made?: VersemiBackend;
}

const registrations = new Map<string, Registration>();

/**
 * Registers `versemi-cuda` (where the native addon has a GPU), `versemi-cpu` (where the addon loads) and `versemi-wasm` with
 * TF.js, and finds out where the kernels go that they do not have. Idempotent. The current backend stays the current one;
 * use tf.setBackend or {@link selectDevice}.
 * @returns best first
 */
export async function registerVersemiBackends(options: DeviceOptions = {}): Promise<BackendStatus[]> {
  return registerAll(deviceNames, () => options);
}

async function registerAll(
  devices: readonly DeviceName[],
  optionsOf: (device: DeviceName) => DeviceOptions,
): Promise<BackendStatus[]> {
  const current = engine().backendName;
  const delegates = await findDelegates();
  if (current && engine().backendName !== current) await setBackend(current);
  const statuses: BackendStatus[] = [];
  for (const device of devices)
    statuses.push(
      device === 'wasm'
        ? await registerWasm(optionsOf(device), delegates)
        : await registerNative(device, optionsOf(device), delegates),
    );
  return statuses;
}

async function registerNative(
  device: 'cuda' | 'cpu',
  options: DeviceOptions,
  delegates: string,
): Promise<BackendStatus> {
  const backend = `versemi-${device}` as const;
  let native: typeof import('./native-device.js');
  try {
    native = await import('./native-device.js');
  } catch (error) {
    return { backend, device, available: false, why: `the native addon needs Node: ${(error as Error).message}` };
  }
  const reason = device === 'cuda' ? native.cudaUnavailableReason() : native.nativeUnavailableReason();
  if (reason !== null) return { backend, device, available: false, why: reason };
  // Behind WebAssembly, as long as no GPU has verified it: TF.js must not take it by itself.
  const priority = device === 'cuda' ? 3 : 5;
  register(backend, options, priority, () => new VersemiBackend(backend, native.loadNativeDevice(options, device)));
  return { backend, device, available: true, why: `${reasons[device]}. ${delegates}` };
}

async function registerWasm(options: DeviceOptions, delegates: string): Promise<BackendStatus> {
  const backend = 'versemi-wasm';
  const device = 'wasm';
  let createWasmDevice: (options: DeviceSettings) => Promise<Device>;
  try {
    ({ createWasmDevice } = await import('./wasm-device.js'));
  } catch (error) {
    return { backend, device, available: false, why: `WebAssembly is not available: ${(error as Error).message}` };
  }
  register(backend, options, 4, async () => new VersemiBackend(backend, await createWasmDevice(options)));
  return { backend, device, available: true, why: `${reasons[device]}. ${delegates}` };
}

/** Why a device can be used. */
const reasons: Readonly<Record<DeviceName, string>> = {
  cuda: 'the native addon finds a GPU',
  cpu: 'the native addon loads',
  wasm: 'WebAssembly runs everywhere',
};

function register(name: string, options: DeviceOptions, priority: number, make: Registration['make']): void {
  const before = registrations.get(name);
  if (before !== undefined && engine().registryFactory[name] !== undefined) {
    const changes = changedSettings(before.options, options);
    if (changes === '') return;
    const tensors = engine().registry[name]?.numDataIds() ?? 0;
    if (tensors > 0)
      throw new VersemiError('DEVICE_UNAVAILABLE', {
        field: name,
        expected: `no live tensors when settings of the device change (${changes})`,
        found: `${tensors}`,
        remedy: 'Dispose of them, or choose the settings before the first tensor is made.',
      });
    removeBackend(name);
  }
  const registration: Registration = { options, make };
  registrations.set(name, registration);
  registerBackend(name, () => take(registration), priority);
  registerKernels(name);
}

/** A backend is handed over once: TF.js disposes of it when the engine is reset, and then asks for another. */
function take(registration: Registration): VersemiBackend | Promise<VersemiBackend> {
  const { made } = registration;
  delete registration.made;
  return made ?? registration.make();
}

/** Settings that are asked for and differ from what a device was made with; one that nobody asks for stays. */
function changedSettings(before: DeviceOptions, asked: DeviceOptions): string {
  return (['threads', 'exact', 'precision'] as const)
    .filter((name) => asked[name] !== undefined && asked[name] !== before[name])
    .map((name) => `${name}: ${asked[name]}`)
    .join(', ');
}

/**
 * Registers the backends, chooses one and makes it TF.js's current backend. `auto` is the addon's CPU device if it loads,
 * else WebAssembly. The CUDA device is taken only by name, as long as it has run on the emulator alone and on no GPU
 * (native/cuda/README.md).
 * @throws VERSEMI_DEVICE_UNAVAILABLE where the device that was asked for cannot be used
 */
export async function selectDevice(
  choice: DeviceChoice = 'auto',
  options: DeviceOptions = {},
): Promise<SelectedDevice> {
  if (choice !== 'auto' && !deviceNames.includes(choice))
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: 'device',
      expected: 'auto, cuda, cpu or wasm',
      found: String(choice),
    });
  // To ask whether there is a GPU begins to use it: only where it was asked for. What was not asked for keeps its settings.
  const devices = deviceNames.filter((device) => device !== 'cuda' || choice === 'cuda');
  const all = await registerAll(devices, (device) => (choice === 'auto' || choice === device ? options : {}));
  const status = all.find(({ device, available }) => (choice === 'auto' ? available : choice === device));
  if (status === undefined || !status.available)
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: choice,
      found: status?.why ?? all.map(({ device, why }) => `${device}: ${why}`).join(' '),
      remedy: choice === 'cuda' ? 'Use the device cpu or wasm.' : 'Use the device wasm.',
    });
  const backend = await activate(status.backend);
  return { backend: backend.name, device: backend.device, why: explain(choice, status, all, backend.device) };
}

async function activate(name: string): Promise<VersemiBackend> {
  const registration = registrations.get(name)!;
  if (engine().registry[name] === undefined) registration.made = await registration.make();
  await setBackend(name);
  return engine().registry[name] as VersemiBackend;
}

function explain(choice: DeviceChoice, status: BackendStatus, all: readonly BackendStatus[], device: Device): string {
  const what = `${device.name}: ${device.description}`;
  if (choice !== 'auto') return `${what}, because it was asked for.`;
  // Each better device that cannot be used, with its reason; those with the same reason together.
  const better = new Map<string, string[]>();
  for (const { device, why } of all.slice(0, all.indexOf(status))) {
    const reason = why.split(/\. /)[0]!.replace(/\.$/, '');
    better.set(reason, [...(better.get(reason) ?? []), device]);
  }
  const without = [...better].map(([reason, names]) => `; no ${names.join(' or ')}: ${reason}`);
  return `${what}, because ${reasons[status.device]}${without.join('')}.`;
}
