import { type RandomStream, streams } from '../random.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';

/**
 * Draws phantoms: implicit shapes in millimetres, bent by a smooth random displacement, blurred by the scanner, with
 * texture, bias field and noise. Positions are RAS+ millimetres from the middle of the volume.
 */

/** A body part; shapes are painted in order, later ones over earlier ones. */
export interface Shape {
  /** Below 0 inside; grows by about 1 over the shape's own size. */
  readonly level: (x: number, y: number, z: number) => number;
  /** Nothing of the shape lies outside: [low, high] per axis; absent: everywhere. */
  readonly bounds?: readonly [Triple, Triple];
  /** Intensity: Hounsfield units, or MR signal. */
  readonly value: number;
  /** Standard deviation of the tissue's texture. */
  readonly texture?: number;
  /** How much the texture field shifts `level`, for lobed and ragged outlines. */
  readonly ragged?: number;
  /** Label value; 0, the background, when absent. */
  readonly label?: number;
}

export interface Scene {
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly background: number;
  readonly shapes: readonly Shape[];
  /** Standard deviation of the displacement that bends everything. */
  readonly warpMm: number;
  /** Standard deviation of the noise; Gaussian in CT, Rician in MR. */
  readonly noise: number;
  readonly rician: boolean;
  /** Standard deviation of the logarithm of the receive-coil profile; 0 in CT. */
  readonly biasField: number;
}

export interface Rendering {
  readonly image: Int16Array;
  readonly label: Uint8Array;
}

/** Where the numbers of one case come from: noise is drawn apart from the parameters of the scene. */
export interface RenderSeed {
  readonly seed: number;
  readonly step: number;
  readonly sample: number;
}

/** Philox blocks that parameters and coarse fields of a case may use; the noise of the voxels starts after them. */
const firstNoiseBlock = 1 << 20;

/** Paints a scene. @param random the stream that the scene was drawn with; fields are drawn from it after the shapes */
export function renderScene(scene: Scene, random: RandomStream, seed: RenderSeed): Rendering {
  const { sizeVoxels, spacingMm } = scene;
  const count = voxelCount(sizeVoxels);
  const positions = warpedPositions(scene, random);
  const fine = smoothField(random, [13, 13, 13], sizeVoxels);
  const value = new Float32Array(count).fill(scene.background);
  const label = new Uint8Array(count);
  for (const shape of scene.shapes) paint(shape, sizeVoxels, spacingMm, scene.warpMm, positions, fine, value, label);
  // The point spread of the scanner, about a voxel wide, makes partial volumes at the edges.
  for (let axis = 0; axis < 3; axis++) smoothAlong(value, sizeVoxels, axis);
  if (scene.biasField > 0) {
    const bias = smoothField(random, [3, 3, 3], sizeVoxels);
    for (let i = 0; i < count; i++) value[i]! *= Math.exp(scene.biasField * bias[i]!);
  }
  return { image: withNoise(value, scene, seed), label };
}

/** Coordinates in millimetres of each voxel before the bending: [x, y, z] arrays. */
function warpedPositions({ sizeVoxels, spacingMm, warpMm }: Scene, random: RandomStream): Float32Array[] {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  return [0, 1, 2].map((axis) => {
    const field = smoothField(random, [4, 4, 4], sizeVoxels);
    const middle = (sizeVoxels[axis]! - 1) / 2;
    let i = 0;
    for (let z = 0; z < sizeZ; z++) {
      for (let y = 0; y < sizeY; y++) {
        for (let x = 0; x < sizeX; x++, i++) {
          const index = axis === 0 ? x : axis === 1 ? y : z;
          field[i] = (index - middle) * spacingMm[axis]! + warpMm * field[i]!;
        }
      }
    }
    return field;
  });
}

/** Normal numbers on a coarse grid, interpolated to every voxel. */
function smoothField(random: RandomStream, grid: Triple, sizeVoxels: Triple): Float32Array {
  const coarse = Float32Array.from({ length: voxelCount(grid) }, () => random.normal());
  const scale = sizeVoxels.map((size, i) => (grid[i]! - 1) / (size - 1)) as unknown as Triple;
  return host().resampleLinear(coarse, grid, sizeVoxels, { scale, offset: [0, 0, 0] });
}

function paint(
  shape: Shape,
  sizeVoxels: Triple,
  spacingMm: Triple,
  warpMm: number,
  positions: readonly Float32Array[],
  texture: Float32Array,
  value: Float32Array,
  label: Uint8Array,
): void {
  const [xs, ys, zs] = positions as [Float32Array, Float32Array, Float32Array];
  const [sizeX, sizeY] = sizeVoxels;
  // The displacement is normal: four standard deviations hold all but one voxel in ten thousand of the bounds.
  const range = [0, 1, 2].map((axis) => {
    const size = sizeVoxels[axis]!;
    if (shape.bounds === undefined) return [0, size - 1] as const;
    const index = (mm: number) => mm / spacingMm[axis]! + (size - 1) / 2;
    const low = Math.floor(index(shape.bounds[0][axis]! - 4 * warpMm));
    const high = Math.ceil(index(shape.bounds[1][axis]! + 4 * warpMm));
    return [Math.max(0, low), Math.min(size - 1, high)] as const;
  });
  const [[x0, x1], [y0, y1], [z0, z1]] = range as [[number, number], [number, number], [number, number]];
  const { level, value: mean, texture: spread = 0, ragged = 0, label: painted = 0 } = shape;
  for (let z = z0; z <= z1; z++) {
    for (let y = y0; y <= y1; y++) {
      const row = (z * sizeY + y) * sizeX;
      for (let i = row + x0; i <= row + x1; i++) {
        if (level(xs[i]!, ys[i]!, zs[i]!) + ragged * texture[i]! >= 0) continue;
        value[i] = mean + spread * texture[i]!;
        label[i] = painted;
      }
    }
  }
}

/** In place (1, 2, 1) / 4 along one axis; the ends are repeated. */
function smoothAlong(data: Float32Array, [sizeX, sizeY, sizeZ]: Triple, axis: number): void {
  const stride = axis === 0 ? 1 : axis === 1 ? sizeX : sizeX * sizeY;
  const length = [sizeX, sizeY, sizeZ][axis]!;
  for (let block = 0; block < data.length; block += stride * length) {
    for (let start = block; start < block + stride; start++) {
      let before = data[start]!;
      for (let k = 0, i = start; k < length; k++, i += stride) {
        const here = data[i]!;
        const after = k + 1 < length ? data[i + stride]! : here;
        data[i] = (before + 2 * here + after) / 4;
        before = here;
      }
    }
  }
}

/** Gaussian noise, or the magnitude of a signal with Gaussian noise in both channels (Rician), as 16-bit integers. */
function withNoise(value: Float32Array, { noise, rician }: Scene, seed: RenderSeed): Int16Array {
  const blocks = Math.ceil(value.length / 2);
  const draw = (channel: number) =>
    host().augmentIntensity(new Float32Array(value.length), {
      noiseStandardDeviation: noise,
      stream: streams.phantom,
      firstBlock: firstNoiseBlock + channel * blocks,
      ...seed,
    });
  const real = draw(0);
  const imaginary = rician ? draw(1) : undefined;
  const image = new Int16Array(value.length);
  for (let i = 0; i < image.length; i++) {
    const signal = value[i]! + real[i]!;
    const measured = imaginary === undefined ? signal : Math.hypot(signal, imaginary[i]!);
    image[i] = Math.max(-1024, Math.min(3071, Math.round(measured)));
  }
  return image;
}
