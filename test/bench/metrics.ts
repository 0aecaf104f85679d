// Processor time of all metrics of one case, two lobed balls in 256^3. `node dist/test/bench/metrics.js`; the same in scipy:
// `python3 test/bench/peers/metrics.py`.
import { segmentationMetrics } from '../../src/metrics/index.js';
import { createHost } from '../../src/wasm/host.js';

const edge = 256;
const host = createHost();

function lobedBall(x0: number, y0: number, z0: number, radius: number, lobes: number): Uint8Array {
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

for (const radius of [40, 80, 115]) {
  const prediction = lobedBall(128, 128, 128, radius, 5);
  const reference = lobedBall(131, 127, 126, radius - 2, 6);
  let best = Infinity;
  let dice = 0;
  let hd95: number | null = 0;
  for (let run = 0; run < 7; run++) {
    const start = process.cpuUsage();
    const found = segmentationMetrics(prediction, reference, [edge, edge, edge], [0.7, 0.7, 1.5], { host });
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 1000);
    [dice, hd95] = [found.dice, found.hd95PooledMm];
  }
  const peak = host.memory().bytesPeak / 2 ** 20;
  console.log(
    `radius ${radius}: ${best.toFixed(1)} ms, Dice ${dice.toFixed(6)}, 95HD ${hd95?.toFixed(6)} mm, ${peak.toFixed(0)} MiB`,
  );
}
