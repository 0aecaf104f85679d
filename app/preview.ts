import type { PredictProgress } from '../src/inference/predict.js';
import { syntheticTaskName } from '../src/inference/segmenter.js';
import type { Scan } from '../src/scans/scan.js';
import { type Triple, voxelCount } from '../src/volume/volume.js';
import { host, type PackedMask } from '../src/wasm/host.js';
import type { Grid, Preview, Progress } from './protocol.js';

/** Between two pictures of what was found so far. */
const everyMs = 1500;
/** A picture takes a byte per voxel and task, which the browser frees when it pleases: of larger scans voxels are left out. */
const mostVoxels = 30e6;

/** Reports each window; and what was found so far, from the first finished slices on. */
export function reporter(scan: Scan, report: (progress: Progress) => void): (progress: PredictProgress) => void {
  let shownAt = Number.NEGATIVE_INFINITY;
  let shownSlices = 0;
  const step = Math.ceil(Math.cbrt(voxelCount(scan.sizeVoxels) / mostVoxels));
  const grid = coarseGrid(scan, step);
  return ({ window, windows, pass, passes, slices, tasks, masks }) => {
    const plain = { window, windows, pass, passes };
    if (slices < shownSlices) shownSlices = 0;
    if (slices === shownSlices || performance.now() - shownAt < everyMs) return report(plain);
    shownAt = performance.now();
    shownSlices = slices;
    const real = tasks.flatMap((task, i) => (task === syntheticTaskName ? [] : [{ task, packed: masks[i]! }]));
    const preview: Preview = {
      tasks: real.map(({ task }) => task),
      masks: real.map(({ packed }) => (step === 1 ? host().unpackMask(packed) : coarseMask(packed, step))),
      grid,
    };
    report({ ...plain, preview });
  };
}

/** Each `step`-th voxel along each axis, from the first one on. */
export function coarseGrid({ sizeVoxels, spacingMm, affine }: Grid, step: number): Grid {
  const along = (triple: Triple, change: (value: number) => number) => triple.map(change) as unknown as Triple;
  return {
    sizeVoxels: along(sizeVoxels, (size) => Math.ceil(size / step)),
    spacingMm: along(spacingMm, (mm) => mm * step),
    affine: affine.map((value, i) => (i < 12 && i % 4 < 3 ? value * step : value)),
  };
}

/** A mask on the grid of {@link coarseGrid}, 0 and 1. */
export function coarseMask(packed: PackedMask, step: number): Uint8Array {
  const [sizeX, sizeY, sizeZ] = packed.sizeVoxels;
  const [columns, rows, slices] = packed.sizeVoxels.map((size) => Math.ceil(size / step)) as [number, number, number];
  const mask = new Uint8Array(columns * rows * slices);
  const slice = new Uint8Array(sizeX * sizeY);
  let at = 0;
  for (let z = 0; z < sizeZ; z += step) {
    host().unpackMask(packed, { begin: [0, 0, z], end: [sizeX, sizeY, z + 1] }, slice);
    for (let y = 0; y < sizeY; y += step) for (let x = 0; x < sizeX; x += step) mask[at++] = slice[x + sizeX * y]!;
  }
  return mask;
}
