/** Stands in for @tensorflow/tfjs-node (see delegates.test.ts): a backend `tensorflow` that makes itself current. */
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

tf.registerBackend('tensorflow', () => new MathBackendCPU(), 3);
tf.copyRegisteredKernels('cpu', 'tensorflow');
await tf.setBackend('tensorflow');
