import { clone, engine, type NamedTensorMap, type Tensor } from '#tfjs';
import { differentiable, freeTape, isRecording, rehearse } from './differentiable.js';

/**
 * f(inputs), of which only the inputs are kept for the gradient: what f computes on its way is dropped after the forward
 * pass and computed again when the backward pass needs it (Chen et al., "Training Deep Nets with Sublinear Memory Cost",
 * 2016, arXiv 1604.06174). Less memory for more time; values and gradients are bitwise those of f(inputs).
 *
 * @param inputs every tensor that f differentiates by. Those whose gradient may not be wanted stand first: computing again
 *   spares the gradients of the ones in front.
 * @param f pure, computed from the tensors that it is given; `again` is true in the backward pass, where nothing that lasts
 *   (moving statistics) must change a second time
 */
export function recomputed<I extends NamedTensorMap, T extends Tensor>(
  inputs: I,
  f: (inputs: I, again: boolean) => T,
): T {
  if (!isRecording()) return f(inputs, false);
  const names = Object.keys(inputs);
  return differentiable<T>({
    inputs,
    forward: (keep) => {
      const result = rehearse(() => f(inputs, false));
      keep(names.map((name) => inputs[name]!));
      return result;
    },
    backward: (gradOutput, { saved, once }) => {
      const given = Object.fromEntries(names.map((name, i) => [name, saved[i]!])) as I;
      // TF.js asks for the gradients in order and leaves out those that nobody wants.
      let first: number | undefined;
      const gradients = once(() => gradientsOf(() => f(given, true), saved.slice(first, names.length), gradOutput));
      const gradientOf = (index: number) => {
        first ??= index;
        return clone(gradients()[index - first]!);
      };
      return Object.fromEntries(names.map((name, index) => [name, () => gradientOf(index)]));
    },
  });
}

/** Gradients of f by xs in the middle of another backward pass, whose tape stays as it is. */
function gradientsOf(f: () => Tensor, xs: readonly Tensor[], gradOutput: Tensor): Tensor[] {
  const { state } = engine();
  const outer = state.activeTape;
  try {
    const { grads } = engine().gradients(
      () => {
        const result = f();
        // The backward pass looks at its id only: its memory can be had.
        result.dispose();
        return result;
      },
      [...xs],
      gradOutput,
    );
    return grads;
  } catch (error) {
    if (state.activeTape !== outer) freeTape();
    throw error;
  } finally {
    state.activeTape = outer;
  }
}
