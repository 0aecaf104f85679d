// Writes ONNX models: the protobuf wire format itself, for which three field kinds suffice; and the layers that the networks of
// the peers are made of.

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 128 : low);
  } while (rest > 0n);
  return Buffer.from(bytes);
}
const integer = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const float = (field, value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint((field << 3) | 5), bytes]);
};
const bytes = (field, value) => {
  const content = Buffer.isBuffer(value) ? value : Buffer.from(value);
  return Buffer.concat([varint((field << 3) | 2), varint(content.length), content]);
};
const message = (field, parts) => bytes(field, Buffer.concat(parts));

export const attribute = {
  integer: (name, value) => message(5, [bytes(1, name), integer(3, value), integer(20, 2)]),
  integers: (name, values) => message(5, [bytes(1, name), ...values.map((v) => integer(8, v)), integer(20, 7)]),
  float: (name, value) => message(5, [bytes(1, name), float(2, value), integer(20, 1)]),
};

function valueInfo(field, name, shape) {
  const dimensions = shape.map((size) => message(1, [integer(1, size)]));
  return message(field, [bytes(1, name), message(2, [message(1, [integer(1, 1), message(2, dimensions)])])]);
}

/** A graph in the making; tensors are known by name. */
export class OnnxGraph {
  #nodes = [];
  #initializers = [];
  #counter = 0;

  /** @param {Float32Array | BigInt64Array} data a constant */
  constant(dims, data) {
    const name = `c${this.#counter++}`;
    const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const type = data instanceof BigInt64Array ? 7 : 1;
    this.#initializers.push(
      message(5, [...dims.map((d) => integer(1, d)), integer(2, type), bytes(8, name), bytes(9, raw)]),
    );
    return name;
  }

  integers(values) {
    return this.constant([values.length], BigInt64Array.from(values, BigInt));
  }

  /** @returns the node's output; an array of them where `outputs` is above 1 */
  node(type, inputs, attributes = [], outputs = 1) {
    const names = Array.from({ length: outputs }, () => `t${this.#counter++}`);
    this.#nodes.push(
      message(1, [
        ...inputs.map((input) => bytes(1, input)),
        ...names.map((name) => bytes(2, name)),
        bytes(4, type),
        ...attributes,
      ]),
    );
    return outputs === 1 ? names[0] : names;
  }

  normRelu(x, channels) {
    const scale = this.constant([channels], new Float32Array(channels).fill(1));
    const shift = this.constant([channels], new Float32Array(channels));
    return this.node('Relu', [
      this.node('InstanceNormalization', [x, scale, shift], [attribute.float('epsilon', 1e-5)]),
    ]);
  }

  /**
   * @param {{weight: Float32Array, bias: Float32Array}} values weight [to, from, k, k, k]; transposed [from, to, k, k, k]
   */
  convolution(x, { weight, bias }, { from, to, kernel, stride = 1, transposed = false }) {
    const dims = [...(transposed ? [from, to] : [to, from]), kernel, kernel, kernel];
    const pad = kernel === 3 ? 1 : 0;
    return this.node(
      transposed ? 'ConvTranspose' : 'Conv',
      [x, this.constant(dims, weight), this.constant([to], bias)],
      [
        attribute.integers('kernel_shape', [kernel, kernel, kernel]),
        attribute.integers('strides', [stride, stride, stride]),
        attribute.integers('pads', [pad, pad, pad, pad, pad, pad]),
      ],
    );
  }

  /** The model: inputs and outputs are [name, shape], an output being another name for a tensor of the graph. */
  model(inputs, outputs) {
    for (const [name, , tensor] of outputs)
      this.#nodes.push(message(1, [bytes(1, tensor), bytes(2, name), bytes(4, 'Identity')]));
    const graph = message(7, [
      ...this.#nodes,
      bytes(2, 'network'),
      ...this.#initializers,
      ...inputs.map(([name, shape]) => valueInfo(11, name, shape)),
      ...outputs.map(([name, shape]) => valueInfo(12, name, shape)),
    ]);
    return Buffer.concat([integer(1, 8), graph, message(8, [bytes(1, ''), integer(2, 17)])]);
  }
}

/**
 * Encoder and decoder of the V-Net of VerSemi.
 * @param valuesOf (name, {from, to, kernel, transposed}) => {weight, bias} of a convolution, in the order of the forward pass;
 *   names as in the README of src/checkpoints: encoder.LEVEL.I, down.LEVEL, up.LEVEL, decoder.LEVEL.I
 * @returns tensors: features [1, width, ...] and bottleneck
 */
export function trunk(graph, x, { width, repeats, valuesOf }) {
  const layer = (input, name, shape) =>
    graph.normRelu(graph.convolution(input, valuesOf(name, shape), shape), shape.to);
  const block = (input, name, count, first, channels) => {
    for (let i = 0; i < count; i++)
      input = layer(input, `${name}.${i}`, { from: i === 0 ? first : channels, to: channels, kernel: 3 });
    return input;
  };
  let features = block(x, 'encoder.0', repeats[0], 1, width);
  const skips = [];
  for (let level = 1; level < repeats.length; level++) {
    const channels = width << level;
    features = layer(features, `down.${level - 1}`, { from: channels / 2, to: channels, kernel: 2, stride: 2 });
    features = block(features, `encoder.${level}`, repeats[level], channels, channels);
    skips.push(features);
  }
  const bottleneck = skips.pop();
  for (let level = repeats.length - 2; level >= 0; level--) {
    const channels = width << level;
    const shape = { from: channels * 2, to: channels, kernel: 2, stride: 2, transposed: true };
    features = layer(features, `up.${level}`, shape);
    if (level === 0) break;
    features = graph.node('Add', [features, skips.pop()]);
    features = block(features, `decoder.${level}`, repeats[level], channels, channels);
  }
  return { features, bottleneck };
}
