// A child that misbehaves as readers must not, for the test of the session: by its seed it hangs, crashes, takes memory or time.
import type { Answer, Question } from './child.js';

const good: Answer = { outcome: 'result', seconds: 0, peakBytes: 0 };
const kept: Uint8Array[] = [];

process.on('message', ({ seed }: Question) => {
  process.send!('reading');
  if (seed === 1) for (;;);
  if (seed === 2) process.abort();
  if (seed === 3) for (let i = 0; i < 100; i++) kept.push(new Uint8Array(1 << 24).fill(i + 1));
  if (seed === 4) process.send!({ ...good, seconds: 6 } satisfies Answer);
  if (seed === 5) process.send!({ ...good, peakBytes: 3e9 } satisfies Answer);
  if (seed === 6) process.send!({ ...good, outcome: 'fault', fault: 'a fault' } satisfies Answer);
  if (seed === 7) process.send!(good);
});
process.send!('ready');
