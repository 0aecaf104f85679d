import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Sitting } from '../checkpoints/metadata.js';
import type { ProgramVersion } from '../root.js';

/** Where a training goes on, without the steps that it does there. */
export type Place = Omit<Sitting, 'firstStep' | 'lastStep' | 'seconds'>;

/** @param device its description */
export function placeHere(program: ProgramVersion, device: string): Place {
  const processor = cpus()[0]?.model.trim() || 'unknown';
  return {
    program: { ...program, node: process.versions.node },
    device,
    machine: {
      processor,
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      system: `${platform()} ${release()} ${arch()}`,
    },
  };
}

/**
 * The sittings of a run with the present one. A sitting that goes on in the same place is the one before it, longer: a run that a scheduler
 * stops every hour does not grow.
 * @param seconds of the present sitting so far
 */
export function withSitting(
  earlier: readonly Sitting[],
  place: Place,
  stepsBefore: number,
  stepsDone: number,
  seconds: number,
): readonly Sitting[] {
  if (stepsDone === stepsBefore) return earlier;
  const last = earlier.at(-1);
  if (last !== undefined && last.lastStep === stepsBefore) {
    const { firstStep, lastStep: _, seconds: before, ...there } = last;
    if (isDeepStrictEqual(there, place))
      return [...earlier.slice(0, -1), { firstStep, lastStep: stepsDone, seconds: before + seconds, ...place }];
  }
  return [...earlier, { firstStep: stepsBefore + 1, lastStep: stepsDone, seconds, ...place }];
}
