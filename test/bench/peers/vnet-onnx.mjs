// The V-Net of VerSemi (encoder, decoder, one static head) as an ONNX model with deterministic weights, so that ONNX
// Runtime does the same arithmetic as our forward pass: 58.9 GFLOP at 1 x 96^3. Writes the protobuf wire format itself:
// three field kinds suffice.

/** @typedef {Uint8Array | Buffer} Bytes */

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

const attribute = {
  ints: (name, values) => message(5, [bytes(1, name), ...values.map((v) => integer(8, v)), integer(20, 7)]),
  float: (name, value) => message(5, [bytes(1, name), float(2, value), integer(20, 1)]),
};

function valueInfo(field, name, shape) {
  const dimensions = shape.map((size) => message(1, [integer(1, size)]));
  return message(field, [bytes(1, name), message(2, [message(1, [integer(1, 1), message(2, dimensions)])])]);
}

/**
 * @param {number} patch edge length in voxels
 * @param {number} width channels at full resolution
 * @returns {Buffer} an ONNX model: input "x" [1, 1, patch^3], output "y" [1, 2, patch^3]
 */
export function vnetOnnx(patch = 96, width = 16) {
  const nodes = [];
  const initializers = [];
  let counter = 0;

  function tensor(name, dims, fill) {
    const count = dims.reduce((a, b) => a * b, 1);
    const data = new Float32Array(count);
    for (let i = 0; i < count; i++) data[i] = fill(i);
    initializers.push(
      message(5, [
        ...dims.map((d) => integer(1, d)),
        integer(2, 1),
        bytes(8, name),
        bytes(9, Buffer.from(data.buffer)),
      ]),
    );
    return name;
  }
  function node(type, inputs, attributes = []) {
    const output = `t${counter++}`;
    nodes.push(message(1, [...inputs.map((i) => bytes(1, i)), bytes(2, output), bytes(4, type), ...attributes]));
    return output;
  }
  function normRelu(x, channels) {
    const scale = tensor(`s${counter}`, [channels], () => 1);
    const shift = tensor(`b${counter}`, [channels], () => 0);
    return node('Relu', [node('InstanceNormalization', [x, scale, shift], [attribute.float('epsilon', 1e-5)])]);
  }
  function convolution(x, from, to, kernel, stride, transposed = false) {
    const dims = transposed ? [from, to, kernel, kernel, kernel] : [to, from, kernel, kernel, kernel];
    const bound = Math.sqrt(1 / (from * kernel ** 3));
    const weight = tensor(`w${counter}`, dims, (i) => bound * Math.sin(i + 1));
    const bias = tensor(`c${counter}`, [to], (i) => bound * Math.cos(i));
    const pad = kernel === 3 ? 1 : 0;
    return node(
      transposed ? 'ConvTranspose' : 'Conv',
      [x, weight, bias],
      [
        attribute.ints('kernel_shape', [kernel, kernel, kernel]),
        attribute.ints('strides', [stride, stride, stride]),
        attribute.ints('pads', [pad, pad, pad, pad, pad, pad]),
      ],
    );
  }
  const block = (x, channels, repeats) => {
    for (let i = 0; i < repeats; i++) x = normRelu(convolution(x, channels, channels, 3, 1), channels);
    return x;
  };

  const repeats = [1, 2, 3, 3, 3];
  let x = normRelu(convolution('x', 1, width, 3, 1), width);
  const skips = [];
  for (let level = 1; level < 5; level++) {
    const channels = width << level;
    x = normRelu(convolution(x, channels / 2, channels, 2, 2), channels);
    x = block(x, channels, repeats[level]);
    skips.push(x);
  }
  skips.pop();
  for (let level = 3; level >= 0; level--) {
    const channels = width << level;
    x = normRelu(convolution(x, channels * 2, channels, 2, 2, true), channels);
    if (level > 0) x = block(node('Add', [x, skips.pop()]), channels, repeats[level]);
  }
  x = node('Relu', [x]);
  x = convolution(x, width, 8, 1, 1);
  for (let i = 0; i < 2; i++) x = node('Relu', [convolution(x, 8, 8, 1, 1)]);
  const weight = convolution(x, 8, 2, 1, 1);
  nodes.push(message(1, [bytes(1, weight), bytes(2, 'y'), bytes(4, 'Identity')]));

  const graph = message(7, [
    ...nodes,
    bytes(2, 'vnet'),
    ...initializers,
    valueInfo(11, 'x', [1, 1, patch, patch, patch]),
    valueInfo(12, 'y', [1, 2, patch, patch, patch]),
  ]);
  return Buffer.concat([integer(1, 8), graph, message(8, [bytes(1, ''), integer(2, 17)])]);
}
