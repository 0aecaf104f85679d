import type { Triple } from '../volume/volume.js';
import { checkLength, chunkElements, type HostCore } from './host-core.js';

/** Below this standard deviation a Gaussian changes a voxel by less than a thousandth of its neighbours. */
const negligibleSigma = 0.25;

/** One half of a normalised Gaussian kernel, the middle first, cut at three standard deviations. */
export function gaussianKernel(sigmaVoxels: number): Float32Array {
  if (!(sigmaVoxels > negligibleSigma)) return Float32Array.of(1);
  const radius = Math.ceil(3 * sigmaVoxels);
  const half = Array.from({ length: radius + 1 }, (_, i) => Math.exp(-0.5 * (i / sigmaVoxels) ** 2));
  const sum = half.reduce((total, weight, i) => total + (i === 0 ? weight : 2 * weight), 0);
  return Float32Array.from(half, (weight) => weight / sum);
}

export function preprocessOperations({ wasm, memory, run }: HostCore) {
  /**
   * Gaussian smoothing, edges replicated.
   * @param data [z, y, x]
   * @param sigmaVoxels standard deviation along x, y, z; 0: that axis stays as it is
   * @returns a new array [z, y, x]
   * @throws VERSEMI_VOLUME_INVALID when data and size disagree
   */
  function smooth(data: Float32Array, sizeVoxels: Triple, sigmaVoxels: Triple): Float32Array {
    checkLength(data, sizeVoxels, 'smooth data');
    const [sizeX, sizeY, sizeZ] = sizeVoxels;
    const plane = sizeX * sizeY;
    const output = new Float32Array(data.length);
    run((scope) => {
      const source = scope.steady(data);
      const kernels = sigmaVoxels.map(gaussianKernel);
      const radii = kernels.map((kernel) => kernel.length - 1) as unknown as Triple;
      const [weightsX, weightsY] = scope.place(kernels[0]!, kernels[1]!);
      const row = scope.allocate((sizeX + 2 * radii[0]) * 4);
      const raw = scope.allocate(plane * 4);
      const depth = 2 * radii[2] + 1;
      const ring = scope.allocate(depth * plane * 4);
      const sum = scope.allocate(plane * 4);
      const slot = (z: number) => ring + (z % depth) * plane * 4;
      let filled = 0;
      for (let z = 0; z < sizeZ; z++) {
        for (; filled < Math.min(sizeZ, z + radii[2] + 1); filled++) {
          memory.float32(raw, plane).set(source().subarray(filled * plane, (filled + 1) * plane));
          if (radii[0] > 0) wasm.smoothRows(raw, raw, sizeX, sizeY, weightsX!, radii[0], row);
          wasm.smoothColumns(raw, slot(filled), sizeX, sizeY, weightsY!, radii[1]);
        }
        wasm.accumulate(slot(z), kernels[2]![0]!, sum, plane, 1);
        for (let i = 1; i <= radii[2]; i++) {
          wasm.accumulate(slot(Math.max(z - i, 0)), kernels[2]![i]!, sum, plane, 0);
          wasm.accumulate(slot(Math.min(z + i, sizeZ - 1)), kernels[2]![i]!, sum, plane, 0);
        }
        output.set(memory.float32(sum, plane), z * plane);
      }
    });
    return output;
  }

  /** data = (data - mean) * scale where data is not 0; zeros stay. In place. */
  function normalizeNonzero(data: Float32Array, mean: number, scale: number): void {
    run((scope) => {
      const block = scope.allocate(chunkElements * 4);
      const target = scope.steady(data);
      for (let from = 0; from < data.length; from += chunkElements) {
        const count = Math.min(chunkElements, data.length - from);
        memory.float32(block, count).set(target().subarray(from, from + count));
        wasm.normalizeNonzero(block, count, mean, scale);
        target().set(memory.float32(block, count), from);
      }
    });
  }

  return { smooth, normalizeNonzero };
}
