import type { Tensor } from '#tfjs';
import { type FieldName, type FieldPlan, fieldShape, type StepBatch } from '../sampling/fields.js';
import type { StepPrompts } from '../sampling/recipe.js';

/** Host values of tensors by name. */
export type StepValues = ReadonlyMap<string, { readonly values: Float32Array; readonly shape: readonly number[] }>;

/** Tensors by name. */
export interface InputSource {
  /** A tensor that is there. */
  get<T extends Tensor>(name: string): T;
  /** Whether there is a tensor of this name. */
  has(name: string): boolean;
}

/** The data of one step, wherever its voxels are made. Where that is, is decided once: see `stepSource`. */
export interface StepData {
  readonly step: number;
  readonly prompts: StepPrompts;
  /** What must be on the device for the fields of the step to be there. */
  values(): StepValues;
  /**
   * The tensors of the fields by their names, made of the tensors of `values`; call it inside a tidy. What it does depends
   * only on the terms of the step, since a device may record it once for all steps of a stage.
   * @param inputs the tensors of `values`, and others, which stay as they are
   */
  tensors(inputs: InputSource): InputSource;
  /** The voxels, where the host has made them. */
  readonly batch?: StepBatch;
}

/** Where the data of the steps of a run come from. */
export interface StepSource {
  /** Data hold until `data` has been called twice more. */
  data(step: number): Promise<StepData>;
  /** One sentence for the log: where patches are cut and why; absent where there is no choice. */
  readonly notice?: string;
  close(): Promise<void>;
}

/** A step whose voxels the host has made. */
export function hostStep(plan: FieldPlan, batch: StepBatch): StepData {
  const { step, prompts, fields } = batch;
  return {
    step,
    prompts,
    batch,
    values: () =>
      new Map(
        (Object.entries(fields) as [FieldName, Float32Array][]).map(([name, values]) => [
          name,
          { values, shape: fieldShape(plan, name) },
        ]),
      ),
    tensors: (inputs) => inputs,
  };
}
