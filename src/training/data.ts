import type { ModelProvenance } from '../checkpoints/metadata.js';
import type { Plan } from '../config/plan.js';
import { openDataset } from '../datasets/dataset.js';
import { type CaseRole, type PreprocessOptions, preprocessCases } from '../preprocessing/preprocess-datasets.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import type { SamplingData } from '../sampling/rows.js';
import type { CaseEvent } from './events.js';

/** The cases that a run learns from and those that it is validated with. */
export interface TrainingData extends SamplingData {
  /** Cases with labels, for validation during training. */
  readonly validation: readonly PreprocessedCase[];
  /** Where the data come from, for the provenance of the model. */
  readonly sources: ModelProvenance['data'];
}

/**
 * Opens and preprocesses what a plan needs: no unlabelled cases where no step uses them. Yields each case as it is ready.
 * @throws what `preprocessCases` throws; VERSEMI_ABORTED by `signal`
 */
export async function* openTrainingData(
  plan: Plan,
  options: Pick<PreprocessOptions, 'cacheFolder' | 'signal'>,
): AsyncGenerator<CaseEvent, TrainingData> {
  const { mode, stage2Steps } = plan.training;
  const unlabeled = mode === 'semi-supervised' && stage2Steps > 0;
  const roles: CaseRole[] = ['labeled', ...(unlabeled ? (['unlabeled'] as const) : []), 'validation'];
  const data: Record<CaseRole, PreprocessedCase[]> = { labeled: [], unlabeled: [], validation: [] };
  for await (const { role, case: one, cached, index, total } of preprocessCases(plan, { ...options, roles })) {
    data[role].push(one);
    yield { type: 'case', step: 0, role, dataset: one.dataset, id: one.id, cached, index, total };
  }
  return { ...data, sources: await Promise.all(plan.datasets.map(sourceOf)) };
}

async function sourceOf({ name, path, format }: Plan['datasets'][number]): Promise<ModelProvenance['data'][number]> {
  const { licence, reference } = await openDataset(path, { format });
  return {
    dataset: name,
    ...(licence === undefined ? {} : { licence }),
    ...(reference === undefined ? {} : { reference }),
  };
}

/** The validation cases that a run uses: the first of each dataset, up to the plan's number. */
export function validationCases(plan: Plan, cases: readonly PreprocessedCase[]): PreprocessedCase[] {
  const limit = plan.training.validationCases ?? Number.POSITIVE_INFINITY;
  return plan.datasets.flatMap(({ name }) => cases.filter(({ dataset }) => dataset === name).slice(0, limit));
}
