import { z } from '#zod';
import { partNamePattern } from '../parts.js';
import { choice, field, flag, integer, optionalField, real } from './fields.js';

const ratio = { range: [0, 1], open: 'both' } as const;

/** How images are mixed. */
export const cutmix = z.strictObject({
  stage1Ratio: real({
    ...ratio,
    default: 2 / 3,
    explanation: 'Side of the CutMix cube in the first stage, as a share of the patch.',
  }),
  stage2Ratio: field(z.tuple([z.number().gt(0).lt(1), z.number().gt(0).lt(1)]), '[low, high], both in (0, 1)', {
    default: [0.3, 0.6],
    explanation: 'Range from which the side of the CutMix cube is drawn in the second stage, as a share of the patch.',
  }),
  unlabeledMix: choice(['labeled-inside', 'both-sides', 'unlabeled-pairs', 'none'], {
    default: 'labeled-inside',
    explanation:
      'What an unlabelled image is mixed with: a labelled image inside the cube (its label is then known there); a labelled image in turn inside and outside of the cube; another unlabelled image inside the cube; or nothing, so that it stays whole.',
  }),
  partners: choice(['any', 'same-dataset'], {
    default: 'any',
    explanation:
      'any: mixes of labelled images are of two datasets where there are two (the paper), those of unlabelled images of any; same-dataset: images that are mixed come from one dataset, as long as a batch has two of it.',
  }),
});

const weight = (explanation: string) => real({ range: [0, 1000], default: 1, explanation });

/** Weights of the loss terms, and what those of unlabelled images compare with. */
export const losses = z.strictObject({
  dice: weight('Weight of the Dice term of the supervised loss.'),
  crossEntropy: weight('Weight of the cross-entropy term of the supervised loss.'),
  synthetic: weight('Weight of the synthetic task on mixed labelled images.'),
  auxiliary: weight('Weight of the auxiliary constraint on mixed labelled images.'),
  unsupervised: weight('Weight of the agreement of the aggregate with the synthetic task on unlabelled images.'),
  cube: weight(
    'Weight of the synthetic task where an unlabelled image is mixed with a labelled one: there the label is known.',
  ),
  cubeTasks: real({
    range: [0, 1000],
    default: 0,
    explanation:
      "Weight of the labelled image's own tasks there, Dice and cross-entropy; 0, as in the paper: the synthetic task alone learns from it.",
  }),
  agreement: real({
    range: [0, 1000],
    default: 0,
    explanation:
      'Weight of the agreement across views: the synthetic task must find in a mix what the moving average of the network finds, with the largest of all tasks, in the unlabelled images before they are mixed; 0, as in the paper: no such term.',
  }),
  teacher: real({
    range: [0, 1000],
    default: 0,
    explanation:
      "Weight of the agreement with the moving average of the network, which sees an unlabelled image before it is mixed and says where the foreground of the image's own tasks lies outside the cube; 0, as in the paper: no such term.",
  }),
  consistency: choice(['dice-cross-entropy', 'dice', 'squares', 'scaled-squares', 'scaled-squares-cross-entropy'], {
    default: 'dice-cross-entropy',
    explanation:
      'How teacher and agreement compare probabilities with those of the moving average: Dice and cross-entropy, Dice alone, the mean square of the difference, or the squares over the size of both sides (the value of Dice, but without its pull towards more foreground), alone or with cross-entropy.',
  }),
  pseudoLabel: choice(['hard', 'soft'], {
    default: 'hard',
    explanation: 'What the moving average gives as a target: 0 or 1, or its probability.',
  }),
  confidence: real({
    range: [0, 1],
    open: 'high',
    default: 0,
    explanation:
      'Voxels count in teacher and agreement where the moving average is at least as sure of foreground or of background; up to 0.5: all of them.',
  }),
  entropy: field(
    z.tuple([z.number().gt(0).lte(1), z.number().gt(0).lte(1)]).nullable(),
    'null or [first, last], both in (0, 1]',
    {
      default: null,
      unit: 'ln 2',
      explanation:
        'Voxels count in teacher and agreement where the entropy of the moving average is below this; it goes from the first to the last value as the ramp does; null: whatever the entropy.',
    },
  ),
  noisyPasses: integer({
    range: [0, 64],
    default: 0,
    unit: 'passes',
    explanation:
      'Passes of the moving average, each with its own noise, whose mean the entropy is taken of; 0: the entropy of the target.',
  }),
  teacherNoise: real({
    range: [0, 100],
    default: 0,
    unit: 'normalised intensity',
    explanation:
      'Standard deviation of the Gaussian noise (cut off at twice as much) that is added to what the moving average sees.',
  }),
  teacherStatistics: choice(['moving', 'batch'], {
    default: 'moving',
    explanation:
      'With which statistics the moving average of the network normalises: the moving ones, or those of its batch.',
  }),
  largestComponent: flag({
    default: false,
    explanation:
      'Whether of what the moving average finds only the largest connected component of each task in each patch is foreground.',
  }),
  diceOver: choice(['batch', 'task'], {
    default: 'batch',
    explanation:
      'Over what the Dice of dice, auxiliary, teacher and cubeTasks is taken: the whole batch (the paper), in which a task counts as much as its foreground is large; or the images of each task by themselves, and then the mean over the tasks that the batch has.',
  }),
  auxiliaryCrossEntropy: flag({
    default: false,
    explanation: 'Whether the auxiliary constraint has a cross-entropy term.',
  }),
  auxiliaryInStage2: flag({
    default: false,
    explanation: 'Whether the auxiliary constraint stays in the second stage.',
  }),
  aggregateGradient: choice(['both', 'stop'], {
    default: 'both',
    explanation: 'Whether the gradient of the unsupervised loss flows into the aggregate too.',
  }),
  unsupervisedRampSteps: integer({
    range: [0, 1e8],
    default: 0,
    unit: 'steps',
    explanation: 'Steps of the second stage over which the weights of unsupervised, teacher and agreement rise.',
  }),
  ramp: choice(['linear', 'sigmoid'], {
    default: 'linear',
    explanation: 'How they rise: linearly from 0, or as exp(-5 (1 - t)^2) with the elapsed share t.',
  }),
  own: optionalField(
    z.record(z.string().regex(partNamePattern), z.number().gte(0).lte(1000)),
    'an object: name of a loss term -> weight in [0, 1000]',
    { explanation: 'Loss terms of your own and their weights (--parts); left out: none.' },
  ),
});
