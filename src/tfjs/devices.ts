import { engine, findBackend, registerBackend, removeBackend, setBackend } from '@tensorflow/tfjs-core';
import { VersemiError } from '../errors.js';
import { VersemiBackend } from './backend.js';
import { findDelegates } from './delegate-backends.js';
import type { Device } from './device.js';
import { registerKernels } from './register.js';

export interface DeviceOptions {
  /** Default: VERSEMI_THREADS, else all cores that this process may use. */
  readonly threads?: number;
}

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

/** Options that each backend was registered with. */
const registrations = new Map<string, DeviceOptions>();

/** Why a backend did not start. */
const failures = new Map<string, unknown>();

/**
 * Registers `versemi-cpu` (where the native addon loads) and `versemi-wasm` with TF.js, and finds out where the kernels go
 * that they do not have. Idempotent. The current backend stays the current one; use tf.setBackend or {@link selectDevice}.
 */
export async function registerVersemiBackends(options: DeviceOptions = {}): Promise<BackendStatus[]> {
  const current = engine().backendName;
  const delegates = await findDelegates();
  if (current && engine().backendName !== current) await setBackend(current);
  return [await registerCpu(options, delegates), await registerWasm(options, delegates)];
}

async function registerCpu(options: DeviceOptions, delegates: string): Promise<BackendStatus> {
  const backend = 'versemi-cpu';
  try {
    const native = await import('./native-device.js');
    const reason = native.nativeUnavailableReason();
    if (reason !== null) return { backend, available: false, why: reason };
    register(backend, options, 5, () => new VersemiBackend(backend, native.loadNativeDevice(options)));
  } catch (error) {
    // Outside Node the module cannot even be loaded.
    return { backend, available: false, why: `the native addon needs Node: ${(error as Error).message}` };
  }
  return { backend, available: true, why: `The native addon loads. ${delegates}` };
}

async function registerWasm(options: DeviceOptions, delegates: string): Promise<BackendStatus> {
  const backend = 'versemi-wasm';
  let createWasmDevice: (options: DeviceOptions) => Promise<Device>;
  try {
    ({ createWasmDevice } = await import('./wasm-device.js'));
  } catch (error) {
    return { backend, available: false, why: `WebAssembly is not available: ${(error as Error).message}` };
  }
  register(backend, options, 4, async () => new VersemiBackend(backend, await createWasmDevice(options)));
  return { backend, available: true, why: `WebAssembly runs everywhere. ${delegates}` };
}

function register(
  name: string,
  options: DeviceOptions,
  priority: number,
  factory: () => VersemiBackend | Promise<VersemiBackend>,
): void {
  const before = registrations.get(name);
  if (before !== undefined) {
    if (options.threads === undefined || options.threads === before.threads) return;
    const running = engine().registryFactory[name] && engine().registry[name];
    if (running && running.numDataIds() > 0)
      throw new VersemiError('DEVICE_UNAVAILABLE', {
        field: name,
        expected: `no live tensors when the number of threads changes to ${options.threads}`,
        found: `${running.numDataIds()}`,
        remedy: 'Dispose of them, or choose the number of threads before the first tensor is made.',
      });
    removeBackend(name);
  }
  registrations.set(name, options);
  registerBackend(
    name,
    () => {
      // TF.js only logs why a backend does not start; selectDevice throws it.
      try {
        const backend = factory();
        if (backend instanceof Promise) backend.catch((error: unknown) => failures.set(name, error));
        return backend;
      } catch (error) {
        failures.set(name, error);
        throw error;
      }
    },
    priority,
  );
  registerKernels(name);
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
  const [cpu, wasm] = (await registerVersemiBackends(options)) as [BackendStatus, BackendStatus];
  const status = choice === 'cpu' || (choice === 'auto' && cpu.available) ? cpu : wasm;
  if (!status.available)
    throw new VersemiError('DEVICE_UNAVAILABLE', { field: choice, found: status.why, remedy: 'Use the device wasm.' });
  const backend = await activate(status.backend);
  return { backend: backend.name, device: backend.device, why: explain(choice, status, cpu, backend.device) };
}

async function activate(name: string): Promise<VersemiBackend> {
  if (await setBackend(name)) return findBackend(name) as VersemiBackend;
  const failure = failures.get(name);
  if (failure instanceof VersemiError) throw failure;
  const found = failure instanceof Error ? failure.message : 'a backend that does not start';
  throw new VersemiError('DEVICE_UNAVAILABLE', { field: name, found }, failure);
}

function explain(choice: DeviceChoice, status: BackendStatus, cpu: BackendStatus, device: Device): string {
  const what = `${device.name}: ${device.description}`;
  if (choice !== 'auto') return `${what}, because it was asked for.`;
  if (status === cpu) return `${what}, because the native addon loads.`;
  return `${what}, because ${cpu.why}`;
}
