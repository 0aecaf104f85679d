// Processor time of all metrics of one case, two lobed balls in 256^3, by their size. `node dist/test/bench/metrics.js`; the same
// in scipy: `python3 test/bench/peers/metrics.py`. One size of both in one run: `versemi bench --only metrics-256`.
import { metricsOfBalls } from '../../src/bench/metrics.js';

for (const radius of [40, 80, 115]) {
  const { host, measure } = metricsOfBalls(radius);
  let best = Infinity;
  let found = measure();
  for (let run = 0; run < 7; run++) {
    const start = process.cpuUsage();
    found = measure();
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / 1000);
  }
  const peak = host.memory().bytesPeak / 2 ** 20;
  const { dice, hd95PooledMm } = found;
  console.log(
    `radius ${radius}: ${best.toFixed(1)} ms, Dice ${dice.toFixed(6)}, 95HD ${hd95PooledMm?.toFixed(6)} mm, ${peak.toFixed(0)} MiB`,
  );
}
