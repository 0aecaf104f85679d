import { PartTable } from '../parts.js';
import { RandomStream, streams } from '../random.js';
import type { Architecture } from './architecture.js';
import { elementCount, type NetworkConfig, type ParameterSpec } from './shapes.js';
import { versemi } from './versemi.js';

export * from './shapes.js';

/** Networks by the name that `network.architecture` of a plan has; that of versemi is taken where a plan has none. */
const architectures = new PartTable<Architecture>('networks', [versemi]);

/** @throws VERSEMI_PART_UNKNOWN */
export function architectureOf({ architecture = versemi.name }: Pick<NetworkConfig, 'architecture'>): Architecture {
  return architectures.get(architecture, 'network.architecture');
}

/** All trained parameters; their order is part of the model file and of the seed. @throws VERSEMI_PART_UNKNOWN */
export function parameterSpecs(config: NetworkConfig): readonly ParameterSpec[] {
  return architectureOf(config).parameters(config);
}

/** Numbers that belong to the model and are not trained by gradients, such as moving statistics. @throws VERSEMI_PART_UNKNOWN */
export function bufferSpecs(config: NetworkConfig): readonly ParameterSpec[] {
  return architectureOf(config).buffers?.(config) ?? [];
}

export function parameterCount(config: NetworkConfig): number {
  return parameterSpecs(config).reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

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
