import type { RandomStream } from '../random.js';
import type { Triple } from '../volume/volume.js';
import type { Scene, Shape } from './phantom-render.js';
import { above, clipped, column, ellipsoid, tube } from './phantom-shapes.js';

/** Kinds of phantoms. */
export type PhantomKindName = 'ct-organ' | 'ct-lesion' | 'mr-ventricle' | 'mr-atrium';

/** What a kind of phantom shows, and how to draw a case of it. */
export interface PhantomKind {
  readonly description: string;
  readonly modality: 'CT' | 'MRI';
  readonly labels: Readonly<Record<number, string>>;
  /** @internal */
  readonly draw: (random: RandomStream) => Scene;
}

/** Random numbers as anatomy wants them. */
class Anatomy {
  constructor(readonly random: RandomStream) {}
  /** About `mean`, within `spread` either way. */
  near(mean: number, spread: number): number {
    return this.random.uniformBetween(mean - spread, mean + spread);
  }
  point(mean: Triple, spread: number): Triple {
    return [this.near(mean[0], spread), this.near(mean[1], spread), this.near(mean[2], spread)];
  }
  /** Each length times its own factor within 1 +- `spread`, and all times `size`. */
  radii(mean: Triple, spread: number, size = 1): Triple {
    const one = (length: number) => length * size * this.near(1, spread);
    return [one(mean[0]), one(mean[1]), one(mean[2])];
  }
  turns(spread: number): Triple {
    return this.point([0, 0, 0], spread);
  }
  chance(probability: number): boolean {
    return this.random.uniform() < probability;
  }
  size(mean: Triple): Triple {
    return mean.map((length) => length + this.random.integer(7) - 3) as unknown as Triple;
  }
}

/** Skin, fat, muscle wall with ribs, and spine, in Hounsfield units; `inner` fills the cavity. */
function torso(a: Anatomy, [width, depth]: readonly [number, number], inner: number): Shape[] {
  const fat = a.near(0.88, 0.05);
  const pitch = a.near(26, 3);
  const wall = column([0, 0, 0], [width * fat, depth * fat], { value: 50, texture: 8 });
  const cavity = column([0, 0, 0], [width * fat * 0.9, depth * fat * 0.88], { value: inner, texture: 14 });
  const middle = column([0, 0, 0], [width * fat * 0.96, depth * fat * 0.95], { value: 0 });
  const rib: Shape = {
    // Rings in the wall that slope down towards the front.
    level: (x, y, z) => Math.max(middle.level(x, y, z), 0.55 - Math.sin((2 * Math.PI * (z + 0.35 * y)) / pitch)),
    value: 380,
    texture: 60,
  };
  const spineAt: Triple = [a.near(0, 3), -depth * 0.6, 0];
  const vertebra = ellipsoid(spineAt, [19, 16, 1e4], { value: 220, texture: 40 });
  const canal = ellipsoid([spineAt[0], spineAt[1] - 19, 0], [8, 7, 1e4], { value: 30 });
  const arch = ellipsoid([spineAt[0], spineAt[1] - 20, 0], [22, 13, 1e4], { value: 260, texture: 50 });
  return [
    column([0, 0, 0], [width, depth], { value: -100, texture: 8 }),
    wall,
    rib,
    cavity,
    ...[arch, vertebra, canal].map(({ bounds: _, ...shape }) => shape),
  ];
}

function abdomen(random: RandomStream): Scene {
  const a = new Anatomy(random);
  const size = a.near(1, 0.1);
  const [width, depth] = [150 * size, 108 * size];
  const contrast = a.near(0.5, 0.5); // phase of the contrast agent
  const at = (x: number, y: number, z: number, spread = 6) => a.point([x * size, y * size, z], spread);
  const liver = { value: 55 + 55 * contrast, texture: 6, ragged: 0.06, label: 1 };
  const spleen = { value: 50 + 70 * contrast, texture: 6, ragged: 0.05, label: 2 };
  const vessel = { value: 45 + 130 * contrast, texture: 4 };
  const kidney = { value: 35 + 110 * contrast, texture: 10 };
  const shapes = torso(a, [width, depth], -90);
  for (let i = 0; i < 12; i++) {
    const loop = a.chance(0.3) ? { value: -300, texture: 120 } : { value: a.near(25, 25), texture: 12 };
    shapes.push(ellipsoid(at(a.near(0, 80), a.near(22, 38), a.near(-55, 60)), a.radii([25, 21, 22], 0.3), loop));
  }
  const stomach = at(-50, 35, 35, 10);
  const center = at(58, 8, 34, 9);
  shapes.push(
    ellipsoid(stomach, a.radii([36, 28, 42], 0.2), { value: 35, texture: 12 }),
    ellipsoid([stomach[0], stomach[1] + 16, stomach[2] + 8], a.radii([16, 9, 22], 0.3), { value: -850 }),
    ellipsoid(at(-58, -42, -35), a.radii([24, 20, 46], 0.15), kidney),
    ellipsoid(at(58, -45, -48), a.radii([24, 20, 46], 0.15), kidney),
    tube(at(-12, -40, -130, 4), at(-9, -40, 130, 4), [10, 11], vessel),
    tube(at(20, -34, -130, 4), at(20, -30, 130, 4), [11, 12], { ...vessel, value: 40 + 90 * contrast }),
    ellipsoid(center, a.radii([68, 64, 70], 0.14, size), liver, a.turns(0.3)),
    ellipsoid([center[0] - 58, center[1] + 24, center[2] + 12], a.radii([52, 28, 30], 0.2, size), liver, a.turns(0.25)),
    ellipsoid(at(-92, -26, 36, 9), a.radii([27, 42, 48], 0.2, size), spleen, a.turns(0.45)),
  );
  for (let i = 0; i < 4; i++) {
    const end = a.point([center[0], center[1], center[2]], 45);
    shapes.push(tube(center, end, [4.5, 2.5], { value: liver.value + 20 + 40 * contrast, label: 1 }));
  }
  return {
    sizeVoxels: a.size([58, 46, 32]),
    spacingMm: [5.5, 5.5, 7],
    background: -1000,
    shapes,
    warpMm: 5,
    noise: a.near(26, 8),
    rician: false,
    biasField: 0,
  };
}

function chest(random: RandomStream): Scene {
  const a = new Anatomy(random);
  const size = a.near(1, 0.09);
  const [width, depth] = [152 * size, 108 * size];
  const at = (x: number, y: number, z: number, spread = 5) => a.point([x * size, y * size, z], spread);
  const air = { value: a.near(-830, 40), texture: 35 };
  const soft = { value: a.near(45, 15), texture: 8 };
  const shapes = torso(a, [width, depth], 20);
  const sides = [1, -1] as const;
  const lungs = sides.map((side) =>
    ellipsoid(at(side * 66, 2, 0), a.radii([47, 74, 128], 0.06, size), air, [0, 0, side * 0.12]),
  );
  shapes.push(...lungs);
  for (const side of sides) {
    const hilum = at(side * 24, -4, 5);
    for (let i = 0; i < 9; i++) {
      const end = a.point([side * a.near(76, 22), a.near(0, 55), a.near(0, 90)], 6);
      shapes.push(tube(hilum, end, [a.near(6, 1.5), 1.5], { ...soft, value: soft.value - 20 }));
    }
  }
  shapes.push(
    ellipsoid(at(-24, 26, -42, 8), a.radii([48, 38, 44], 0.12, size), soft, a.turns(0.4)),
    tube(at(-18, -48, -140), at(-16, -46, 140), [12, 12], soft),
    tube(at(0, 6, -20), at(0, 4, 140), [17, 15], soft),
    tube(at(0, -14, 20), at(0, -14, 140), [8, 8], { value: -950 }),
    ellipsoid(at(66, 4, -140, 8), a.radii([62, 68, 62], 0.1, size), { value: 90, texture: 6 }),
    ellipsoid(at(-66, 4, -146, 8), a.radii([54, 62, 56], 0.1, size), { value: 60, texture: 12 }),
  );
  const side = a.chance(0.5) ? 0 : 1;
  const lesions = a.chance(0.25) ? 2 : 1;
  for (let i = 0; i < lesions; i++) {
    const radius = i === 0 ? a.near(26, 7) : a.near(16, 3);
    const center = at((side === 0 ? 1 : -1) * a.near(68, 16), a.near(0, 36), a.near(8, 55), 3);
    const tumour = { value: a.near(20, 30), texture: 18, ragged: 0.22, label: 1 };
    const mass = ellipsoid(center, a.radii([radius, radius, radius], 0.25), tumour, a.turns(0.8));
    shapes.push(clipped(mass, lungs[side]!, 'inside'));
  }
  return {
    sizeVoxels: a.size([58, 44, 36]),
    spacingMm: [5.6, 5.6, 6],
    background: -1000,
    shapes,
    warpMm: 4,
    noise: a.near(32, 10),
    rician: false,
    biasField: 0,
  };
}

function ventricle(random: RandomStream): Scene {
  const a = new Anatomy(random);
  const gain = a.near(1, 0.35);
  const tissue = (value: number, texture = 0.06) => ({ value: value * gain, texture: value * gain * texture });
  const [blood, muscle] = [tissue(a.near(430, 50)), tissue(a.near(170, 30))];
  const size = a.near(1, 0.16);
  const wall = a.near(9.5, 2.5);
  const [rx, ry, rz] = a.radii([25, 25, 46], 0.1, size);
  const center = a.point([-8, 4, 0], 9);
  const tilt = a.turns(0.3);
  const base = center[2] + a.near(26, 6); // where the chamber opens into the atrium
  const chest = column([0, -8, 0], [95, 74], tissue(330, 0.1));
  const outer = ellipsoid(center, [rx + wall, ry + wall, rz + wall], { ...muscle, label: 1 }, tilt);
  const cavity = ellipsoid(center, [rx, ry, rz], { ...blood, label: 2 }, tilt);
  const right = a.point([center[0] + 30 * size, center[1] + 8, center[2] + 6], 5);
  const shapes: Shape[] = [
    chest,
    column([0, -8, 0], [88, 66], tissue(190, 0.15)),
    ellipsoid(a.point([56, -14, 20], 8), a.radii([40, 52, 80], 0.12), tissue(45, 0.3)),
    ellipsoid(a.point([-66, -18, 20], 8), a.radii([36, 52, 80], 0.12), tissue(45, 0.3)),
    ellipsoid(a.point([40, -10, -75], 10), a.radii([60, 52, 38], 0.12), tissue(230, 0.1)),
    tube(a.point([-22, -52, -90], 4), a.point([-20, -52, 90], 4), [11, 11], blood),
    ellipsoid(center, [rx + wall + 6, ry + wall + 6, rz + wall + 6], tissue(300, 0.12), tilt),
    ellipsoid(right, a.radii([27, 32, 44], 0.15, size), muscle, tilt),
    ellipsoid(right, a.radii([23, 29, 40], 0.15, size), blood, tilt),
    ellipsoid([center[0], center[1] - 6, base + 16], a.radii([27, 26, 24], 0.12, size), blood),
    clipped(outer, above(base), 'outside'),
    clipped(cavity, above(base), 'outside'),
  ];
  for (const side of [1, -1]) {
    const foot: Triple = [center[0] + side * 0.5 * rx, center[1] - 0.35 * ry, center[2] - 0.4 * rz];
    const tip = a.point([foot[0], foot[1], center[2] + 0.15 * rz], 3);
    shapes.push(clipped(tube(foot, tip, [5, 4], { ...muscle, label: 2 }), cavity, 'inside'));
  }
  return {
    sizeVoxels: a.size([54, 50, 26]),
    spacingMm: [3.2, 3.2, 5],
    background: 8,
    shapes,
    warpMm: 2.2,
    noise: a.near(24, 7),
    rician: true,
    biasField: 0.22,
  };
}

function atrium(random: RandomStream): Scene {
  const a = new Anatomy(random);
  const gain = a.near(1, 0.35);
  const tissue = (value: number, texture = 0.08) => ({ value: value * gain, texture: value * gain * texture });
  const blood = tissue(a.near(360, 50));
  const muscle = tissue(a.near(150, 25), 0.15);
  const size = a.near(1, 0.15);
  const center = a.point([0, -6, 4], 6);
  const own = { ...blood, label: 1, ragged: 0.08 };
  const [rx, ry, rz] = a.radii([30, 18, 22], 0.14, size);
  const shapes: Shape[] = [
    column([0, 4, 0], [90, 66], tissue(260, 0.15)),
    column([0, 4, 0], [84, 60], muscle),
    ellipsoid(a.point([58, -2, 10], 6), a.radii([30, 46, 70], 0.12), tissue(35, 0.3)),
    ellipsoid(a.point([-60, -2, 10], 6), a.radii([28, 46, 70], 0.12), tissue(35, 0.3)),
    ellipsoid(a.point([2, -50, 0], 3), [17, 13, 90], tissue(210, 0.2)),
    tube(a.point([-18, -34, -80], 3), a.point([-16, -33, 80], 3), [9, 10], blood),
    ellipsoid([center[0] - 12, center[1] + 36, center[2] - 26], a.radii([28, 26, 34], 0.12, size), blood, a.turns(0.4)),
    ellipsoid([center[0] + 33 * size, center[1] + 22, center[2] - 4], a.radii([20, 22, 26], 0.15, size), blood),
    tube(a.point([6, 26, 0], 4), a.point([2, 18, 80], 5), [12, 13], blood),
  ];
  // A thin dark wall round the chamber, then the chamber: two lobes and the appendage.
  const lobe = a.near(13, 4);
  const appendage = a.point([center[0] - rx * 0.95, center[1] + 12, center[2] + 6], 3);
  const parts: (readonly [Triple, Triple, Triple])[] = [
    [center, [rx, ry, rz], a.turns(0.25)],
    [[center[0] + lobe, center[1] - 2, center[2] + a.near(4, 4)], a.radii([20, 16, 20], 0.15, size), a.turns(0.5)],
    [appendage, a.radii([9, 12, 10], 0.2, size), a.turns(0.6)],
  ];
  const veins = [1, -1].flatMap((side) =>
    [1, -1].map((height): readonly [Triple, Triple] => {
      const from: Triple = [center[0] + side * rx * 0.7, center[1] - 4, center[2] + height * rz * 0.45];
      return [from, a.point([from[0] + side * 38, from[1] - 14, from[2] + height * 14], 7)];
    }),
  );
  const septum = { ...muscle, ragged: 0.08 };
  for (const [at, radii, turns] of parts)
    shapes.push(ellipsoid(at, [radii[0] + 3, radii[1] + 3, radii[2] + 3.5], septum, turns));
  for (const [from, to] of veins) {
    const radius = a.near(5.5, 1.2);
    shapes.push(tube(from, to, [radius, radius * 0.8], blood));
    // Experts stop some ten millimetres into a vein, although it looks the same further on.
    const ostium = to.map((end, i) => from[i]! + (end - from[i]!) * 0.5) as unknown as Triple;
    shapes.push(tube(from, ostium, [radius, radius * 0.9], { ...blood, label: 1 }));
  }
  for (const [at, radii, turns] of parts) shapes.push(ellipsoid(at, radii, own, turns));
  return {
    sizeVoxels: a.size([60, 50, 34]),
    spacingMm: [2.6, 2.6, 3.6],
    background: 6,
    shapes,
    warpMm: 2.5,
    noise: a.near(30, 9),
    rician: true,
    biasField: 0.25,
  };
}

/** The kinds of phantoms, in the order of the numbers that seed them: append, never reorder. */
export const phantomKinds: Readonly<Record<PhantomKindName, PhantomKind>> = {
  'ct-organ': {
    description: 'Phantom of abdominal CT: liver and spleen beside stomach, kidneys, bowel, vessels, spine and ribs',
    modality: 'CT',
    labels: { 0: 'background', 1: 'liver', 2: 'spleen' },
    draw: abdomen,
  },
  'ct-lesion': {
    description: 'Phantom of chest CT: one or two tumours in a lung, beside vessels and heart of the same density',
    modality: 'CT',
    labels: { 0: 'background', 1: 'tumour' },
    draw: chest,
  },
  'mr-ventricle': {
    description: 'Phantom of cardiac MR along the short axis: left ventricle and the ring of its wall',
    modality: 'MRI',
    labels: { 0: 'background', 1: 'myocardium', 2: 'left ventricle' },
    draw: ventricle,
  },
  'mr-atrium': {
    description: 'Phantom of contrast-enhanced cardiac MR: left atrium with appendage and pulmonary veins',
    modality: 'MRI',
    labels: { 0: 'background', 1: 'left atrium' },
    draw: atrium,
  },
};
