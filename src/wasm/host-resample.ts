import { type Triple, voxelCount } from '../volume/volume.js';
import { checkLength, type HostCore, type Scope } from './host-core.js';

/** Axis-aligned map from output to source voxel indices: source = output * scale + offset, per axis x, y, z. */
export interface GridMap {
  readonly scale: Triple;
  readonly offset: Triple;
}

/** Addresses of what assembly/volume/resample.ts calls a linear table. */
export interface LinearTable {
  /** Lower source index of each output index, i32. */
  readonly indices: number;
  /** Weight of the source index after it, f32. */
  readonly weights: number;
}

export function linearTable(
  { wasm }: HostCore,
  scope: Scope,
  count: number,
  size: number,
  scale: number,
  offset: number,
): LinearTable {
  const indices = scope.allocate(count * 4);
  const weights = scope.allocate(count * 4);
  wasm.linearTable(indices, weights, count, size, scale, offset);
  return { indices, weights };
}

/** Where slice `z` of the source lies in linear memory; keeps the two slices used last. */
export function sliceCache(
  bytes: number,
  scope: Scope,
  load: (z: number, address: number) => void,
): (z: number) => number {
  let recent = { z: -1, address: scope.allocate(bytes) };
  let older = { z: -1, address: scope.allocate(bytes) };
  return (z) => {
    if (recent.z !== z) {
      [recent, older] = [older, recent];
      if (recent.z !== z) {
        recent.z = z;
        load(z, recent.address);
      }
    }
    return recent.address;
  };
}

export function resampleOperations(core: HostCore) {
  const { wasm, memory, run } = core;

  /**
   * Label map by the largest trilinear weight among the labels (the argmax of the resampled one-hot map; the smaller
   * label where two are equal): smoother boundaries than nearest neighbour. Same conventions as resampleLinear.
   */
  function resampleLabels(data: Uint8Array, sizeVoxels: Triple, outSizeVoxels: Triple, map: GridMap): Uint8Array {
    checkLength(data, sizeVoxels, 'resampleLabels data');
    const [sizeX, sizeY, sizeZ] = sizeVoxels;
    const [outX, outY, outZ] = outSizeVoxels;
    const output = new Uint8Array(voxelCount(outSizeVoxels));
    run((scope) => {
      const x = linearTable(core, scope, outX, sizeX, map.scale[0], map.offset[0]);
      const y = linearTable(core, scope, outY, sizeY, map.scale[1], map.offset[1]);
      const z = linearTable(core, scope, outZ, sizeZ, map.scale[2], map.offset[2]);
      const votes = scope.zeros(256 * 4);
      const same = scope.allocate(sizeX + 16);
      const decided = scope.allocate(outX * outY);
      const slice = sliceCache(sizeX * sizeY + 32, scope, (index, address) => {
        const from = index * sizeX * sizeY;
        memory.uint8(address, sizeX * sizeY).set(data.subarray(from, from + sizeX * sizeY));
      });
      const lower = memory.int32(z.indices, outZ);
      const weight = memory.float32(z.weights, outZ);
      for (let k = 0; k < outZ; k++) {
        const low = slice(lower[k]!);
        const high = weight[k]! > 0 ? slice(lower[k]! + 1) : low;
        wasm.resampleLabelSlice(
          low, high, weight[k]!, sizeX, sizeY, decided, outX, outY, x.indices, x.weights, y.indices, y.weights, votes, same,
        ); // biome-ignore format: one line of numbers
        output.set(memory.uint8(decided, outX * outY), k * outX * outY);
      }
    });
    return output;
  }

  return { resampleLabels };
}
