import { engine, registerBackend, removeBackend, setBackend } from '@tensorflow/tfjs-core';
import { VersemiError } from '../errors.js';
import { VersemiBackend } from './backend.js';
import { findDelegates } from './delegate-backends.js';
import type { Device, DeviceSettings } from './device.js';
import { registerKernels } from './register.js';

export type DeviceOptions = DeviceSettings;

/** Whether a backend can be used, and a sentence that explains it. */
export interface BackendStatus {
  readonly backend: 'versemi-cpu' | 'versemi-wasm';
  readonly available: boolean;
  readonly why: string;
}

export type DeviceChoice = 'auto' | 'cpu' | 'wasm';

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
  /** Made ahead of TF.js by selectDevice: TF.js would log an error and go on. */
  made?: VersemiBackend;
}

const registrations = new Map<string, Registration>();

/**
 * Registers `versemi-cpu` (where the native addon loads) and `versemi-wasm` with TF.js, and finds out where the kernels go
 * that they do not have. Idempotent. The current backend stays the current one; use tf.setBackend or {@link selectDevice}.
 */
export async function registerVersemiBackends(options: DeviceOptions = {}): Promise<BackendStatus[]> {
  return registerBoth(options, options);
}

async function registerBoth(cpu: DeviceOptions, wasm: DeviceOptions): Promise<[BackendStatus, BackendStatus]> {
  const current = engine().backendName;
  const delegates = await findDelegates();
  if (current && engine().backendName !== current) await setBackend(current);
  return [await registerCpu(cpu, delegates), await registerWasm(wasm, delegates)];
}

async function registerCpu(options: DeviceOptions, delegates: string): Promise<BackendStatus> {
  const backend = 'versemi-cpu';
  let native: typeof import('./native-device.js');
  try {
    native = await import('./native-device.js');
  } catch (error) {
    return { backend, available: false, why: `the native addon needs Node: ${(error as Error).message}` };
  }
  const reason = native.nativeUnavailableReason();
  if (reason !== null) return { backend, available: false, why: reason };
  register(backend, options, 5, () => new VersemiBackend(backend, native.loadNativeDevice(options)));
  return { backend, available: true, why: `The native addon loads. ${delegates}` };
}

async function registerWasm(options: DeviceOptions, delegates: string): Promise<BackendStatus> {
  const backend = 'versemi-wasm';
  let createWasmDevice: (options: DeviceSettings) => Promise<Device>;
  try {
    ({ createWasmDevice } = await import('./wasm-device.js'));
  } catch (error) {
    return { backend, available: false, why: `WebAssembly is not available: ${(error as Error).message}` };
  }
  register(backend, options, 4, async () => new VersemiBackend(backend, await createWasmDevice(options)));
  return { backend, available: true, why: `WebAssembly runs everywhere. ${delegates}` };
}

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
  registerBackend(name, () => registration.made ?? make(), priority);
  registerKernels(name);
}

/** Settings that are asked for and differ from what a device was made with; one that nobody asks for stays. */
function changedSettings(before: DeviceOptions, asked: DeviceOptions): string {
  return (['threads', 'exact', 'precision'] as const)
    .filter((name) => asked[name] !== undefined && asked[name] !== before[name])
    .map((name) => `${name}: ${asked[name]}`)
    .join(', ');
}

/**
 * Registers the backends, chooses one and makes it TF.js's current backend. `auto` is the native addon if it loads, else
 * WebAssembly.
 * @throws VERSEMI_DEVICE_UNAVAILABLE where the device that was asked for cannot be used
 */
export async function selectDevice(
  choice: DeviceChoice = 'auto',
  options: DeviceOptions = {},
): Promise<SelectedDevice> {
  if (choice !== 'auto' && choice !== 'cpu' && choice !== 'wasm')
    throw new VersemiError('DEVICE_UNAVAILABLE', {
      field: 'device',
      expected: 'auto, cpu or wasm',
      found: String(choice),
    });
  // A device that was not asked for keeps its threads.
  const [cpu, wasm] = await registerBoth(choice === 'wasm' ? {} : options, choice === 'cpu' ? {} : options);
  const status = choice === 'cpu' || (choice === 'auto' && cpu.available) ? cpu : wasm;
  if (!status.available)
    throw new VersemiError('DEVICE_UNAVAILABLE', { field: choice, found: status.why, remedy: 'Use the device wasm.' });
  const backend = await activate(status.backend);
  return { backend: backend.name, device: backend.device, why: explain(choice, status, cpu, backend.device) };
}

async function activate(name: string): Promise<VersemiBackend> {
  const registration = registrations.get(name)!;
  const running = engine().registry[name] as VersemiBackend | undefined;
  const backend = running ?? (await registration.make());
  registration.made = backend;
  await setBackend(name);
  return backend;
}

function explain(choice: DeviceChoice, status: BackendStatus, cpu: BackendStatus, device: Device): string {
  const what = `${device.name}: ${device.description}`;
  if (choice !== 'auto') return `${what}, because it was asked for.`;
  if (status === cpu) return `${what}, because the native addon loads.`;
  return `${what}, because ${cpu.why}`;
}
