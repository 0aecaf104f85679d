// A metric of one's own: by how much the volume of the prediction differs from that of the reference, in percent of the reference.
// It stands beside versemi's own metrics in tables, evaluation.json and cases.csv, as `own.volumeError`.
//
//     versemi evaluate runs/first --data data/spleen --parts metric.mjs

const volumeError = {
  name: 'volumeError',
  // null: undefined; such a case is counted, and is in no mean.
  measure({ prediction, reference }) {
    const voxels = (mask) => mask.reduce((sum, voxel) => sum + voxel, 0);
    const expected = voxels(reference);
    return expected === 0 ? null : (100 * (voxels(prediction) - expected)) / expected;
  },
};

/** @type {import('versemi').Parts} */
export const parts = { metrics: [volumeError] };
