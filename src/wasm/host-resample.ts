import { type Triple, voxelCount } from '../volume/volume.js';
import { checkLength, type HostCore, type Scope, uint32View } from './host-core.js';

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

/** For each output index along an axis the source indices that lie under it, and how much of it each of them covers. */
interface ShareTable {
  /** First source index, and `taps` weights from it on, which add up to 1. */
  readonly first: Int32Array;
  readonly weights: Float32Array;
  readonly taps: number;
}

/**
 * Shares by length: output index i covers |scale| source voxels round i * scale + offset, and source voxel j the length from
 * j - 1/2 to j + 1/2. What lies beyond either end is that end's voxel.
 */
function shareTable(count: number, size: number, scale: number, offset: number): ShareTable {
  const width = Math.abs(scale);
  const taps = Math.min(size, Math.ceil(width) + 1);
  const first = new Int32Array(count);
  const weights = new Float32Array(count * taps);
  const inside = (index: number) => Math.min(size - 1, Math.max(0, index));
  for (let i = 0; i < count; i++) {
    const low = i * scale + offset - width / 2;
    const high = low + width;
    const [from, to] = [inside(Math.round(low)), inside(Math.ceil(high - 0.5))];
    const begin = Math.min(from, size - taps);
    first[i] = begin;
    for (let j = from; j <= to && j < begin + taps; j++) {
      const lower = j === 0 ? Number.NEGATIVE_INFINITY : j - 0.5;
      const upper = j === size - 1 ? Number.POSITIVE_INFINITY : j + 0.5;
      weights[i * taps + j - begin] = Math.max(0, Math.min(high, upper) - Math.max(low, lower)) / width;
    }
  }
  return { first, weights, taps };
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

  /**
   * Partial volumes: which labels fill the box of each output voxel, every source voxel being a box of one label. An output
   * voxel keeps its two largest labels as a label pair, a whole number below 2^24 that float32 holds exactly:
   * first + 256 * second + 65536 * share. `share`, 0 to 255, is what the second label has of both, in 1/510 (a half is 255);
   * a voxel of one label is that label. Of equal shares the smaller label comes first. A third label, at the line where
   * three structures meet, is left out, and the two others share its part.
   * @param map as for resampleLinear
   * @param ignored voxels of this label are left out; where there is nothing else the pair is 0
   */
  function resamplePairs(
    data: Uint8Array,
    sizeVoxels: Triple,
    outSizeVoxels: Triple,
    map: GridMap,
    ignored?: number,
  ): Float32Array {
    checkLength(data, sizeVoxels, 'resamplePairs data');
    const [sizeX, sizeY] = sizeVoxels;
    const [outX, outY, outZ] = outSizeVoxels;
    const plane = sizeX * sizeY;
    const output = new Float32Array(voxelCount(outSizeVoxels));
    const [x, y, z] = [0, 1, 2].map((axis) =>
      shareTable(outSizeVoxels[axis]!, sizeVoxels[axis]!, map.scale[axis]!, map.offset[axis]!),
    ) as [ShareTable, ShareTable, ShareTable];
    run((scope) => {
      const [firstX, weightsX, firstY, weightsY] = scope.place(x.first, x.weights, y.first, y.weights);
      const weightsZ = scope.allocate(z.taps * 4);
      const votes = scope.zeros(256 * 4);
      const found = scope.allocate(256);
      const decided = scope.allocate(outX * outY * 4);
      // Slice k of the source lies in place k mod taps: those of one output slice follow each other.
      const places = Array.from({ length: z.taps }, () => ({ slice: -1, address: scope.allocate(plane + 8) }));
      const slices = scope.allocate(z.taps * 4);
      for (let k = 0; k < outZ; k++) {
        const first = z.first[k]!;
        const addresses = Uint32Array.from({ length: z.taps }, (_, tap) => {
          const place = places[(first + tap) % z.taps]!;
          if (place.slice !== first + tap) {
            place.slice = first + tap;
            const from = place.slice * plane;
            memory.uint8(place.address, plane).set(data.subarray(from, from + plane));
          }
          return place.address;
        });
        uint32View(memory, slices, z.taps).set(addresses);
        memory.float32(weightsZ, z.taps).set(z.weights.subarray(k * z.taps, (k + 1) * z.taps));
        wasm.pairSlice(
          slices, weightsZ, z.taps, sizeX, decided, outX, outY, firstX, weightsX, x.taps, firstY, weightsY, y.taps,
          ignored ?? -1, votes, found,
        ); // biome-ignore format: one line of numbers
        output.set(memory.float32(decided, outX * outY), k * outX * outY);
      }
    });
    return output;
  }

  return { resampleLabels, resamplePairs };
}
