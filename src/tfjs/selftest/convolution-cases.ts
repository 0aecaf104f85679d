import type { Triple } from '../../volume/volume.js';
import { convolutionProblem } from '../backend/convolution-problem.js';
import { sizeOf } from '../backend/kernel-host.js';
import { normal, type OpCase } from './op-case.js';

interface Shape {
  readonly input: readonly [number, number, number, number, number];
  readonly outC: number;
  readonly kernel: Triple;
  readonly stride?: number | Triple;
  readonly pad?: 'same' | 'valid';
  readonly why: string;
}

/** Shapes of the network first, then odd ones: every remainder of blocks of 4, 8, 16, every kind of padding. */
const shapes: readonly Shape[] = [
  { input: [1, 9, 10, 11, 1], outC: 16, kernel: [3, 3, 3], why: 'first layer' },
  { input: [2, 8, 8, 8, 16], outC: 16, kernel: [3, 3, 3], why: 'width 16' },
  { input: [1, 6, 7, 19, 32], outC: 32, kernel: [3, 3, 3], why: 'width 32, odd size' },
  { input: [2, 3, 3, 3, 64], outC: 64, kernel: [3, 3, 3], why: 'width 64, small volume' },
  { input: [1, 2, 2, 2, 128], outC: 128, kernel: [3, 3, 3], why: 'deep layer, kernel larger than the volume' },
  { input: [2, 8, 8, 8, 16], outC: 32, kernel: [2, 2, 2], stride: 2, why: 'down' },
  { input: [1, 6, 6, 6, 32], outC: 64, kernel: [2, 2, 2], stride: 2, why: 'down, size 6' },
  { input: [2, 5, 6, 7, 16], outC: 8, kernel: [1, 1, 1], why: 'pre-head' },
  { input: [3, 1, 1, 1, 261], outC: 162, kernel: [1, 1, 1], why: 'controller' },
  { input: [2, 5, 4, 3, 3], outC: 5, kernel: [3, 3, 3], why: 'odd channels' },
  { input: [1, 5, 5, 5, 7], outC: 17, kernel: [3, 3, 3], why: '17 channels' },
  { input: [1, 4, 6, 35, 8], outC: 24, kernel: [3, 3, 3], why: '24 channels, long rows' },
  { input: [1, 4, 5, 6, 33], outC: 1, kernel: [3, 3, 3], why: 'one output channel' },
  { input: [1, 7, 7, 7, 4], outC: 12, kernel: [3, 3, 3], stride: 2, why: 'stride 2, asymmetric padding' },
  { input: [1, 6, 9, 9, 5], outC: 6, kernel: [1, 3, 3], stride: [1, 2, 2], why: 'in-plane kernel and stride' },
  { input: [1, 7, 8, 9, 6], outC: 10, kernel: [2, 2, 2], stride: 2, why: 'down, odd size' },
  { input: [2, 6, 5, 7, 4], outC: 9, kernel: [3, 2, 4], pad: 'valid', why: 'unequal kernel, no padding' },
  { input: [1, 9, 8, 10, 3], outC: 4, kernel: [5, 5, 5], why: 'kernel 5' },
  { input: [1, 8, 8, 8, 2], outC: 3, kernel: [2, 2, 2], stride: 3, pad: 'valid', why: 'stride larger than the kernel' },
  {
    input: [2, 5, 40, 37, 4],
    outC: 8,
    kernel: [2, 1, 3],
    stride: [7, 13, 20],
    why: 'strides far larger than the kernel',
  },
  {
    input: [1, 9, 50, 9, 3],
    outC: 2,
    kernel: [3, 2, 1],
    stride: [4, 1e9, 9],
    pad: 'valid',
    why: 'strides beyond the axes',
  },
];

function label({ input, outC, kernel, stride = 1, why }: Shape): string {
  return `[${input}] * [${kernel}] -> ${outC}, stride ${stride} (${why})`;
}

function casesOf(shape: Shape, at: number): OpCase[] {
  const { input, outC, kernel, stride = 1, pad = 'same' } = shape;
  const strides: Triple = typeof stride === 'number' ? [stride, stride, stride] : stride;
  const inC = input[4];
  const { attributes, outputShape } = convolutionProblem(input, [...kernel, inC, outC], strides, pad);
  const taps = sizeOf(kernel);
  const [inputSize, weightSize, outputSize] = [sizeOf(input), taps * inC * outC, sizeOf(outputShape)];
  const weight = normal(weightSize, 1 / Math.sqrt(taps * inC));
  // Optional buffers alternate from shape to shape.
  const odd = at % 2 === 1;
  const name = label(shape);
  const cases: OpCase[] = [
    {
      row: 'conv3d_forward',
      name,
      attributes,
      inputs: [normal(inputSize), weight, odd ? null : normal(outC)],
      outputs: [outputSize],
      terms: taps * inC,
    },
    {
      row: 'conv3d_grad_input',
      name,
      attributes,
      inputs: [normal(outputSize), weight, odd ? normal(inC) : null],
      outputs: [inputSize],
      terms: taps * outC,
    },
    {
      row: 'conv3d_grad_weight',
      name,
      attributes,
      inputs: [normal(inputSize), normal(outputSize)],
      outputs: [weightSize, odd ? outC : null],
      terms: outputSize / outC,
    },
  ];
  const norm = (transposed: boolean, relu: boolean, skip: boolean, save: boolean): OpCase => {
    const size = transposed ? inputSize : outputSize;
    const statistics = save ? input[0] * (transposed ? inC : outC) : null;
    return {
      row: 'conv3d_norm_relu',
      name: `${name}${transposed ? ', transposed' : ''}${relu ? '' : ', no relu'}${skip ? ', skip' : ''}${save ? '' : ', inference'}`,
      attributes: { ...attributes, transposed: Number(transposed), relu: Number(relu), epsilon: 1e-5 },
      inputs: [normal(transposed ? outputSize : inputSize), weight, skip ? normal(size) : null],
      outputs: [size, save ? size : null, statistics, statistics],
      terms: taps * Math.max(inC, outC) + size,
    };
  };
  cases.push(norm(false, true, odd, true), norm(false, odd, !odd, false));
  if (sizeOf(strides) > 1 && pad === 'same') cases.push(norm(true, true, odd, true), norm(true, true, !odd, false));
  return cases;
}

export const convolutionCases: readonly OpCase[] = shapes.flatMap(casesOf);
