import { type PlainKernels, required } from './plain-kernel.js';

export const optimizerKernels = {
  pack_gradients(buffers, attributes) {
    const n = attributes[0]!;
    const arena = required(buffers, n);
    let offset = 0;
    let squares = 0;
    for (let i = 0; i < n; i++) {
      const gradient = buffers[i];
      const size = attributes[1 + i]!;
      for (let j = 0; j < size; j++) {
        const value = gradient ? gradient[j]! : 0;
        arena[offset + j] = value;
        squares += value * value;
      }
      offset += size;
    }
    required(buffers, n + 1)[0] = squares;
  },

  adam_step(buffers, attributes) {
    const [n, learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale] = attributes as unknown as [
      number, number, number, number, number, number, number, number,
    ]; // biome-ignore format: 8 numbers
    const arena = required(buffers, 0);
    const firstMoment = required(buffers, 1);
    const secondMoment = required(buffers, 2);
    const correction1 = 1 - beta1 ** step;
    const correction2 = 1 - beta2 ** step;
    let offset = 0;
    for (let i = 0; i < n; i++) {
      const parameter = required(buffers, 3 + i);
      const size = attributes[8 + i]!;
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

  ema_step(buffers, attributes) {
    const n = attributes[0]!;
    const decay = attributes[1]!;
    const average = required(buffers, n);
    let offset = 0;
    for (let i = 0; i < n; i++) {
      const parameter = required(buffers, i);
      const size = attributes[2 + i]!;
      for (let j = 0; j < size; j++) average[offset + j] = decay * average[offset + j]! + (1 - decay) * parameter[j]!;
      offset += size;
    }
  },
} satisfies PlainKernels;
