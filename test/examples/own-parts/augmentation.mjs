// An augmentation of one's own: a bias field, as receive coils leave it in MR: intensities grow along a random direction. In a plan:
//
//     "augmentation": { "own": ["bias-field"] }
//
//     versemi train plan.json --parts augmentation.mjs --out runs/first

const biasField = {
  name: 'bias-field',
  change(image, { sizeVoxels: [sizeX, sizeY, sizeZ], random }) {
    // Nothing but `random` may be left to chance: then the same seed gives the same run, with any number of workers.
    const [alongX, alongY, alongZ] = [0, 1, 2].map(() => random.uniformBetween(-0.3, 0.3));
    let voxel = 0;
    for (let z = 0; z < sizeZ; z++)
      for (let y = 0; y < sizeY; y++)
        for (let x = 0; x < sizeX; x++)
          image[voxel++] *= 1 + alongX * (x / sizeX - 0.5) + alongY * (y / sizeY - 0.5) + alongZ * (z / sizeZ - 0.5);
  },
};

/** @type {import('versemi').Parts} */
export const parts = { augmentations: [biasField] };
