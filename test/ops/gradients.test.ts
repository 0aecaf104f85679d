/**
 * The gradient rows of the plain kernels, in double: against finite differences of the forward rows along random
 * directions with random cotangents, and the adjoint identity for convolutions. Devices are compared with the plain
 * kernels elsewhere, so this carries over to them.
 */
import t from 'tap';
import { RandomStream, streams } from '../../src/random.js';
import { convolutionProblem } from '../../src/tfjs/backend/convolution-problem.js';
import type { PlainKernel } from '../../src/tfjs/reference/plain-kernel.js';
import { plainKernels } from '../../src/tfjs/reference/plain-kernels.js';
import type { AttributeValues, KernelName } from '../../src/tfjs/table/kernel-table.js';
import type { Triple } from '../../src/volume/volume.js';

let streamIndex = 0;
function random(size: number, positive = false): Float64Array {
  const stream = new RandomStream(7, streams.test, streamIndex++);
  return Float64Array.from({ length: size }, () => (positive ? stream.uniformBetween(0.2, 0.8) : stream.normal()));
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

type Buffers = (Float64Array | null)[];

function run<Name extends KernelName>(
  row: Name,
  inputs: Buffers,
  sizes: (number | null)[],
  attributes: AttributeValues<Name>,
): Float64Array[] {
  const outputs = sizes.map((size) => (size === null ? null : new Float64Array(size).fill(Number.NaN)));
  const kernel = plainKernels[row] as PlainKernel<Name>;
  kernel([...inputs, ...outputs], attributes);
  return outputs.filter((output) => output !== null);
}

/** d/dh <cotangent, f(x + h direction)> at 0, by central differences. */
function directional(f: (x: Float64Array) => Float64Array, x: Float64Array, direction: Float64Array, c: Float64Array) {
  const h = 1e-6;
  const at = (step: number) => dot(c, f(x.map((value, i) => value + step * direction[i]!)));
  return (at(h) - at(-h)) / (2 * h);
}

/** Checks one gradient: `gradient(c)` must be the transposed Jacobian of `f` at `x` times c. */
function check(
  name: string,
  x: Float64Array,
  f: (x: Float64Array) => Float64Array,
  gradient: (c: Float64Array) => Float64Array,
) {
  const c = random(f(x).length);
  const g = gradient(c);
  for (let repetition = 0; repetition < 3; repetition++) {
    const direction = random(x.length);
    const expected = directional(f, x, direction, c);
    const found = dot(g, direction);
    const scale = Math.sqrt(dot(g, g)) + 1e-3;
    t.ok(Math.abs(found - expected) <= 1e-6 * scale * Math.sqrt(x.length), `${name}: ${found} is ${expected}`);
  }
}

// --- convolution ---------------------------------------------------------------------------------------------------
const convolutions: [number[], number[], Triple, 'same' | 'valid'][] = [
  [[2, 4, 5, 3, 2], [3, 3, 3, 2, 4], [1, 1, 1], 'same'],
  [[1, 5, 4, 7, 3], [2, 3, 2, 3, 2], [2, 1, 3], 'same'],
  [[2, 6, 6, 4, 1], [2, 2, 2, 1, 3], [2, 2, 2], 'valid'],
];
for (const [inputShape, weightShape, strides, pad] of convolutions) {
  const { attributes, outputShape } = convolutionProblem(inputShape, weightShape, strides, pad);
  const [xSize, wSize, ySize] = [inputShape, weightShape, outputShape].map((s) => s.reduce((p, l) => p * l, 1)) as [
    number,
    number,
    number,
  ];
  const [x, w, dy] = [random(xSize), random(wSize), random(ySize)];
  const bias = random(outputShape[4]!);
  const zero = new Float64Array(bias.length);
  const y = run('conv3d_forward', [x, w, null], [ySize], attributes)[0]!;
  const dx = run('conv3d_grad_input', [dy, w, null], [xSize], attributes)[0]!;
  const [dw, db] = run('conv3d_grad_weight', [x, dy], [wSize, bias.length], attributes) as [Float64Array, Float64Array];
  const near = (a: number, b: number, what: string) =>
    t.ok(Math.abs(a - b) <= 1e-10 * (1 + Math.abs(a)), `${what}, ${inputShape}: ${a} is ${b}`);
  near(dot(y, dy), dot(x, dx), '<conv x, dy> = <x, conv^T dy>');
  near(dot(y, dy), dot(w, dw), '<conv x, dy> = <w, gradWeight>');
  const withBias = run('conv3d_forward', [x, w, bias], [ySize], attributes)[0]!;
  near(dot(withBias, dy) - dot(y, dy), dot(bias, db), '<bias, gradBias>');
  t.same(run('conv3d_forward', [x, w, zero], [ySize], attributes)[0], y, 'a bias of zeros changes nothing');
  const transposedBias = random(inputShape[4]!);
  const shifted = run('conv3d_grad_input', [dy, w, transposedBias], [xSize], attributes)[0]!;
  t.ok(
    shifted.every((value, i) => Math.abs(value - dx[i]! - transposedBias[i % transposedBias.length]!) < 1e-12),
    'bias of the transposed convolution',
  );
}

// --- normalisation -------------------------------------------------------------------------------------------------
for (const relu of [0, 1]) {
  const [n, voxels, channels] = [2, 11, 3] as const;
  const size = n * voxels * channels;
  const x = random(size);
  const forward = (values: Float64Array) =>
    run('instance_norm_relu', [values], [size, 6, 6], { n, voxels, channels, relu, epsilon: 1e-3 });
  const [, mean, rstd] = forward(x) as [Float64Array, Float64Array, Float64Array];
  check(
    `instance norm, relu ${relu}`,
    x,
    (values) => forward(values)[0]!,
    (c) => run('instance_norm_relu_grad', [c, x, mean, rstd], [size], { n, voxels, channels, relu })[0]!,
  );

  const [gamma, beta] = [random(channels), random(channels)];
  const rows = n * voxels;
  const batch = (values: Float64Array, g: Float64Array, b: Float64Array) =>
    run('batch_norm_relu', [values, g, b, null, null], [size, channels, channels], {
      rows,
      channels,
      training: 1,
      relu,
      epsilon: 1e-3,
    });
  const [, batchMean, variance] = batch(x, gamma, beta) as [Float64Array, Float64Array, Float64Array];
  const gradients = (c: Float64Array) =>
    run('batch_norm_relu_grad', [c, x, gamma, beta, batchMean, variance, null, null], [size, channels, channels], {
      rows,
      channels,
      relu,
      epsilon: 1e-3,
      averages: 0,
    });
  check(
    `batch norm, x, relu ${relu}`,
    x,
    (values) => batch(values, gamma, beta)[0]!,
    (c) => gradients(c)[0]!,
  );
  check(
    `batch norm, gamma, relu ${relu}`,
    gamma,
    (values) => batch(x, values, beta)[0]!,
    (c) => gradients(c)[1]!,
  );
  check(
    `batch norm, beta, relu ${relu}`,
    beta,
    (values) => batch(x, gamma, values)[0]!,
    (c) => gradients(c)[2]!,
  );
}

// --- dynamic head --------------------------------------------------------------------------------------------------
{
  const [n, prompts, voxels, width] = [2, 3, 7, 4] as const;
  const attributes = { n, prompts, voxels, width };
  const count = 2 * width * width + 4 * width + 2;
  const [features, parameters] = [random(n * voxels * width), random(n * prompts * count)];
  const f = (x: Float64Array, p: Float64Array) => run('dynamic_head', [x, p], [n * prompts * voxels], attributes)[0]!;
  const g = (c: Float64Array) =>
    run('dynamic_head_grad', [c, features, parameters], [features.length, parameters.length], attributes);
  check(
    'dynamic head, features',
    features,
    (x) => f(x, parameters),
    (c) => g(c)[0]!,
  );
  check(
    'dynamic head, parameters',
    parameters,
    (p) => f(features, p),
    (c) => g(c)[1]!,
  );
}

// --- losses --------------------------------------------------------------------------------------------------------
for (const mask of [null, random(29, true)]) {
  const [logits, target] = [random(29), random(29, true)];
  const f = (x: Float64Array, y: Float64Array) => run('overlap_sums', [x, y, mask], [5], { rows: 1, count: 29 })[0]!;
  const g = (c: Float64Array) => run('overlap_sums_grad', [c, logits, target, mask], [29, 29], { rows: 1, count: 29 });
  const name = `overlap sums${mask ? ', mask' : ''}`;
  check(
    `${name}, logits`,
    logits,
    (x) => f(x, target),
    (c) => g(c)[0]!,
  );
  check(
    `${name}, target`,
    target,
    (y) => f(logits, y),
    (c) => g(c)[1]!,
  );
}
{
  const attributes = { n: 2, prompts: 4, voxels: 9, real: 3 };
  const logits = random(72);
  check(
    'aggregate',
    logits,
    (x) => run('aggregate_max', [x], [18], attributes)[0]!,
    (c) => run('aggregate_max_grad', [c, logits], [72], attributes)[0]!,
  );
  const tied = run('aggregate_max_grad', [Float64Array.of(1), Float64Array.of(2, 2, 9)], [3], {
    n: 1,
    prompts: 3,
    voxels: 1,
    real: 2,
  })[0]!;
  t.ok(tied[0]! > 0 && tied[1] === 0 && tied[2] === 0, 'a tie gives the gradient to the first prompt, the rest none');
}
