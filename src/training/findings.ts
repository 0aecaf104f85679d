/** What the averaged network finds in the unlabelled images before they are mixed: the targets of L_agree and L_teacher. */
import * as tf from '#tfjs';
import type { Plan } from '../config/plan.js';
import type { StepTerms } from '../config/steps.js';
import { ofPrompt } from '../losses/overlap.js';
import { type PseudoLabel, pseudoLabel } from '../losses/pseudo-label.js';
import { certain } from '../losses/uncertainty.js';
import type { VersemiNetwork } from '../model/network.js';
import type { Triple } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import type { InputSource, StepValues } from './step-data.js';

/** Constants: no gradient flows into them, and no activation is kept for one. */
export interface Findings {
  /** Own tasks of each image, [n * P, depth, height, width]. */
  readonly tasks?: PseudoLabel;
  /** The largest of all tasks, [n, depth, height, width]. */
  readonly aggregate?: {
    readonly label: PseudoLabel;
    /** Whether it says what lies everywhere in the mix, or only what lies where the unlabelled image itself does. */
    readonly everywhere: boolean;
  };
}

type FindingsPlan = Pick<Plan, 'tasks' | 'training' | 'cutmix' | 'losses'>;

/** Name of the tensor with the logits of the averaged network, where the host has looked for components in them. */
const searched = 'unlabeled.averaged';

/**
 * @param network has the averaged weights
 * @param inputs with `unlabeled.averaged` where the plan wants largest components
 */
export function findings(network: VersemiNetwork, plan: FindingsPlan, inputs: InputSource, terms: StepTerms): Findings {
  const { losses } = plan;
  const logits = losses.largestComponent ? inputs.get<tf.Tensor5D>(searched) : averagedLogits(network, plan, inputs);
  const wanted = partsOf(logits, plan, terms);
  const certainties = losses.entropy === null ? undefined : certaintiesOf(network, plan, inputs, terms, wanted);
  const label = (part: keyof Parts): PseudoLabel => {
    const found = pseudoLabel(wanted[part]!, losses.pseudoLabel, losses.confidence);
    const sure = certainties?.[part];
    if (sure === undefined) return found;
    return { ...found, counted: found.counted === undefined ? sure : tf.mul(found.counted, sure) };
  };
  return {
    ...(wanted.tasks === undefined ? {} : { tasks: label('tasks') }),
    ...(wanted.aggregate === undefined ? {} : { aggregate: inMix(label('aggregate'), plan, inputs) }),
  };
}

/** Logits of the averaged network for the prompts of `unlabeled.cleanPrompts`, [n, prompts, depth, height, width]. */
export function averagedLogits(
  network: VersemiNetwork,
  { losses }: FindingsPlan,
  inputs: InputSource,
  pass = 0,
): tf.Tensor5D {
  const clean = inputs.get<tf.Tensor5D>('unlabeled.clean');
  const trunk = network.trunk(losses.teacherNoise === 0 ? clean : tf.add(clean, noiseOf(pass)));
  return network.logits(trunk, inputs.get<tf.Tensor3D>('unlabeled.cleanPrompts'), losses.teacherStatistics);

  function noiseOf(pass: number): tf.Tensor5D {
    const count = clean.shape[0];
    const noise = tf.slice(inputs.get<tf.Tensor5D>('unlabeled.noise'), pass * count, count);
    return tf.clipByValue(noise, -2 * losses.teacherNoise, 2 * losses.teacherNoise);
  }
}

/** Logits by what they are for. */
type Parts = { readonly [Part in keyof Findings]?: tf.Tensor };

function partsOf(logits: tf.Tensor5D, { tasks }: FindingsPlan, { unlabeled }: StepTerms): Parts {
  const real = unlabeled.includes('agreement') ? tasks.length : 0;
  const [n, prompts, ...volume] = logits.shape;
  return {
    ...(real === 0 ? {} : { aggregate: tf.max(tf.slice(logits, [0, 0, 0, 0, 0], [n, real, ...volume]), 1) }),
    ...(unlabeled.includes('teacher') ? { tasks: ofPrompt(logits, real, prompts - real) } : {}),
  };
}

/** Where the mean over the noisy passes is certain; without noisy passes, where the target itself is. */
function certaintiesOf(
  network: VersemiNetwork,
  plan: FindingsPlan,
  inputs: InputSource,
  terms: StepTerms,
  ofTarget: Parts,
): Parts {
  const { noisyPasses } = plan.losses;
  const keys = Object.keys(ofTarget) as (keyof Parts)[];
  const probabilities = (parts: Parts) => keys.map((key) => tf.sigmoid(parts[key]!));
  let sum: tf.Tensor[] | undefined;
  for (let pass = 1; pass <= noisyPasses; pass++) {
    const next = tf.tidy(() => {
      const found = probabilities(partsOf(averagedLogits(network, plan, inputs, pass), plan, terms));
      return found.map((one, i) => (sum === undefined ? one : tf.add(sum[i]!, one)));
    });
    tf.dispose(sum);
    sum = next;
  }
  const means = sum?.map((one) => tf.div(one, noisyPasses)) ?? probabilities(ofTarget);
  const share = inputs.get<tf.Scalar>('entropy.share');
  return Object.fromEntries(keys.map((key, i) => [key, certain(means[i]!, share)]));
}

/** Of pairs of unlabelled images both are known in the mix: where the partner lies, what was found in the partner. */
function inMix(label: PseudoLabel, { cutmix }: FindingsPlan, inputs: InputSource): NonNullable<Findings['aggregate']> {
  if (cutmix.unlabeledMix !== 'unlabeled-pairs') return { label, everywhere: false };
  const partner = inputs.get('unlabeled.partner');
  const half = partner.shape[0]! / 2;
  const mixed = (own: tf.Tensor) => {
    // The partner of i is i + N / 2, and the other way round (`partnerOf`).
    const other = tf.concat([tf.slice(own, half, half), tf.slice(own, 0, half)]);
    return tf.add(own, tf.mul(partner, tf.sub(other, own)));
  };
  const counted = label.counted && mixed(label.counted);
  return { label: { target: mixed(label.target), ...(counted && { counted }) }, everywhere: true };
}

/**
 * Keeps of the foreground of each patch the largest connected component alone: the logits of the other foreground get the
 * opposite sign, so that it becomes background of the same confidence.
 * @param logits [n, prompts, depth, height, width], changed in place
 * @returns values of the tensor that `findings` reads
 */
export function largestComponents(logits: Float32Array, shape: readonly number[]): StepValues {
  const [depth, height, width] = shape.slice(2) as [number, number, number];
  const sizeVoxels: Triple = [width, height, depth];
  const voxels = depth * height * width;
  const mask = new Uint8Array(voxels);
  for (let at = 0; at < logits.length; at += voxels) {
    const patch = logits.subarray(at, at + voxels);
    for (let i = 0; i < voxels; i++) mask[i] = Number(patch[i]! > 0);
    host().largestComponent(mask, sizeVoxels, undefined, mask);
    for (let i = 0; i < voxels; i++) if (patch[i]! > 0 && mask[i] === 0) patch[i] = -patch[i]!;
  }
  return new Map([[searched, { values: logits, shape }]]);
}
