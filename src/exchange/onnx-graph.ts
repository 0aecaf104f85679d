/**
 * Writes ONNX models (https://onnx.ai/onnx/repo-docs/IR.html): a graph of nodes, known by the names of the tensors that they give. The
 * numbers of the fields are those of onnx.proto3.
 */

import { VersemiError } from '../errors.js';
import { float16Bits, toHalf } from '../half.js';
import { bytes, float, integer, message, type Parts } from './protobuf.js';

/** Version of the operators (2022), which every runtime in use reads. */
export const opset = 17;
/** Version of the file format that came with it. */
const irVersion = 8;

/** Numbers of element types. */
const elementTypes = { float32: 1, int64: 7, float16: 10 } as const;
export type ElementType = keyof typeof elementTypes;

const largestFloat16 = 65504;

/** Name of a tensor in the graph. */
export type Tensor = string;

type Attribute = number | readonly number[] | { readonly float: number };

function attribute(name: string, value: Attribute): Parts {
  if (typeof value === 'number') return message(5, [bytes(1, name), integer(3, value), integer(20, 2)]);
  if ('float' in value) return message(5, [bytes(1, name), float(2, value.float), integer(20, 1)]);
  return message(5, [bytes(1, name), ...value.map((one) => integer(8, one)), integer(20, 7)]);
}

/** An input or output; a size that is a word may differ from run to run. */
export interface ValueInfo {
  readonly name: string;
  readonly shape: readonly (number | string)[];
}

function valueInfo(field: number, { name, shape }: ValueInfo): Parts {
  const sizes = shape.map((size) => message(1, [typeof size === 'number' ? integer(1, size) : bytes(2, size)]));
  const type = message(1, [integer(1, elementTypes.float32), message(2, sizes)]);
  return message(field, [bytes(1, name), message(2, [type])]);
}

export interface OnnxModel {
  readonly inputs: readonly ValueInfo[];
  /** `tensor` is what the graph calls it. */
  readonly outputs: readonly (ValueInfo & { readonly tensor: Tensor })[];
  readonly producer: { readonly name: string; readonly version: string };
  readonly description: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A graph in the making. Inputs and outputs are float32 whatever is computed with. */
export class OnnxGraph {
  private readonly nodes: Parts[] = [];
  private readonly initializers: Parts[] = [];
  private readonly names = new Set<string>();

  private unused(name: string): string {
    let result = name;
    for (let i = 1; this.names.has(result); i++) result = `${name}_${i}`;
    this.names.add(result);
    return result;
  }

  private initializer(name: string, shape: readonly number[], type: ElementType, raw: ArrayBufferView): Tensor {
    const unused = this.unused(name);
    const data = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    const sizes = shape.map((size) => integer(1, size));
    this.initializers.push(message(5, [...sizes, integer(2, elementTypes[type]), bytes(8, unused), bytes(9, data)]));
    return unused;
  }

  /**
   * A constant tensor.
   * @param type float16 rounds to nearest, ties to even
   * @throws VERSEMI_MODEL_INVALID where float16 has no number near a value
   */
  constant(name: string, shape: readonly number[], values: Float32Array, type: ElementType = 'float32'): Tensor {
    if (type !== 'float16') return this.initializer(name, shape, type, values);
    const beyond = values.find((value) => Math.abs(value) > largestFloat16);
    if (beyond !== undefined)
      throw new VersemiError('MODEL_INVALID', {
        field: name,
        expected: `numbers of at most ${largestFloat16}, the largest in float16`,
        found: String(beyond),
        remedy: 'Export the model in float32.',
      });
    return this.initializer(name, shape, type, toHalf(values, float16Bits));
  }

  /** A constant vector of whole numbers: sizes, axes, positions. */
  integers(...values: readonly number[]): Tensor {
    return this.initializer('sizes', [values.length], 'int64', BigInt64Array.from(values, BigInt));
  }

  /** Adds a node. @returns its outputs */
  nodeOutputs(
    type: string,
    inputs: readonly Tensor[],
    attributes: Readonly<Record<string, Attribute>>,
    count: number,
  ): Tensor[] {
    const outputs = Array.from({ length: count }, () => this.unused(type));
    this.nodes.push(
      message(1, [
        ...inputs.map((input) => bytes(1, input)),
        ...outputs.map((output) => bytes(2, output)),
        bytes(3, `${outputs[0]}/node`),
        bytes(4, type),
        ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
      ]),
    );
    return outputs;
  }

  /** Adds a node of one output. @returns that output */
  node(type: string, inputs: readonly Tensor[], attributes: Readonly<Record<string, Attribute>> = {}): Tensor {
    return this.nodeOutputs(type, inputs, attributes, 1)[0]!;
  }

  cast(x: Tensor, type: ElementType): Tensor {
    return this.node('Cast', [x], { to: elementTypes[type] });
  }

  /** @param sizes 0: as the input has it at this place; -1: what is left */
  reshape(x: Tensor, ...sizes: readonly number[]): Tensor {
    return this.node('Reshape', [x, this.integers(...sizes)]);
  }

  /** Sizes begin <= axis < end of a tensor, as a vector. */
  sizes(x: Tensor, begin: number, end: number): Tensor {
    return this.node('Shape', [x], { start: begin, end });
  }

  /** @returns the parts of the file, to be written one after the other */
  model({ inputs, outputs, producer, description, metadata }: OnnxModel): Parts {
    const named = outputs.map(({ name, tensor }) =>
      message(1, [bytes(1, tensor), bytes(2, name), bytes(3, `${name}/node`), bytes(4, 'Identity')]),
    );
    const graph = message(7, [
      ...this.nodes,
      ...named,
      bytes(2, producer.name),
      ...this.initializers,
      ...inputs.map((input) => valueInfo(11, input)),
      ...outputs.map((output) => valueInfo(12, output)),
    ]);
    const properties = Object.entries(metadata).map(([key, value]) => message(14, [bytes(1, key), bytes(2, value)]));
    return [
      integer(1, irVersion),
      bytes(2, producer.name),
      bytes(3, producer.version),
      bytes(6, description),
      graph,
      message(8, [bytes(1, ''), integer(2, opset)]),
      ...properties,
    ].flat();
  }
}
