// A run in a process of its own, to be killed: prints each step. Argument: the run folder.
import * as tf from '@tensorflow/tfjs-core';
import { train } from '../../src/training/train.js';
import '../unit/model-support.js';
import { shapes, tinyPlan } from './training-support.js';

await tf.setBackend('cpu');
const plan = tinyPlan({ stage1Steps: 20, stage2Steps: 4 });
for await (const event of train(plan, { runFolder: process.argv[2]!, device: 'current', data: shapes(6) }))
  if (event.type === 'step') console.log(`step ${event.step}`);
