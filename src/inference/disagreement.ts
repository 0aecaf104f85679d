import type { Plan } from '../config/plan.js';
import type { MaskVolume } from '../scans/mask-volume.js';

/**
 * How much the aggregate of a model's tasks and its synthetic task ("any foreground") disagree on a scan, after which scans are
 * ordered for labelling: the agreement of the two is what the method trains on unlabelled scans (arXiv 2311.11686), so that where it
 * fails the network has most to learn.
 * @param tasks masks of the real tasks, all on the grid of `synthetic`
 * @returns 1 - Dice(any task's mask, synthetic mask), 0 where both are empty
 */
export function disagreement(tasks: readonly MaskVolume[], synthetic: MaskVolume): number {
  const walks = tasks.map((mask) => mask.slabs());
  let [either, both] = [0, 0];
  for (const slab of synthetic.slabs()) {
    const others = walks.map((walk) => walk.next().value as Uint8Array);
    for (let at = 0; at < slab.length; at++) {
      const aggregate = others.some((other) => other[at] !== 0) ? 1 : 0;
      either += slab[at]! + aggregate;
      both += slab[at]! & aggregate;
    }
  }
  return either === 0 ? 0 : 1 - (2 * both) / either;
}

/** Whether a model was trained to agree with itself: a supervised run trains no synthetic task. */
export function agreementIsTrained({ training }: Pick<Plan, 'training'>): boolean {
  return training.mode !== 'supervised';
}
