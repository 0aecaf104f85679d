/**
 * The one convention of everything that takes longer than a moment: `signal` ends it early, `onProgress` shows how far it is, and
 * `onNotice` is told what a person should know. A verb with many results is an async iterator of them besides; a verb that has
 * nothing to tell takes no `onNotice`.
 */
export interface VerbOptions<Progress> {
  /**
   * Once it is aborted, the work ends at the next place where nothing is lost: a training writes a checkpoint and ends with an
   * event, everything else frees its memory and fails with VERSEMI_ABORTED.
   */
  readonly signal?: AbortSignal;
  /** Called after each piece of the work. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called with one sentence. Nothing is printed anywhere: a caller who leaves this out hears nothing. */
  readonly onNotice?: (text: string) => void;
}
