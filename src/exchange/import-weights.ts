/** Weights of another program's network as the parameters of ours. */

import { VersemiError } from '../errors.js';
import { bufferSpecs, initialValues, levelWidth, type NetworkConfig, parameterSpecs } from '../model/layers.js';
import { turnUnlessAborted, type VerbOptions } from '../verb-options.js';
import {
  type AxisOrder,
  blockName,
  controllerRows,
  fromChannelsFirst,
  headNames,
  headVectors,
  placesPerConvolution,
  requireVersemiNetwork,
  trunkPairs,
} from './pytorch-layout.js';
import type { ForeignTensor, StateDict } from './weights-file.js';

/** Layouts that are known: the released network of VerSemi, and the V-Net of UA-MT and SSL4MIS. */
export type Layout = 'versemi' | 'vnet';

/** A tensor has been taken. */
export interface ImportProgress {
  /** Its name in the file, without a prefix. */
  readonly tensor: string;
  /** Counts from 1 to total. */
  readonly index: number;
  readonly total: number;
}

/** How a checkpoint is read. */
export interface ImportOptions extends Omit<VerbOptions<ImportProgress>, 'onNotice'> {
  readonly file: string;
  /** Order of the spatial axes that the PyTorch network saw. */
  readonly axes: AxisOrder;
  /** Encoder and decoder alone; the rest begins with random numbers. A `vnet` has nothing else. */
  readonly trunkOnly: boolean;
  /** Of the random numbers. */
  readonly seed: number;
  /** Which dictionary of the file, by its path; default: the only one of a known layout. */
  readonly key?: string;
}

/** Weights of a checkpoint in the names and shapes of versemi, and what was not used. */
export interface ImportedWeights {
  readonly layout: Layout;
  readonly parts: 'whole' | 'trunk';
  /** Path of the dictionary that was taken. */
  readonly path: string;
  /** Parameters and buffers by name, in the shapes of `parameterSpecs` and `bufferSpecs`. */
  readonly values: Map<string, Float32Array>;
  /** How many tensors of the file were used. */
  readonly used: number;
  /** Tensors of the dictionary that have no counterpart. */
  readonly left: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

const firstLayer = 'block_one.conv.0.weight';

interface Candidate extends StateDict {
  /** What stands before every name: `module.` and the like. */
  readonly prefix: string;
}

/** Dictionaries with a network of a known layout. */
function candidatesOf(dicts: readonly StateDict[]): Candidate[] {
  return dicts.flatMap((dict) =>
    [...dict.tensors.keys()]
      .filter((name) => name === firstLayer || name.endsWith(`.${firstLayer}`))
      .map((name) => ({ ...dict, prefix: name.slice(0, -firstLayer.length) })),
  );
}

/** What a candidate is called in `--key`: its path, and the prefix where that names a network in it. */
function nameOf({ path, prefix }: Candidate): string {
  const part = prefix.replace(/\.$/, '');
  return part === '' || part === 'module' ? path : [path, part].filter((word) => word !== '').join('.');
}

function chosen(dicts: readonly StateDict[], { file, key }: ImportOptions): Candidate {
  const candidates = candidatesOf(dicts);
  const invalid = (field: string, expected: string, found: string, remedy: string) =>
    new VersemiError('MODEL_INVALID', { file, field, expected, found, remedy });
  if (candidates.length === 0) {
    const names = dicts.flatMap(({ tensors }) => [...tensors].map(([name, { shape }]) => `${name} [${shape}]`));
    throw invalid(
      'weights',
      `a network of a known layout (${firstLayer}: VerSemi, or the V-Net of UA-MT and SSL4MIS)`,
      names.length === 0
        ? 'no tensors'
        : `${names.length} tensors: ${names.slice(0, 8).join(', ')}${names.length > 8 ? ', ...' : ''}`,
      'Give a checkpoint of one of these networks.',
    );
  }
  const names = candidates.map(nameOf);
  const listed = names.map((name) => (name === '' ? '"" (the file itself)' : name)).join(', ');
  if (key !== undefined) {
    const at = names.indexOf(key);
    if (at < 0) throw invalid('--key', `one of ${listed}`, key, 'Name one of these.');
    return candidates[at]!;
  }
  if (candidates.length > 1)
    throw invalid('weights', 'one network', `${candidates.length}: ${listed}`, 'Choose one of them with --key NAME.');
  return candidates[0]!;
}

/** The tensors of a candidate by the names of the layout: without the prefix, convolutions of a block at every third place. */
function tensorsOf({ tensors, prefix }: Candidate): Map<string, ForeignTensor> {
  const own = [...tensors].filter(([name]) => name.startsWith(prefix));
  const stripped = new Map(own.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
  // Where no normalisation stands behind the convolutions, they follow each other at every second place.
  const places = new Map<string, number[]>();
  for (const [name, { shape }] of stripped) {
    const [, block, place] = /^(block_[a-z]+)\.conv\.(\d+)\.weight$/.exec(name) ?? [];
    if (block === undefined || shape.length !== 5) continue;
    const ofBlock = places.get(block) ?? [];
    ofBlock.push(Number(place));
    places.set(block, ofBlock);
  }
  const indices = new Map<string, number>();
  for (const [block, ofBlock] of places)
    for (const [index, place] of ofBlock.sort((a, b) => a - b).entries()) indices.set(`${block} ${place}`, index);
  return new Map(
    [...stripped].map(([name, tensor]) => {
      const [, block, place, part] = /^(block_[a-z]+)\.conv\.(\d+)\.(weight|bias)$/.exec(name) ?? [];
      const index = indices.get(`${block} ${Number(place)}`);
      return [index === undefined ? name : `${block}.conv.${placesPerConvolution * index}.${part}`, tensor];
    }),
  );
}

/** Settings of the network that a checkpoint shows, beside those of the plan. @throws VERSEMI_PLAN_INVALID where they differ */
function requireSameNetwork(
  tensors: ReadonlyMap<string, ForeignTensor>,
  layout: Layout,
  config: NetworkConfig,
  whole: boolean,
  file: string,
): void {
  const blocks = [...tensors.keys()].filter((name) => /^block_[a-z]+\.conv\.0\.weight$/.test(name)).length;
  const levels = [...tensors.keys()].filter((name) => /^block_[a-z]+_dw\.conv\.0\.weight$/.test(name)).length + 1;
  const counts = new Map<string, number>();
  for (const [name, { shape }] of tensors) {
    const found = /^(block_[a-z]+)\.conv\.\d+\.weight$/.exec(name)?.[1];
    if (found !== undefined && shape.length === 5) counts.set(found, (counts.get(found) ?? 0) + 1);
  }
  const convolutions = Array.from({ length: levels }, (_, level) => counts.get(blockName(level)) ?? 0);
  const block = blocks === 2 * levels - 1;
  const width = tensors.get(firstLayer)!.shape[0]!;
  const inputs = tensors.get(headNames.controllerWeight)?.shape[1] ?? 0;
  const found: Record<string, [theirs: unknown, ours: unknown]> = {
    'network.baseWidth': [width, config.baseWidth],
    'network.levels': [levels, config.levels],
    'network.convolutions': [convolutions.join(', '), config.convolutions.join(', ')],
    'network.fullResolutionBlock': [block, config.fullResolutionBlock === true],
    // Weights do not show a skip connection. Each layout has its own: the V-Net has the skip, the released network has none.
    'network.fullResolutionSkip': [layout === 'vnet', config.fullResolutionSkip === true],
  };
  if (whole) {
    found['network.headWidth'] = [tensors.get(headNames.prehead)?.shape[0], config.headWidth];
    found['number of tasks'] = [inputs - width * 2 ** (levels - 1) - 1, config.tasks];
  }
  const differing = Object.entries(found).filter(([, [theirs, ours]]) => String(theirs) !== String(ours));
  if (differing.length === 0) return;
  const list = (side: 0 | 1) => differing.map(([name, values]) => `${name} ${values[side]}`).join('; ');
  const tasks = differing.some(([name]) => name === 'number of tasks');
  throw new VersemiError('PLAN_INVALID', {
    file,
    field: 'plan of the import',
    expected: `${list(0)} (of the checkpoint)`,
    found: list(1),
    remedy: `Set these fields in the plan${tasks ? ', its tasks in the order of the checkpoint, or take the trunk alone with --trunk' : ''}.`,
  });
}

/**
 * Weights of a checkpoint as those of a model, tensor by tensor.
 * @param dicts of the file
 * @param config of the plan that the model will have
 * @throws VERSEMI_MODEL_INVALID (no network of a known layout, or several; a tensor that is missing or has another shape),
 *   VERSEMI_PLAN_INVALID (the plan's network has other settings), VERSEMI_ABORTED by `signal`
 */
export async function importWeights(
  dicts: readonly StateDict[],
  config: NetworkConfig,
  options: ImportOptions,
): Promise<ImportedWeights> {
  const { file, axes, seed, signal, onProgress } = options;
  await turnUnlessAborted(signal, 'import');
  requireVersemiNetwork(config);
  const candidate = chosen(dicts, options);
  const tensors = tensorsOf(candidate);
  const layout: Layout = tensors.has(headNames.controllerWeight) ? 'versemi' : 'vnet';
  const parts = layout === 'vnet' || options.trunkOnly ? 'trunk' : 'whole';
  requireSameNetwork(tensors, layout, config, parts === 'whole', file);
  const pairs = trunkPairs(config);
  const total = pairs.length + (parts === 'whole' ? headTensors : 0);
  const used = new Set<string>();
  /** The elements of a tensor, after its shape has been found to be the expected one. */
  const take = (name: string, shape: readonly number[]): Float32Array => {
    const tensor = tensors.get(name);
    const invalid = (expected: string, found: string) =>
      new VersemiError('MODEL_INVALID', {
        ...{ file, field: `${candidate.prefix}${name}`, expected, found },
        remedy: 'Give a whole checkpoint of the network that the plan describes.',
      });
    if (tensor === undefined || tensor.shape.join() !== shape.join())
      throw invalid(`a tensor [${shape}]`, tensor === undefined ? 'none' : `[${tensor.shape}]`);
    used.add(name);
    const values = tensor.values();
    if (!values.every(Number.isFinite)) throw invalid('finite numbers', 'NaN or infinity');
    onProgress?.({ tensor: name, index: used.size, total });
    return values;
  };
  // What the file does not have begins as in a new network.
  const values = new Map<string, Float32Array>();
  for (const specs of [parameterSpecs(config), bufferSpecs(config)])
    for (const [index, spec] of specs.entries()) values.set(spec.name, initialValues(spec, seed, index));
  type Kernel = [number, number, number, number, number];
  for (const { ours, theirs, shape } of pairs) {
    await turnUnlessAborted(signal, 'import');
    const data = take(theirs, shape);
    values.set(ours.name, shape.length === 1 ? data : fromChannelsFirst(data, ours.shape as Kernel, axes));
  }
  if (parts === 'whole') takeHead(config, take, values);
  const left = [...tensors]
    .filter(([name]) => !used.has(name) && !name.endsWith('num_batches_tracked'))
    .map(([name, { shape }]) => ({ name: `${candidate.prefix}${name}`, shape }));
  return { layout, parts, path: nameOf(candidate), values, used: used.size, left };
}

/** Tensors that {@link takeHead} takes. */
const headTensors = Object.keys(headVectors).length + 3;

/** Everything behind the trunk. Of the controller the rows that the released network uses. */
function takeHead(
  config: NetworkConfig,
  take: (name: string, shape: readonly number[]) => Float32Array,
  values: Map<string, Float32Array>,
): void {
  const [width, head, prompts] = [levelWidth(config, 0), config.headWidth, config.tasks + 1];
  const channels = levelWidth(config, config.levels - 1);
  for (const [ours, theirs] of Object.entries(headVectors)) values.set(ours, take(theirs, [values.get(ours)!.length]));
  const prehead = take(headNames.prehead, [head, width, 1, 1, 1]);
  values.set('prehead.weight', fromChannelsFirst(prehead, [1, 1, 1, width, head], 'zyx'));

  const { rows, used } = controllerRows(config);
  const inputs = channels + prompts;
  const weight = take(headNames.controllerWeight, [rows, inputs, 1, 1, 1]);
  const bias = take(headNames.controllerBias, [rows]);
  const columns = (from: number, to: number) =>
    Float32Array.from({ length: (to - from) * used.length }, (_, i) => {
      const [input, row] = [from + Math.floor(i / used.length), used[i % used.length]!];
      return weight[row * inputs + input]!;
    });
  values.set('controller.weight', columns(0, channels));
  values.set('controller.prompt', columns(channels, inputs));
  values.set(
    'controller.bias',
    Float32Array.from(used, (row) => bias[row]!),
  );
}
