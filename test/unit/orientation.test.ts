// Orientation, affines, and the comparison of geometries.
import t from 'tap';
import { RandomStream, streams } from '../../src/random.js';
import { toCanonical, toStored, turnedVolume } from '../../src/scans/canonical.js';
import {
  applyAffine,
  columnNorms,
  determinant,
  invertAffine,
  multiplyAffines,
  nearestRotation,
  orientationCode,
  scalingAffine,
} from '../../src/volume/affine.js';
import { turnOnto } from '../../src/volume/geometry.js';
import type { Affine, Triple, Volume } from '../../src/volume/volume.js';
import { failure, readGolden } from './datasets-support.js';

const close = (a: readonly number[], b: readonly number[], tolerance = 1e-9) =>
  a.length === b.length && a.every((value, i) => Math.abs(value - b[i]!) <= tolerance);

function randomAffine(random: RandomStream, shear: number): Affine {
  for (;;) {
    const m = Array.from({ length: 12 }, () => random.normal());
    const rotation = nearestRotation([...m, 0, 0, 0, 1]);
    const lengths = [random.uniformBetween(0.3, 5), random.uniformBetween(0.3, 5), random.uniformBetween(0.3, 5)];
    const affine = [0, 1, 2].flatMap((row) => [
      ...lengths.map((length, column) => (rotation[3 * row + column]! + shear * random.uniform()) * length),
      random.uniformBetween(-300, 300),
    ]);
    const whole = [...affine, 0, 0, 0, 1];
    if (invertAffine(whole) !== undefined) return whole;
  }
}

t.test('orientation codes are those of nibabel', async (t) => {
  interface Golden {
    readonly orientations: readonly { readonly affine: number[]; readonly orientation: string }[];
  }
  for (const { affine, orientation } of readGolden<Golden>('nifti.json').orientations)
    t.equal(orientationCode(affine), orientation, `${affine.map((x) => x.toFixed(2))}`);
});

t.test('affines', async (t) => {
  for (let round = 0; round < 100; round++) {
    const random = new RandomStream(5, streams.test, round);
    const affine = randomAffine(random, round % 2 === 0 ? 0 : 0.2);
    const product = multiplyAffines(affine, invertAffine(affine)!);
    t.ok(close(product, scalingAffine([1, 1, 1]), 1e-9), 'inverse');
    const voxel: Triple = [random.normal(), random.normal(), random.normal()];
    t.ok(close(applyAffine(invertAffine(affine)!, applyAffine(affine, voxel)), voxel, 1e-9));
    const r = nearestRotation(affine);
    const gram = [0, 1, 2].flatMap((i) =>
      [0, 1, 2].map((j) => [0, 1, 2].reduce((sum, k) => sum + r[3 * k + i]! * r[3 * k + j]!, 0)),
    );
    t.ok(close(gram, [1, 0, 0, 0, 1, 0, 0, 0, 1], 1e-12), 'the nearest rotation is orthogonal');
  }
  t.same(columnNorms([3, 0, 0, 1, 4, 2, 0, 1, 0, 0, 7, 1, 0, 0, 0, 1]), [5, 2, 7]);
  t.equal(determinant(scalingAffine([-1, 2, 3])), -6);
  t.equal(invertAffine(scalingAffine([1, 0, 1])), undefined);
  t.equal(invertAffine(scalingAffine([1, Number.NaN, 1])), undefined);
  t.ok(invertAffine(scalingAffine([1e-4, 1e-4, 1e-4])), 'small voxels are not singular');
});

t.test('all 48 orientations: to canonical and back, each voxel where it was in the world', async (t) => {
  const sizeVoxels: Triple = [4, 3, 5];
  let tried = 0;
  for (const axes of [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ] as const) {
    for (let flips = 0; flips < 8; flips++) {
      const affine = new Array<number>(16).fill(0);
      for (const [column, row] of axes.entries())
        affine[4 * row + column] = ((flips >> column) & 1 ? -1 : 1) * (column + 2);
      [affine[3], affine[7], affine[11], affine[15]] = [10, 20, 30, 1];
      const types = [Uint8Array, Int16Array, Float32Array, Float64Array];
      const Type = types[tried % types.length]!;
      const data = new Type(60).map((_, i) => i);
      const stored: Volume = { data, sizeVoxels, spacingMm: columnNorms(affine), affine, file: 'a.nii' };
      const canonical = toCanonical(stored);
      t.equal(orientationCode(canonical.affine), 'RAS');
      t.notOk(
        canonical.affine.some((x) => Object.is(x, -0)),
        'no negative zeros',
      );
      const inverse = invertAffine(affine)!;
      const [sizeX, sizeY] = canonical.sizeVoxels;
      const misplaced = Array.from(canonical.data).filter((value, i) => {
        const voxel: Triple = [i % sizeX, Math.floor(i / sizeX) % sizeY, Math.floor(i / (sizeX * sizeY))];
        const [x, y, z] = applyAffine(inverse, applyAffine(canonical.affine, voxel)).map(
          Math.round,
        ) as unknown as Triple;
        return value !== x + 4 * (y + 3 * z);
      });
      t.same(misplaced, [], `${axes} ${flips}`);
      const back = toStored(canonical);
      t.same({ ...back, data: Array.from(back.data) }, { ...stored, data: Array.from(data) });
      t.equal(back.stored, undefined);
      tried++;
    }
  }
  t.equal(tried, 48);
});

t.test('oblique and sheared volumes keep their place', async (t) => {
  for (let round = 0; round < 40; round++) {
    const random = new RandomStream(6, streams.test, round);
    const affine = randomAffine(random, round % 2 === 0 ? 0 : 0.15);
    const data = new Uint16Array(24).map((_, i) => i);
    const stored: Volume = { data, sizeVoxels: [2, 3, 4], spacingMm: columnNorms(affine), affine };
    const canonical = toCanonical(stored);
    t.equal(toCanonical(canonical).data, canonical.data, 'twice changes nothing');
    const corner = Array.from(canonical.data).indexOf(0); // the stored voxel [0, 0, 0]
    const [sizeX, sizeY] = canonical.sizeVoxels;
    const voxel: Triple = [corner % sizeX, Math.floor(corner / sizeX) % sizeY, Math.floor(corner / (sizeX * sizeY))];
    t.ok(close(applyAffine(canonical.affine, voxel), applyAffine(affine, [0, 0, 0]), 1e-9));
    const back = toStored({ ...canonical, data: canonical.data });
    t.same(Array.from(back.data), Array.from(data));
    t.equal(back.affine, affine, 'the affine of the file, bit by bit');
  }
});

t.test('a canonical volume shares its voxels', async (t) => {
  const data = new Float32Array(6);
  const volume: Volume = { data, sizeVoxels: [1, 2, 3], spacingMm: [1, 1, 1], affine: scalingAffine([1, 1, 1]) };
  t.equal(toCanonical(volume).data, data);
});

t.test('what cannot be turned', async (t) => {
  const volume: Volume = {
    data: new Uint8Array(6),
    sizeVoxels: [1, 2, 3],
    spacingMm: [1, 1, 1],
    affine: scalingAffine([1, 1, 0]),
    file: 'a.nii',
  };
  t.match((await failure(() => toCanonical(volume), 'VOLUME_INVALID')).message, /a\.nii, affine/);
  const canonical = toCanonical({ ...volume, affine: scalingAffine([1, 1, 1]) });
  await failure(() => toStored({ ...volume, affine: scalingAffine([1, 1, 1]) }), 'VOLUME_INVALID');
  const other = { ...canonical, sizeVoxels: [2, 1, 3] as Triple };
  t.match((await failure(() => toStored(other), 'VOLUME_INVALID')).message, /expected 1 x 2 x 3, found 2 x 1 x 3/);
});

t.test('same geometry', async (t) => {
  const image: Volume = {
    data: new Uint8Array(1000),
    sizeVoxels: [10, 10, 10],
    spacingMm: [0.976562, 0.976562, 3],
    affine: scalingAffine([0.976562, 0.976562, 3], [1, 2, 3]),
    file: 'image.nii',
  };
  const label = (spacing: Triple, origin: Triple, changes: Partial<Volume> = {}): Volume => ({
    ...image,
    spacingMm: spacing,
    affine: scalingAffine(spacing, origin),
    file: 'label.nii',
    ...changes,
  });
  t.doesNotThrow(() => turnOnto(image, label([0.9765625, 0.9765625, 3], [1.001, 2, 3])), 'rounding');
  const message = async (other: Volume) => {
    const error = await failure(() => turnOnto(image, other), 'GEOMETRY_MISMATCH');
    t.match(error.message, /image\.nii and label\.nii/);
    t.ok(error.details.remedy);
    return error.message;
  };
  t.match(
    await message(label(image.spacingMm as Triple, [1, 2, 3], { sizeVoxels: [10, 5, 20] })),
    /sizeVoxels.*10 x 10 x 10.*10 x 5 x 20/,
  );
  t.match(await message(label([0.976562, 0.976562, 5], [1, 2, 3])), /spacingMm.*0\.976562 x 0\.976562 x 3 mm.*x 5 mm/);
  t.match(
    await message(label([0.976562, 0.976562, 3], [1, 2.5, 3])),
    /position of voxel \[0, 0, 0\].*2\.00.*within 0\.049 mm.*2\.50.*copy the header/,
  );
  const flipped = {
    ...label(image.spacingMm as Triple, [1, 2, 3]),
    affine: scalingAffine([-0.976562, 0.976562, 3], [1, 2, 3]),
  };
  t.match(await message(flipped), /stored as RAS.*stored as LAS.*must not|would mirror/);
  const turned = multiplyAffines([1, -0.02, 0, 0, 0.02, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], image.affine);
  t.match(
    await message({ ...label(image.spacingMm as Triple, [1, 2, 3]), affine: turned, spacingMm: image.spacingMm }),
    /position of voxel/,
  );
  const nameless = await failure(
    () => turnOnto({ ...toCanonical(image), file: 'x' }, { ...image, sizeVoxels: [1, 1, 1] }, { label: 'y' }),
    'GEOMETRY_MISMATCH',
  );
  t.match(nameless.message, /x and image\.nii/);
});

t.test('a label in another order of axes is turned onto its image', async (t) => {
  const data = Uint8Array.from({ length: 24 }, (_, i) => i);
  const image: Volume = {
    data,
    sizeVoxels: [2, 3, 4],
    spacingMm: [2, 3, 4],
    affine: scalingAffine([2, 3, 4], [5, 6, 7]),
  };
  const orders = [
    [0, 1, 2],
    [1, 2, 0],
    [2, 1, 0],
  ] as const;
  for (const tilt of [0, 0.3, Math.PI / 4, Math.PI / 4 + 1e-6, Math.PI / 4 - 1e-6, 0.8]) {
    const [c, s] = [Math.cos(tilt), Math.sin(tilt)];
    const rotation = [c, -s, 0, 0, s, c, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    const tilted = { ...image, affine: multiplyAffines(rotation, image.affine) };
    // The same place to within rounding, as a second program writes it: tilted a little less.
    const [c2, s2] = [Math.cos(tilt - 1e-5), Math.sin(tilt - 1e-5)];
    const other = {
      ...image,
      affine: multiplyAffines([c2, -s2, 0, 0, s2, c2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], image.affine),
    };
    for (const axes of orders) {
      for (const flipped of [
        [false, false, false],
        [true, true, false],
        [true, false, true],
      ] as const) {
        const label = turnedVolume(other, axes, flipped);
        for (const onto of [tilted, toCanonical(tilted)]) {
          const turn = turnOnto(onto, label);
          t.same(turnedVolume(label, turn.axes, turn.flipped).data, onto.data, `${tilt}, ${axes}, ${flipped}`);
        }
      }
    }
  }
  const sheared = {
    ...image,
    affine: multiplyAffines([1, 0.3, 0, 0, 0, 1, 0.2, 0, 0, 0, 1, 0, 0, 0, 0, 1], image.affine),
  };
  const turn = turnOnto(sheared, turnedVolume(sheared, [2, 0, 1], [true, false, true]));
  t.same(turn, { axes: [1, 2, 0], flipped: [false, true, true] });
  await failure(() => turnOnto(image, sheared), 'GEOMETRY_MISMATCH');
});

t.test('slices and wide spacings', async (t) => {
  const at = (sizeVoxels: Triple, spacing: Triple, origin: Triple = [0, 0, 0]): Volume => ({
    data: new Uint8Array(sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2]),
    ...{ sizeVoxels, spacingMm: spacing.map(Math.abs) as unknown as Triple, affine: scalingAffine(spacing, origin) },
  });
  const same = { axes: [0, 1, 2], flipped: [false, false, false] };
  t.same(turnOnto(at([1, 5, 5], [4, 1, 1]), at([1, 5, 5], [4, 1, 1])), same);
  t.same(turnOnto(at([1, 5, 5], [4, 1, 1]), at([1, 5, 5], [-4, 1, 1])).flipped, [true, false, false]);
  await failure(() => turnOnto(at([1, 5, 5], [4, 1, 1]), at([1, 5, 5], [5, 1, 1])), 'GEOMETRY_MISMATCH');
  t.same(turnOnto(at([3, 4, 5], [100, 100, 100]), at([3, 4, 5], [100.1, 100, 100], [0, 0, 0.5])), same);
  await failure(
    () => turnOnto(at([3, 4, 5], [100, 100, 100]), at([3, 4, 5], [100, 100, 100], [20, 0, 0])),
    'GEOMETRY_MISMATCH',
  );
});
