import { dispose, type TensorContainer } from '#tfjs';
import { currentDevice } from '../backend/backend.js';
import { NotRecordable, type Recording } from '../devices/device.js';

/** Runs before it is recorded: by then every tensor that stays is on the device and the pool has the memory of a run. */
const warmUpRuns = 2;

/**
 * A computation that is run again and again on the same tensors, whose values change in between. Where the device can, its
 * kernel calls are recorded once and then replayed as a whole; elsewhere, and where it cannot be recorded, it is simply run.
 *
 * What changes from run to run must enter through tensors that stay ({@link PersistentTensor}, variables that are written
 * in place): every other number is part of the recording. Nothing in it may read a tensor.
 */
export class RepeatedComputation<T extends TensorContainer> {
  private runs = 0;
  private recording: Recording | undefined;
  /** Of the recording: the tensors that each replay fills. */
  private results: T | undefined;
  private refusal: string | undefined;

  /**
   * @param compute called inside a tidy of the caller's or its own; the tensors that it returns must be kept
   * @param recordable false where it reads tensors: it is then run each time
   */
  constructor(
    private readonly compute: () => T,
    private readonly recordable = true,
  ) {}

  /** Why it cannot be recorded, once that is known. */
  get refused(): string | undefined {
    return this.refusal;
  }

  /** @returns results that hold until the next run; `free` gives up what the caller need not keep */
  run(): { readonly results: T; free(): void } {
    if (this.recording?.replay() === true) return this.kept();
    // No longer valid (memory was needed elsewhere, a tensor was replaced): as if it had never been recorded.
    if (this.recording !== undefined) this.forget();
    const device = currentDevice();
    if (this.recordable && this.runs >= warmUpRuns && this.refusal === undefined && device?.record !== undefined) {
      const recording = this.record(device.record.bind(device));
      if (recording?.replay() === true) {
        this.recording = recording;
        return this.kept();
      }
      recording?.dispose();
      this.forget();
    }
    this.runs++;
    const results = this.compute();
    return { results, free: () => dispose(results) };
  }

  dispose(): void {
    this.forget();
  }

  private kept() {
    return { results: this.results!, free: () => {} };
  }

  private record(record: (work: () => void) => Recording): Recording | undefined {
    try {
      return record(() => {
        this.results = this.compute();
      });
    } catch (error) {
      this.forget();
      if (!(error instanceof NotRecordable)) throw error;
      this.refusal = error.message;
      return undefined;
    }
  }

  private forget(): void {
    this.recording?.dispose();
    this.recording = undefined;
    if (this.results !== undefined) dispose(this.results);
    this.results = undefined;
  }
}
