import { join } from 'node:path';
import { segmentationMetrics } from '../metrics/segmentation-metrics.js';
import { createHost } from '../wasm/host.js';
import { type BenchCase, pythons } from './run.js';

const edge = 256;
const spacingMm = [0.7, 0.7, 1.5] as const;

/** A ball with waves on its surface, in a volume of 256^3: what an organ's surface costs, without an organ. */
export function lobedBall(x0: number, y0: number, z0: number, radius: number, lobes: number): Uint8Array {
  const mask = new Uint8Array(edge ** 3);
  let i = 0;
  for (let z = 0; z < edge; z++)
    for (let y = 0; y < edge; y++)
      for (let x = 0; x < edge; x++) {
        const [dx, dy, dz] = [x - x0, y - y0, z - z0];
        const limit = radius + lobes * Math.sin(5 * Math.atan2(dy, dx)) * Math.cos(dz / 9);
        mask[i++] = dx * dx + dy * dy + dz * dz < limit * limit ? 1 : 0;
      }
  return mask;
}

/** Two masks of about the given radius that nearly agree, and a function that measures them. */
export function metricsOfBalls(radius: number) {
  const host = createHost();
  const prediction = lobedBall(128, 128, 128, radius, 5);
  const reference = lobedBall(131, 127, 126, radius - 2, 6);
  return {
    host,
    measure: () => segmentationMetrics(prediction, reference, [edge, edge, edge], spacingMm, { host }),
  };
}

const radius = 80;

/** Dice, 95HD and ASD (and all the others) of two masks of 256^3, against scipy used as medpy uses it. */
export const metricsCase: BenchCase = {
  name: 'metrics-256',
  host: true,
  prepare: ({ runs, peers }) => {
    const { measure } = metricsOfBalls(radius);
    let found: ReturnType<typeof measure> | undefined;
    return {
      run: () => {
        found = measure();
      },
      dispose: () => {},
      results: () => ({
        dice: found!.dice,
        hd95Mm: found!.hd95PooledMm ?? Number.NaN,
        asdMm: found!.asdMm ?? Number.NaN,
      }),
      peers: [
        {
          name: 'scipy, as medpy',
          commands: pythons,
          args: [join(peers, 'metrics.py'), String(radius), String(runs)],
        },
      ],
    };
  },
};
