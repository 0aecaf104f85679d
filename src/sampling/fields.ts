/**
 * The voxel data of a training step as one list of fields. The type of a batch, the block of memory that worker threads
 * write, the tensors of a step and the tables for the device all follow from this list.
 */
import type { Plan } from '../config/plan.js';
import { isOwnTerm, type LossTerm, type StepGroup, stageBegins, stepTerms } from '../config/steps.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { voxelCount } from '../volume/volume.js';
import { promptsPerImage, type StepPrompts } from './recipe.js';
import { type BatchShare, shareRows } from './share.js';

/** Where a patch of a step comes from: its row among the image rows or the target rows of `StepRows`, or a constant. */
export type PatchSource = number;
/** In place of a patch: 0 in every voxel. */
export const zeros: PatchSource = -1;
/** In place of a patch: 1 in every voxel. */
export const ones: PatchSource = -2;

/** What can be read of one patch of a step. */
export interface PatchSources {
  readonly image: PatchSource;
  /** Foreground of each task that the patch is prompted with; the first is the drawn task, with which it goes into a mix. */
  readonly targets: readonly PatchSource[];
  /** Foreground of all tasks of the patch's dataset; zeros where no label is known. */
  readonly anyForeground: PatchSource;
  /** Foreground of the drawn task of the patch that this one is mixed with; zeros where this one is not labelled for it. */
  readonly partnerTarget: PatchSource;
  /** Where the label behind each of `targets` is known; none unless the plan has unknown voxels. */
  readonly known: readonly PatchSource[];
  /** Of an unlabelled patch that is mixed with a labelled one: the `targets` of that one. */
  readonly partnerTargets: readonly PatchSource[];
}

/** The patches of a field: some for each patch of its group, or one CutMix for each mix of its group. */
type FieldSource =
  /** Gaussian noise of the standard deviation `losses.teacherNoise`. */
  | { readonly noise: true }
  | { readonly cut: (patch: PatchSources) => readonly PatchSource[] }
  | {
      /** What lies outside the cube and what lies inside it, given the patches outside and inside. */
      readonly mix: (outside: PatchSources, inside: PatchSources) => readonly [PatchSource, PatchSource];
    };

/** The part of a plan that fields follow from, and what its cases add to it: see `withUnknownVoxels`. */
export type FieldPlan = Pick<Plan, 'tasks' | 'datasets' | 'patchSizeVoxels' | 'training' | 'cutmix' | 'losses'> & {
  /** True where the labels of some voxels are unknown: steps then have fields that say which voxels count. */
  readonly unknownVoxels?: boolean;
  /** The part of each batch that this process makes; absent: all of it. */
  readonly share?: BatchShare;
};

/** A plan that knows whether its labelled cases have voxels whose labels are unknown. */
export function withUnknownVoxels(
  plan: Plan,
  { labeled }: { readonly labeled: readonly Pick<PreprocessedCase, 'known'>[] },
): Plan & FieldPlan {
  return labeled.some(({ known }) => known !== undefined) ? { ...plan, unknownVoxels: true } : plan;
}

/** How voxels are stored on the host, by the name that fields state. */
const arrayTypes = { float32: Float32Array } as const;

export interface Field {
  /** The images with which the field goes through the trunk. */
  readonly group: StepGroup;
  /** image: a tensor [n, z, y, x, 1]; mask: a target or a region, a tensor [n, z, y, x] of values in [0, 1]. */
  readonly kind: 'image' | 'mask';
  readonly values: keyof typeof arrayTypes;
  /** n, the patches per step. */
  readonly patches: (plan: FieldPlan) => number;
  /** Steps with one of these terms have the field; `own` stands for every term of one's own in the group. */
  readonly readBy: readonly (LossTerm | 'own')[];
  /** Plans without which no step has it; absent: all plans. */
  readonly only?: (plan: Pick<FieldPlan, 'cutmix' | 'losses' | 'unknownVoxels' | 'share'>) => boolean;
  readonly source: FieldSource;
}

const labeled = (plan: FieldPlan) => shareRows(plan).rows.labeled.length;
const mixes = (plan: FieldPlan) => shareRows(plan).rows.mixed.length;
const unlabeled = (plan: FieldPlan) => shareRows(plan).rows.unlabeled.length;
const hasUnknownVoxels = ({ unknownVoxels }: Pick<FieldPlan, 'unknownVoxels'>) => unknownVoxels === true;
const isMixed = ({ cutmix }: Pick<FieldPlan, 'cutmix'>) => cutmix.unlabeledMix !== 'none';

/** All fields; the name begins with the group and is the name of the tensor. m is 1 outside the cube and 0 inside. */
export const fields = {
  /** Labelled patches. */
  'labeled.image': {
    group: 'labeled',
    kind: 'image',
    values: 'float32',
    patches: labeled,
    readBy: ['dice', 'crossEntropy'],
    source: { cut: ({ image }) => [image] },
  },
  /** Foreground of each task that a labelled patch is prompted with: as many patches as prompts per image. */
  'labeled.target': {
    group: 'labeled',
    kind: 'mask',
    values: 'float32',
    patches: (plan) => labeled(plan) * promptsPerImage(plan),
    readBy: ['dice', 'crossEntropy'],
    source: { cut: ({ targets }) => targets },
  },
  /** Where the labels behind `labeled.target` are known. */
  'labeled.known': {
    group: 'labeled',
    kind: 'mask',
    values: 'float32',
    patches: (plan) => labeled(plan) * promptsPerImage(plan),
    readBy: ['dice', 'crossEntropy'],
    only: hasUnknownVoxels,
    source: { cut: ({ known }) => known },
  },
  /** x_mix: labelled patches in pairs, a (of the first half of the batch) outside the cube, b inside. */
  'mixed.image': {
    group: 'mixed',
    kind: 'image',
    values: 'float32',
    patches: mixes,
    readBy: ['synthetic', 'auxiliary', 'own'],
    source: { mix: (a, b) => [a.image, b.image] },
  },
  /** y_mix: foreground of any task of the dataset of each part. */
  'mixed.anyForeground': {
    group: 'mixed',
    kind: 'mask',
    values: 'float32',
    patches: mixes,
    readBy: ['synthetic', 'own'],
    source: { mix: (a, b) => [a.anyForeground, b.anyForeground] },
  },
  /**
   * y_a * m. Where b is labelled for the task of a too, what b holds of it is part of the target: to leave it out would
   * call it background. (So both targets are y_mix where a and b have the same task.)
   */
  'mixed.targetA': {
    group: 'mixed',
    kind: 'mask',
    values: 'float32',
    patches: mixes,
    readBy: ['auxiliary'],
    source: { mix: (a, b) => [a.targets[0]!, b.partnerTarget] },
  },
  /** y_b * (1 - m), likewise. */
  'mixed.targetB': {
    group: 'mixed',
    kind: 'mask',
    values: 'float32',
    patches: mixes,
    readBy: ['auxiliary'],
    source: { mix: (a, b) => [a.partnerTarget, b.targets[0]!] },
  },
  /** Where the labels behind the three masks above are known. */
  'mixed.known': {
    group: 'mixed',
    kind: 'mask',
    values: 'float32',
    patches: mixes,
    readBy: ['synthetic', 'auxiliary', 'own'],
    only: hasUnknownVoxels,
    source: { mix: (a, b) => [a.known[0]!, b.known[0]!] },
  },
  /** x_u: unlabelled patches, each mixed with a partner, a labelled patch or another unlabelled one. */
  'unlabeled.image': {
    group: 'unlabeled',
    kind: 'image',
    values: 'float32',
    patches: unlabeled,
    readBy: ['unsupervised', 'cube', 'cubeTasks', 'agreement', 'teacher', 'own'],
    only: isMixed,
    source: { mix: (own, partner) => [own.image, partner.image] },
  },
  /** 1 where the partner lies, 0 where the unlabelled patch itself does. */
  'unlabeled.partner': {
    group: 'unlabeled',
    kind: 'mask',
    values: 'float32',
    patches: unlabeled,
    readBy: ['cube', 'cubeTasks', 'agreement', 'teacher', 'own'],
    only: isMixed,
    source: { mix: () => [zeros, ones] },
  },
  /** Any foreground of the labelled partner, where it lies. */
  'unlabeled.cubeLabel': {
    group: 'unlabeled',
    kind: 'mask',
    values: 'float32',
    patches: unlabeled,
    readBy: ['cube'],
    source: { mix: (_, partner) => [zeros, partner.anyForeground] },
  },
  /**
   * Foreground of the tasks of the labelled partner, not mixed. Only for a rank, which may not have the partner among its labelled
   * patches: else `labeled.target` holds them.
   */
  'unlabeled.partnerTarget': {
    group: 'unlabeled',
    kind: 'mask',
    values: 'float32',
    patches: (plan) => unlabeled(plan) * promptsPerImage(plan),
    readBy: ['cubeTasks'],
    only: ({ share }) => share !== undefined,
    source: { cut: ({ partnerTargets }) => partnerTargets },
  },
  /** How much of the labels of the labelled partner is known, where it lies. */
  'unlabeled.partnerKnown': {
    group: 'unlabeled',
    kind: 'mask',
    values: 'float32',
    patches: unlabeled,
    readBy: ['cube', 'cubeTasks'],
    only: hasUnknownVoxels,
    source: { mix: (_, partner) => [zeros, partner.known[0]!] },
  },
  /** The unlabelled patches before they are mixed. */
  'unlabeled.clean': {
    group: 'unlabeled',
    kind: 'image',
    values: 'float32',
    patches: unlabeled,
    readBy: ['unsupervised', 'agreement', 'teacher', 'own'],
    only: ({ cutmix, losses }) => !isMixed({ cutmix }) || losses.agreement > 0 || losses.teacher > 0,
    source: { cut: ({ image }) => [image] },
  },
  /** What is added to them for the averaged network: one batch for its targets, and one for each of its noisy passes. */
  'unlabeled.noise': {
    group: 'unlabeled',
    kind: 'image',
    values: 'float32',
    patches: (plan) => unlabeled(plan) * (1 + plan.losses.noisyPasses),
    readBy: ['agreement', 'teacher'],
    only: ({ losses }) => losses.teacherNoise > 0,
    source: { noise: true },
  },
} as const satisfies Record<`${StepGroup}.${string}`, Field>;

/** Names of the fields of a step, see `fields`. */
export type FieldName = keyof typeof fields;

const allFields = Object.entries(fields) as [FieldName, Field][];

/** Voxels by field: patches one after the other, each [z, y, x]. Fields that are not made are absent. */
export type FieldArrays = {
  readonly [Name in FieldName]?: InstanceType<(typeof arrayTypes)[(typeof fields)[Name]['values']]>;
};

/** The host data of one training step. */
export interface StepBatch {
  readonly step: number;
  readonly prompts: StepPrompts;
  /** `dataset/id` of the case of each labelled patch, for logs and error sentences. */
  readonly caseIds: readonly string[];
  /** The fields of the step. They lie in memory that is used again: see `Sampler.batch` for how long they hold. */
  readonly fields: FieldArrays;
}

/** The fields that a step has. */
export function fieldsOf(
  plan: Pick<FieldPlan, 'training' | 'cutmix' | 'losses' | 'unknownVoxels' | 'share'>,
  step: number,
): FieldName[] {
  const terms = stepTerms(plan, step);
  return allFields
    .filter(([, { group, readBy, only }]: [FieldName, Field]) => {
      return (
        readBy.some((term) => terms[group].some((one) => one === term || (term === 'own' && isOwnTerm(one)))) &&
        only?.(plan) !== false
      );
    })
    .map(([name]) => name);
}

/** Shape of the tensor of a field. */
export function fieldShape(plan: FieldPlan, name: FieldName): number[] {
  const { kind, patches }: Field = fields[name];
  const [x, y, z] = plan.patchSizeVoxels;
  return [patches(plan), z, y, x, ...(kind === 'image' ? [1] : [])];
}

/** The fields of all steps of a plan as they lie in a block of memory: first byte and number of voxels. */
function layoutOf(plan: FieldPlan) {
  const wanted = new Set(stageBegins(plan.training).flatMap((step) => fieldsOf(plan, step)));
  let bytes = 0;
  const places = allFields.flatMap(([name, { patches, values }]) => {
    if (!wanted.has(name)) return [];
    const place = {
      name,
      type: arrayTypes[values],
      at: bytes,
      voxels: patches(plan) * voxelCount(plan.patchSizeVoxels),
    };
    bytes += place.voxels * place.type.BYTES_PER_ELEMENT;
    return [place];
  });
  return { places, bytes };
}

/** Bytes of the block that holds one step of a plan. */
export function batchBytes(plan: FieldPlan): number {
  return layoutOf(plan).bytes;
}

/** The fields of all steps over a block of `batchBytes(plan)`: the same in every thread that sees the block. */
export function batchArrays(plan: FieldPlan, block: ArrayBufferLike): FieldArrays {
  const entries = layoutOf(plan).places.map(({ name, type, at, voxels }) => [name, new type(block, at, voxels)]);
  return Object.fromEntries(entries);
}

/** Of arrays that hold the fields of all steps, those that a step has. */
export function arraysOf(plan: FieldPlan, step: number, arrays: FieldArrays): FieldArrays {
  return Object.fromEntries(fieldsOf(plan, step).map((name) => [name, arrays[name]]));
}
