/**
 * TF.js backends with fast 3-D convolutions: `versemi-cuda` and `versemi-cpu` (native addon) and `versemi-wasm` (WebAssembly
 * SIMD), TF.js's gradients in Node, and fused ops for 3-D segmentation. Existing TF.js code runs unchanged after
 *
 *     import * as tf from '@tensorflow/tfjs-core';
 *     import { selectDevice } from 'versemi/tfjs';
 *     await selectDevice('auto');
 *
 * versemi carries the parts of TF.js that it needs, and shares the engine of that code's copy. Who has no copy takes `tf` from here.
 */
import './backend/gradients.js';

/** The copy of TF.js's core that versemi carries. */
export * as tf from '#tfjs';

export { currentDevice } from './backend/backend.js';
export { type DispatchCounts, dispatchCounts, resetDispatchCounts } from './backend/dispatch-log.js';
export type {
  Device,
  DeviceMemory,
  DeviceSettings,
  DeviceSums,
  Precision,
  Recording,
  RowAnswer,
} from './devices/device.js';
export {
  type BackendStatus,
  type DeviceChoice,
  type DeviceOptions,
  deviceOptions,
  registerVersemiBackends,
  type SelectedDevice,
  selectDevice,
} from './devices/select.js';
export * from './ops/index.js';
