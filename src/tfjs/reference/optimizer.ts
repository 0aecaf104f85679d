import { type PlainKernels, required } from './plain-kernel.js';

export const optimizerKernels = {
  pack_gradients(buffers, { size: sizes }) {
    const arena = required(buffers, sizes.length);
    let offset = 0;
    let squares = 0;
    for (const [i, size] of sizes.entries()) {
      const gradient = buffers[i];
      for (let j = 0; j < size; j++) {
        const value = gradient ? gradient[j]! : 0;
        arena[offset + j] = value;
        squares += value * value;
      }
      offset += size;
    }
    required(buffers, sizes.length + 1)[0] = squares;
  },

  adam_step(buffers, attributes) {
    const { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale, size: sizes } = attributes;
    const arena = required(buffers, 0);
    const firstMoment = required(buffers, 1);
    const secondMoment = required(buffers, 2);
    const correction1 = 1 - beta1 ** step;
    const correction2 = 1 - beta2 ** step;
    let offset = 0;
    for (const [i, size] of sizes.entries()) {
      const parameter = required(buffers, 3 + i);
      for (let j = 0; j < size; j++) {
        const g = arena[offset + j]! * gradientScale;
        const m = beta1 * firstMoment[offset + j]! + (1 - beta1) * g;
        const v = beta2 * secondMoment[offset + j]! + (1 - beta2) * g * g;
        firstMoment[offset + j] = m;
        secondMoment[offset + j] = v;
        const decayed = parameter[j]! - learningRate * weightDecay * parameter[j]!;
        parameter[j] = decayed - (learningRate * (m / correction1)) / (Math.sqrt(v / correction2) + epsilon);
      }
      offset += size;
    }
  },

  sgd_step(buffers, { learningRate, momentum, weightDecay, gradientScale, size: sizes }) {
    const arena = required(buffers, 0);
    const velocity = required(buffers, 1);
    let offset = 0;
    for (const [i, size] of sizes.entries()) {
      const parameter = required(buffers, 2 + i);
      for (let j = 0; j < size; j++) {
        const g = arena[offset + j]! * gradientScale + weightDecay * parameter[j]!;
        const v = momentum * velocity[offset + j]! + g;
        velocity[offset + j] = v;
        parameter[j] = parameter[j]! - learningRate * v;
      }
      offset += size;
    }
  },

  ema_step(buffers, { decay, size: sizes }) {
    const average = required(buffers, sizes.length);
    let offset = 0;
    for (const [i, size] of sizes.entries()) {
      const parameter = required(buffers, i);
      for (let j = 0; j < size; j++) average[offset + j] = decay * average[offset + j]! + (1 - decay) * parameter[j]!;
      offset += size;
    }
  },
} satisfies PlainKernels;
