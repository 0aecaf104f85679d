import { RandomStream, streams } from '../random.js';
import { elementCount, type ParameterSpec } from './layers.js';

/**
 * Values with which a parameter begins: weights and biases uniform in [-1/sqrt(fanIn), 1/sqrt(fanIn)), which is
 * PyTorch's default (He et al., "Delving deep into rectifiers", ICCV 2015, with a = sqrt(5)); normalisations as identity.
 * A pure function of seed and position in the list of parameters: the same on every device.
 */
export function initialValues({ shape, initialization }: ParameterSpec, seed: number, index: number): Float32Array {
  const values = new Float32Array(elementCount(shape));
  if (initialization === 'ones') values.fill(1);
  else if (initialization !== 'zeros') {
    const bound = 1 / Math.sqrt(initialization.fanIn);
    const random = new RandomStream(seed, streams.initialization, index);
    for (let i = 0; i < values.length; i++) values[i] = random.uniformBetween(-bound, bound);
  }
  return values;
}
