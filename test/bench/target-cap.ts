/** What a perfect network could reach: its target, brought back to the voxels of the scan as predictions are. */
import type { PreprocessedCase } from '../../src/preprocessing/preprocessed-case.js';
import { restorer } from '../../src/preprocessing/restore.js';
import { host } from '../../src/wasm/host.js';

/** Steps of 1/256 up to which a prediction is background; see `predict.ts`. */
const lastBackgroundStep = 127;

/**
 * Dice of the target of some labels, restored and thresholded as a prediction is, against the label itself.
 * @param source the label map of the scan in canonical orientation
 * @returns null where the scan has none of the labels
 */
export function targetCap(one: PreprocessedCase, labels: readonly number[], source: Uint8Array): number | null {
  const { label, grid } = one;
  const lookup = Uint8Array.from({ length: 256 }, (_, value) => (labels.includes(value) ? 1 : 0));
  const target = label instanceof Uint8Array ? host().binaryTarget(label, lookup) : host().pairTarget(label!, lookup);
  // As the sliding window rounds a probability: above one half exactly where the step is above the last of the background.
  const steps = Uint8Array.from(target, (share) => Math.max(0, Math.ceil(share * 256) - 1));
  const mask = host().packMask(new Uint8Array(source.length), grid.canonical.sizeVoxels);
  const back = restorer([grid], [mask], lastBackgroundStep);
  const plane = grid.sizeVoxels[0] * grid.sizeVoxels[1];
  try {
    for (let z = 0; z < grid.sizeVoxels[2]; z++) back.push(z, steps.subarray(z * plane, (z + 1) * plane));
  } finally {
    back.dispose();
  }
  const reference = host().translate(source, lookup);
  const { both, inA, inB } = host().maskCounts(host().unpackMask(mask), reference, grid.canonical.sizeVoxels);
  return inB === 0 ? null : (2 * both) / (inA + inB);
}
