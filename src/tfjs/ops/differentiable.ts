import { engine, type NamedTensorMap, type Scalar, type Tensor, tidy, type Variable, variableGrads } from '#tfjs';

/** Gives backward functions the tensors they share. */
export interface BackwardContext {
  /** Tensors that the forward function saved. */
  readonly saved: Tensor[];
  /** Wraps a computation whose results several gradients need: it runs at most once, at first use. */
  once<T extends Tensor[]>(compute: () => T): () => T;
}

interface DifferentiableOp<T extends Tensor | Tensor[]> {
  /** Tensors to differentiate by. The order matters: after the gradient of the last one, what was saved is freed. */
  readonly inputs: NamedTensorMap;
  readonly forward: (save: (tensors: Tensor[]) => void) => T;
  /** One function per input; only those whose input needs a gradient are called, in the order of `inputs`. */
  readonly backward: (gradOutput: Tensor, context: BackwardContext) => Record<string, () => Tensor>;
}

/** The part of TF.js's engine that customGrad is made of. */
interface TapeEngine {
  runKernelFunc(call: {
    inputs: NamedTensorMap;
    forwardFunc: (backend: unknown, save: (tensors: Tensor[]) => void) => Tensor | Tensor[];
    backwardsFunc: (gradOutput: Tensor | Tensor[], saved: Tensor[]) => Record<string, () => Tensor>;
  }): Tensor | Tensor[];
}

let rehearsing = false;

/** True where an op must make what its gradient needs. */
export function isRecording(): boolean {
  const { gradientDepth, kernelDepth } = engine().state;
  return rehearsing || (gradientDepth > 0 && kernelDepth === 0);
}

/** Runs ops as if they were recorded, so that their results are bitwise those of a recorded run. */
export function rehearse<T>(f: () => T): T {
  const before = rehearsing;
  rehearsing = true;
  try {
    return f();
  } finally {
    rehearsing = before;
  }
}

/**
 * An op with its own gradient. Like tf.customGrad, of which it uses the mechanism, with two differences: a gradient that
 * nobody asks for is not computed, and activations are freed as the backward pass goes on instead of at its end, which
 * halves the peak of a training step. Where the op has several outputs, only the first is differentiable.
 */
export function differentiable<T extends Tensor | Tensor[]>(op: DifferentiableOp<T>): T {
  const last = Object.keys(op.inputs).at(-1);
  return (engine() as unknown as TapeEngine).runKernelFunc({
    inputs: op.inputs,
    forwardFunc: (_, save) => {
      // Only then: what is saved for an op that fails would never be freed.
      let kept: Tensor[] = [];
      const result = op.forward((tensors) => {
        kept = tensors;
      });
      save(kept);
      return result;
    },
    backwardsFunc: (gradients, saved) => {
      const gradOutput = Array.isArray(gradients) ? gradients[0]! : gradients;
      const mayFree = engine().state.gradientDepth === 0;
      // A gradient made by this backward pass has one reader, this op; one that the user passed in is the user's.
      const ownsGradient = mayFree && scopeOf(gradOutput) === engine().state.activeScope?.id;
      const context: BackwardContext = { saved: saved.slice(), once: (compute) => once(compute, saved) };
      const functions = op.backward(gradOutput, context);
      const free = () => {
        for (const tensor of saved) tensor.dispose();
        if (ownsGradient) gradOutput.dispose();
      };
      return Object.fromEntries(
        Object.entries(functions).map(([name, compute]) => [
          name,
          name === last && mayFree ? () => andThen(compute(), free) : compute,
        ]),
      );
    },
  }) as T;
}

/**
 * As tf.variableGrads, but a pass that throws leaves nothing behind: what ops saved for their gradients is kept beyond any
 * tidy, and TF.js frees it at the end of a pass that gets there.
 * @throws whatever `f` and the kernels throw
 */
export function variableGradients(f: () => Scalar, variables: Variable[]): ReturnType<typeof variableGrads> {
  const { state } = engine();
  try {
    return variableGrads(f, variables);
  } catch (error) {
    if (state.gradientDepth === 0) freeTape();
    throw error;
  }
}

/** Gives up what the ops of the present tape saved. */
export function freeTape(): void {
  const { state } = engine();
  for (const { saved } of state.activeTape ?? []) for (const tensor of saved ?? []) tensor.dispose();
  state.activeTape = [];
}

function andThen<T>(value: T, action: () => void): T {
  action();
  return value;
}

function scopeOf(tensor: Tensor): number | undefined {
  return (tensor as unknown as { scopeId?: number }).scopeId;
}

/** The results join `saved`, which is freed with the tape node whether or not the last gradient is asked for. */
function once<T extends Tensor[]>(compute: () => T, saved: Tensor[]): () => T {
  let results: T | undefined;
  return () => {
    if (results !== undefined) return results;
    const computed: T = tidy(() => {
      const tensors = compute();
      for (const tensor of tensors) engine().keep(tensor);
      return tensors;
    });
    saved.push(...computed);
    results = computed;
    return computed;
  };
}
