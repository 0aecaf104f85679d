import * as tf from '#tfjs';
import type { Plan } from '../config/plan.js';
import { type Field, fields } from '../sampling/fields.js';
import { RecipeMaker } from '../sampling/recipe.js';
import type { SamplingData } from '../sampling/rows.js';
import { batchFacts } from '../sampling/sampler.js';
import { type StepTables, VolumeLayout } from '../sampling/volume-tables.js';
import { cutMix, cutPatches } from '../tfjs/ops/index.js';
import type { InputSource, StepData, StepSource, StepValues } from './step-data.js';

/**
 * The volumes of a run on the current device. Steps reach the device as tables of rows alone; patches, targets and CutMix
 * are made there, bitwise as the host makes them from the same rows.
 */
export class DeviceVolumes implements StepSource {
  readonly notice: string;
  private readonly maker: RecipeMaker;
  private readonly layout: VolumeLayout;
  private readonly values: tf.Tensor1D;
  private readonly lookups: tf.Tensor2D;

  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY, VERSEMI_SPLIT_INVALID */
  constructor(
    private readonly plan: Plan,
    private readonly cases: SamplingData,
  ) {
    this.maker = new RecipeMaker(plan, cases);
    this.layout = new VolumeLayout(plan, cases);
    const { lookups, elements } = this.layout;
    this.values = tf.keep(tf.tensor1d(this.layout.fill()));
    this.lookups = tf.keep(tf.tensor2d(lookups.values, [...lookups.shape]));
    this.notice = `The volumes lie on the device (${mebibytes(elements)} MiB): patches are cut and mixed there.`;
    try {
      // Brings them there now: whether they fit must be known before the first step.
      tf.tidy(() => tf.slice(this.values, 0, 1).dataSync());
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  async data(step: number): Promise<StepData> {
    const recipe = this.maker.recipe(step);
    const tables = this.layout.tables(recipe);
    const { prompts } = batchFacts(recipe, this.cases);
    return {
      step,
      prompts,
      values: () => tableValues(tables),
      tensors: (inputs) => this.tensors(tables, inputs),
    };
  }

  async close(): Promise<void> {
    this.dispose();
  }

  /** Carries out the rows; of `tables` only what is the same in every step of a stage counts. */
  private tensors(tables: StepTables, inputs: InputSource): InputSource {
    const [x, y, z] = this.plan.patchSizeVoxels;
    const patches = {
      image: cutPatches(this.values, inputs.get('rows.images'), [z, y, x]),
      mask: cutPatches(this.values, inputs.get('rows.targets'), [z, y, x], this.lookups),
    };
    const made = new Map<string, tf.Tensor>();
    for (const [name, table] of tables.fields) {
      const { kind }: Field = fields[name];
      const voxels =
        'mix' in table
          ? cutMix(patches[kind], inputs.get(`rows.${name}`))
          : tf.slice(patches[kind], [table.first, 0, 0, 0], [table.count, z, y, x]);
      made.set(name, kind === 'image' ? tf.expandDims(voxels, 4) : voxels);
    }
    return {
      get: <T extends tf.Tensor>(name: string) => (made.get(name) as T | undefined) ?? inputs.get<T>(name),
      has: (name) => made.has(name) || inputs.has(name),
    };
  }

  private dispose(): void {
    this.values.dispose();
    this.lookups.dispose();
  }
}

function tableValues({ images, targets, fields }: StepTables): StepValues {
  const mixes = [...fields].flatMap(([name, table]) => ('mix' in table ? [[`rows.${name}`, table.mix] as const] : []));
  return new Map([['rows.images', images], ['rows.targets', targets], ...mixes]);
}

/** MiB of float32 elements, rounded up. */
export function mebibytes(elements: number): number {
  return Math.ceil((4 * elements) / 2 ** 20);
}
