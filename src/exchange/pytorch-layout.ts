/**
 * How PyTorch code of this field names and lays out the parameters of a V-Net, beside ours (src/model/layers.ts). Two layouts are known:
 * `versemi`, the released network (github maxwell0027/VerSemi, file vnet_odod_mix.py), and `vnet`, the V-Net of UA-MT
 * (github yulequan/UA-MT), which SSL4MIS and its successors took over: names and shapes were read off these programs.
 */

import { VersemiError } from '../errors.js';
import { type NetworkConfig, type ParameterSpec, parameterSpecs } from '../model/layers.js';
import { versemi } from '../model/versemi.js';

/**
 * Order of the spatial axes that a PyTorch network sees. `xyz`: arrays as h5py, nibabel and pynrrd index them, which the programs above
 * train on; `zyx`: arrays of SimpleITK, and ours.
 */
export type AxisOrder = 'xyz' | 'zyx';

/** For each tap of a cubic kernel in our order z, y, x: its place in the other order. */
function tapOrder(side: number, axes: AxisOrder): number[] {
  return Array.from({ length: side ** 3 }, (_, tap) => {
    if (axes === 'zyx') return tap;
    const [z, y, x] = [Math.floor(tap / side ** 2), Math.floor(tap / side) % side, tap % side];
    return (x * side + y) * side + z;
  });
}

type KernelShape = readonly [number, number, number, number, number];

/** For each element of a kernel [k, k, k, a, b] of ours, its place in [b, a, k, k, k]. */
function channelsFirst([side, , , a, b]: KernelShape, axes: AxisOrder): Uint32Array {
  const taps = tapOrder(side, axes);
  const places = new Uint32Array(taps.length * a * b);
  for (const [tap, place] of taps.entries())
    for (let row = 0; row < a; row++)
      for (let column = 0; column < b; column++)
        places[(tap * a + row) * b + column] = (column * a + row) * taps.length + place;
  return places;
}

/**
 * A kernel [k, k, k, a, b] as PyTorch and ONNX have it: [b, a, k, k, k]. That is [to, from, k, k, k] of a convolution and
 * [from, to, k, k, k] of a transposed one, whose kernel is stored as that of the convolution which it transposes.
 */
export function toChannelsFirst(values: Float32Array, shape: KernelShape, axes: AxisOrder = 'zyx'): Float32Array {
  const result = new Float32Array(values.length);
  for (const [own, place] of channelsFirst(shape, axes).entries()) result[place] = values[own]!;
  return result;
}

/** The way back of {@link toChannelsFirst}. */
export function fromChannelsFirst(values: Float32Array, shape: KernelShape, axes: AxisOrder): Float32Array {
  return Float32Array.from(channelsFirst(shape, axes), (place) => values[place]!);
}

const numerals = 'one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen'.split(' ');

/** Name of a block. Blocks are counted along the network: down, the bottleneck, and up again. */
export function blockName(index: number): string {
  return `block_${numerals[index]}`;
}

/** The layers of a block stand in one list with their normalisations and ReLUs: so many places from one convolution to the next. */
export const placesPerConvolution = 3;

/** Name of a module of the trunk by our name, `encoder.2.1` -> `block_three.conv.3`. */
function trunkModule(name: string, levels: number): string {
  const [kind, level, place] = [name.split('.')[0], ...name.split('.').slice(1).map(Number)] as [
    string,
    number,
    number,
  ];
  if (kind === 'down') return `${blockName(level)}_dw.conv.0`;
  if (kind === 'up') return `${blockName(2 * levels - 3 - level)}_up.conv.0`;
  const index = kind === 'encoder' ? level : 2 * levels - 2 - level;
  return `${blockName(index)}.conv.${placesPerConvolution * place}`;
}

/** A parameter or statistic of ours and what it is called in PyTorch. */
export interface NamedPair {
  readonly ours: ParameterSpec;
  readonly theirs: string;
  /** Shape in PyTorch. */
  readonly shape: readonly number[];
}

/**
 * Other programs know the network of versemi alone.
 * @throws VERSEMI_FORMAT_UNSUPPORTED for a network of one's own
 */
export function requireVersemiNetwork({ architecture }: Pick<NetworkConfig, 'architecture'>, file?: string): void {
  if (architecture === undefined || architecture === versemi.name) return;
  throw new VersemiError('FORMAT_UNSUPPORTED', {
    ...(file === undefined ? {} : { file }),
    field: 'network.architecture',
    expected: "versemi's own network, which is known to other programs",
    found: architecture,
    remedy: 'Write the network for the other program yourself: readModel gives the weights by name.',
  });
}

/** All convolutions of the trunk. */
export function trunkPairs(config: NetworkConfig): NamedPair[] {
  return parameterSpecs(config)
    .filter(({ name }) => /^(encoder|down|up|decoder)\./.test(name))
    .map((ours) => {
      const [module, part] = [ours.name.slice(0, ours.name.lastIndexOf('.')), ours.name.split('.').at(-1)!];
      const [side, , , a, b] = ours.shape;
      const shape = part === 'bias' ? ours.shape : [b!, a!, side!, side!, side!];
      return { ours, theirs: `${trunkModule(module, config.levels)}.${part}`, shape };
    });
}

/** Rows of the released controller, and which of them are used: its second last layer, as large as the first, feeds no output. */
export function controllerRows({ headWidth: head }: Pick<NetworkConfig, 'headWidth'>): {
  readonly rows: number;
  readonly used: readonly number[];
} {
  const sizes = [head * head, head * head, 2 * head, 2 * head, head, head, 2, 2];
  const unused = [3, 7];
  const used: number[] = [];
  let rows = 0;
  for (const [i, size] of sizes.entries()) {
    if (!unused.includes(i)) for (let row = 0; row < size; row++) used.push(rows + row);
    rows += size;
  }
  return { rows, used };
}

/** Vectors outside of the trunk that both sides hold in the same form: ours, and the names in the released network. */
export const headVectors: Readonly<Record<string, string>> = {
  'gap.gamma': 'GAP.0.weight',
  'gap.beta': 'GAP.0.bias',
  'gap.movingMean': 'GAP.0.running_mean',
  'gap.movingVariance': 'GAP.0.running_var',
  'prehead.gamma': 'precls_conv.0.weight',
  'prehead.beta': 'precls_conv.0.bias',
  'prehead.movingMean': 'precls_conv.0.running_mean',
  'prehead.movingVariance': 'precls_conv.0.running_var',
  'prehead.bias': 'precls_conv.2.bias',
};

export const headNames = {
  prehead: 'precls_conv.2.weight',
  controllerWeight: 'controller.weight',
  controllerBias: 'controller.bias',
} as const;

/** Whether the released program can load weights of a network as it is: its sizes are fixed in its source. */
export function isReleasedNetwork({
  baseWidth,
  levels,
  convolutions,
  headWidth,
  tasks,
  ...options
}: NetworkConfig): boolean {
  return (
    baseWidth === 16 &&
    levels === 5 &&
    convolutions.join() === '1,2,3,3,3' &&
    headWidth === 8 &&
    tasks === 4 &&
    options.fullResolutionSkip !== true &&
    options.fullResolutionBlock !== true
  );
}
