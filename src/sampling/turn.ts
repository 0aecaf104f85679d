import type { PatchAugmentation } from './recipe.js';

/** How quarter turns in the x-y plane and flips permute and mirror the axes of a patch. */
export function turned({ quarterTurns, flip }: Pick<PatchAugmentation, 'quarterTurns' | 'flip'>): {
  readonly axes: readonly [0 | 1 | 2, 0 | 1 | 2, 0 | 1 | 2];
  readonly flipped: readonly [boolean, boolean, boolean];
} {
  const rotated = [quarterTurns === 1 || quarterTurns === 2, quarterTurns === 2 || quarterTurns === 3, false] as const;
  return {
    axes: quarterTurns % 2 === 0 ? [0, 1, 2] : [1, 0, 2],
    flipped: [rotated[0] !== flip[0], rotated[1] !== flip[1], flip[2]],
  };
}
