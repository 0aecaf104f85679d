import { backend_util, type NamedAttrMap, type TensorInfo } from '#tfjs';
import { type AttributeValues, binaryKinds, unaryKinds } from '../../table/kernel-table.js';
import { input, type KernelHost, sizeOf, type TableKernel, wrongArgument } from '../kernel-host.js';

type Parameters = (attributes: NamedAttrMap) => readonly [number, number];

const unaryCode = new Map<string, number>(unaryKinds.map((kind, code) => [kind, code]));
const binaryCode = new Map<string, number>(binaryKinds.map((kind, code) => [kind, code]));

function unary(kind: (typeof unaryKinds)[number], parameters: Parameters = () => [0, 0]): TableKernel {
  const code = unaryCode.get(kind)!;
  return (host, inputs, attributes) => {
    const x = input(inputs, 'x');
    const [parameterA, parameterB] = parameters(attributes);
    return host.call('unary', [x], [x.shape], { kind: code, count: sizeOf(x.shape), parameterA, parameterB })[0]!;
  };
}

/**
 * Shape and strides of a and b for the row `binary` (0 where an operand is broadcast).
 * Neighbouring axes along which both operands advance alike are merged, so that equal shapes become one long axis.
 */
export function broadcastAttributes(
  aShape: readonly number[],
  bShape: readonly number[],
  outputShape: readonly number[],
): Omit<AttributeValues<'binary'>, 'kind'> {
  const rank = outputShape.length;
  const lengths: number[] = [];
  const aStrides: number[] = [];
  const bStrides: number[] = [];
  let aStride = 1;
  let bStride = 1;
  for (let back = 1; back <= rank; back++) {
    const length = outputShape[rank - back]!;
    if (length === 1) continue;
    const aLength = aShape[aShape.length - back] ?? 1;
    const bLength = bShape[bShape.length - back] ?? 1;
    const a = aLength === 1 ? 0 : aStride;
    const b = bLength === 1 ? 0 : bStride;
    aStride *= aLength;
    bStride *= bLength;
    const inner = lengths[0];
    if (inner !== undefined && a === aStrides[0]! * inner && b === bStrides[0]! * inner) {
      lengths[0] = inner * length;
    } else {
      lengths.unshift(length);
      aStrides.unshift(a);
      bStrides.unshift(b);
    }
  }
  if (lengths.length === 0) return { shape: [1], aStride: [0], bStride: [0] };
  return { shape: lengths, aStride: aStrides, bStride: bStrides };
}

function applyBinary(host: KernelHost, code: number, a: TensorInfo, b: TensorInfo): TensorInfo {
  const shape = backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
  return host.call('binary', [a, b], [shape], { kind: code, ...broadcastAttributes(a.shape, b.shape, shape) })[0]!;
}

function binary(kind: (typeof binaryKinds)[number]): TableKernel {
  const code = binaryCode.get(kind)!;
  return (host, inputs) => applyBinary(host, code, input(inputs, 'a'), input(inputs, 'b'));
}

/** A tensor with its batch axes repeated to those of the result; TF.js's own kernel pairs such matrices wrongly. */
function repeatBatch(host: KernelHost, x: TensorInfo, batchShape: readonly number[]): TensorInfo {
  const matrix = x.shape.slice(-2);
  const missing = batchShape.length + 2 - x.shape.length;
  const shape = [...Array.from({ length: missing }, () => 1), ...x.shape];
  const repetitions = [...batchShape, ...matrix].map((length, axis) => length / shape[axis]!);
  return host.call('tile', [x], [[...batchShape, ...matrix]], { shape, repetitions })[0]!;
}

export const arithmeticKernels = {
  Neg: unary('neg'),
  Abs: unary('abs'),
  Square: unary('square'),
  Sqrt: unary('sqrt'),
  Rsqrt: unary('rsqrt'),
  Reciprocal: unary('reciprocal'),
  Exp: unary('exp'),
  Log: unary('log'),
  Log1p: unary('log1p'),
  Expm1: unary('expm1'),
  Sigmoid: unary('sigmoid'),
  Tanh: unary('tanh'),
  Relu: unary('relu'),
  Relu6: unary('relu6'),
  LeakyRelu: unary('leakyRelu', ({ alpha }) => [alpha as number, 0]),
  Elu: unary('elu'),
  Softplus: unary('softplus'),
  Sign: unary('sign'),
  Floor: unary('floor'),
  Ceil: unary('ceil'),
  Round: unary('round'),
  ClipByValue: unary('clip', ({ clipValueMin, clipValueMax }) => [clipValueMin as number, clipValueMax as number]),
  Step: unary('step', ({ alpha }) => [alpha as number, 0]),

  Add: binary('add'),
  Sub: binary('sub'),
  Multiply: binary('mul'),
  RealDiv: binary('div'),
  Maximum: binary('max'),
  Minimum: binary('min'),
  Pow: binary('pow'),
  SquaredDifference: binary('squaredDifference'),

  AddN(host, inputs) {
    const tensors = Object.values(inputs) as TensorInfo[];
    const code = binaryCode.get('add')!;
    let sum = host.view(tensors[0]!, tensors[0]!.shape);
    for (const tensor of tensors.slice(1)) {
      const previous = sum;
      try {
        sum = applyBinary(host, code, previous, tensor);
      } finally {
        host.release(previous);
      }
    }
    return sum;
  },

  BatchMatMul(host, inputs, { transposeA, transposeB }) {
    const a = input(inputs, 'a');
    const b = input(inputs, 'b');
    if (a.shape.length < 2 || b.shape.length < 2)
      throw wrongArgument(
        'matMul',
        'tensors of two axes or more',
        `[${a.shape.join(', ')}] and [${b.shape.join(', ')}]`,
      );
    const [aRows, aColumns] = a.shape.slice(-2) as [number, number];
    const [bRows, bColumns] = b.shape.slice(-2) as [number, number];
    const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
    const [inner, n] = transposeB ? [bColumns, bRows] : [bRows, bColumns];
    if (inner !== k)
      throw wrongArgument('matMul', `${k} along the inner axis of b, as of a`, `${inner} of [${b.shape.join(', ')}]`);
    const batchShape = backend_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
    const batch = sizeOf(batchShape);
    const repeated: TensorInfo[] = [];
    try {
      // A single matrix serves the whole batch; other tensors with fewer matrices are repeated.
      const operands = [a, b].map((tensor) => {
        const own = sizeOf(tensor.shape.slice(0, -2));
        if (own === batch || own === 1) return tensor;
        repeated.push(repeatBatch(host, tensor, batchShape));
        return repeated.at(-1)!;
      });
      const [aStep, bStep] = [a, b].map(({ shape }) => {
        const isShared = batch > 1 && sizeOf(shape.slice(0, -2)) === 1;
        return isShared ? 0 : shape.at(-1)! * shape.at(-2)!;
      }) as [number, number];
      return host.call('matmul', operands, [[...batchShape, m, n]], {
        batch,
        m,
        k,
        n,
        transposeA: Number(transposeA),
        transposeB: Number(transposeB),
        aStep,
        bStep,
      })[0]!;
    } finally {
      for (const tensor of repeated) host.release(tensor);
    }
  },
} satisfies Record<string, TableKernel>;
