import type { CaseFiles } from '../datasets/types.js';

/** Ways to choose the case that is labelled next. */
export const strategies = {
  disagreement:
    'the unlabelled case, of those segmented since the server began, on which the tasks and the synthetic task agree least; else the first',
  first: 'the first unlabelled case',
} as const;

export type Strategy = keyof typeof strategies;

/** How much the tasks of models disagreed on the cases of the dataset, for the page and for MONAI Label's clients alike. */
export class Suggestions {
  private readonly scores = new Map<string, number>();

  /** @param disagreement of the last time that the case was segmented, as the function of that name gives it */
  note(id: string, disagreement: number): void {
    this.scores.set(id, disagreement);
  }

  /** @returns undefined for a case that was not segmented */
  disagreementOf(id: string): number | undefined {
    return this.scores.get(id);
  }

  /** @param cases in the order of the dataset @returns undefined where all are labelled */
  next(cases: readonly CaseFiles[], strategy: Strategy = 'disagreement'): CaseFiles | undefined {
    const score = ({ id }: CaseFiles) => (strategy === 'first' ? undefined : this.scores.get(id)) ?? -1;
    return cases.filter(({ label }) => label === undefined).sort((a, b) => score(b) - score(a))[0];
  }
}
