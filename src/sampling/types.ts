/**
 * The host data of one training step. All arrays are [N, D, H, W] = [sample, z, y, x], one after the other; V is the
 * number of voxels of a patch. They lie in buffers that are used again: see `Sampler.batch` for how long they hold.
 */

/** Labelled patches, each with the targets of P tasks of its dataset (P = 1, or with `promptsPerImage: 'all'` all of them). */
export interface LabeledGroup {
  /** [N, V] */
  readonly image: Float32Array;
  /** [N, P, V]: 1 on the foreground of each of the patch's own tasks. */
  readonly target: Float32Array;
  /** [N, P]: indices of these tasks in the plan; the first is the drawn one, with which the patch goes into a mix. */
  readonly tasks: Int32Array;
  /** [N]: `dataset/id` of the case, for logs and error sentences. */
  readonly caseIds: readonly string[];
}

/**
 * Labelled patches mixed in pairs: a (the first half of the batch) outside a cube, b (the second half) inside.
 * m is 1 outside the cube and 0 inside.
 */
export interface MixedGroup {
  /** [N/2, V] */
  readonly image: Float32Array;
  /** [N/2, V] y_mix: 1 on the foreground of any task of the patch's dataset. */
  readonly anyForeground: Float32Array;
  /**
   * [N/2, V]: y_a * m, the foreground of a's task outside the cube. When a and b are of one dataset, the foreground of
   * that task inside the cube is known too and is part of it (so that both targets are y_mix for one task).
   */
  readonly targetA: Float32Array;
  /** [N/2, V]: y_b * (1 - m); likewise. */
  readonly targetB: Float32Array;
  /** [N/2]: tasks of a. */
  readonly tasksA: Int32Array;
  /** [N/2]: tasks of b. */
  readonly tasksB: Int32Array;
}

/** Unlabelled patches, each mixed with a labelled one or with another unlabelled one inside a cube. */
export interface UnlabeledGroup {
  /** [N, V] x_u, the mixed image. */
  readonly image: Float32Array;
  /** [N, V]: 1 - m, 1 inside the cube. */
  readonly inside: Float32Array;
  /** [N, V]: any foreground of the labelled patch inside the cube, 0 outside; all 0 with 'unlabeled-pairs'. */
  readonly cubeLabel: Float32Array;
  /** What the teacher sees; only where the plan gives its loss a weight. */
  readonly teacher?: TeacherGroup;
}

/** The unlabelled patches before they are mixed. */
export interface TeacherGroup {
  /** [N, V] */
  readonly image: Float32Array;
  /** [N, P]: tasks of the patch's dataset, the synthetic task for a dataset without tasks. */
  readonly tasks: Int32Array;
}

export interface StepBatch {
  readonly step: number;
  readonly labeled: LabeledGroup;
  /** Absent in supervised mode. */
  readonly mixed?: MixedGroup;
  /** Second stage only. */
  readonly unlabeled?: UnlabeledGroup;
}
