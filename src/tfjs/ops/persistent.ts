import { engine, keep, type Tensor, tensor } from '#tfjs';
import { VersemiBackend } from '../backend/backend.js';

/**
 * A tensor that stays where it is and whose values are overwritten from step to step: what a step that is recorded and
 * replayed takes in. Values given are held without a copy until a kernel first needs them, as in TF.js.
 */
export class PersistentTensor<T extends Tensor = Tensor> {
  private current: T | undefined;
  /** What `prefetch` was given last and `set` has not yet taken over. */
  private ahead: { readonly values: Float32Array; readonly arrived: Promise<boolean> } | undefined;

  constructor(readonly shape: readonly number[]) {}

  /** @throws where no values were given yet */
  get tensor(): T {
    if (this.current === undefined) throw new Error('a persistent tensor without values');
    return this.current;
  }

  get canPrefetch(): boolean {
    return this.backend()?.device.upload !== undefined;
  }

  /** Values for the kernels that are called from now on; those called before see the old ones. */
  set(values: Float32Array): void {
    this.ahead = undefined;
    const backend = this.backend();
    if (backend !== undefined) {
      backend.overwrite(this.tensor, values);
      return;
    }
    this.current?.dispose();
    this.current = keep(tensor(values, [...this.shape]) as T);
  }

  /**
   * Begins to bring the values that `take` will be given to the device, while kernels still use the present ones. They must
   * not change before `take`. Does nothing where the device has nothing to gain.
   */
  prefetch(values: Float32Array): void {
    const started = this.backend()?.prefetch(this.tensor, values);
    if (started === undefined) return;
    // Without it the values come with `take`: nothing is lost but time.
    const arrived = started.then(
      () => true,
      () => false,
    );
    this.ahead = { values, arrived };
  }

  /** As `set`, but takes over what was prefetched where it is the same array. */
  async take(values: Float32Array): Promise<void> {
    const { ahead } = this;
    const arrived = ahead !== undefined && (await ahead.arrived) && ahead.values === values;
    const backend = this.backend();
    if (!arrived || backend === undefined) return this.set(values);
    this.ahead = undefined;
    backend.commit(this.tensor);
  }

  dispose(): void {
    this.current?.dispose();
    this.current = undefined;
  }

  /** The backend that holds the tensor, where it is one of ours; others have no way to overwrite a tensor. */
  private backend(): VersemiBackend | undefined {
    if (this.current === undefined) return undefined;
    const info = engine().state.tensorInfo.get(this.current.dataId);
    return info?.backend instanceof VersemiBackend ? info.backend : undefined;
  }
}
