// The V-Net of VerSemi (encoder, decoder, one static head) as an ONNX model with deterministic weights, so that ONNX
// Runtime does the same arithmetic as our forward pass: 58.9 GFLOP at 1 x 96^3.
import { OnnxGraph, trunk } from './onnx-graph.mjs';

/**
 * @param {number} patch edge length in voxels
 * @param {number} width channels at full resolution
 * @returns {Buffer} an ONNX model: input "x" [1, 1, patch^3], output "y" [1, 2, patch^3]
 */
export function vnetOnnx(patch = 96, width = 16) {
  const graph = new OnnxGraph();
  const valuesOf = (_name, { from, to, kernel }) => {
    const bound = Math.sqrt(1 / (from * kernel ** 3));
    return {
      weight: Float32Array.from({ length: from * to * kernel ** 3 }, (_, i) => bound * Math.sin(i + 1)),
      bias: Float32Array.from({ length: to }, (_, i) => bound * Math.cos(i)),
    };
  };
  const point = (x, from, to) => {
    const shape = { from, to, kernel: 1 };
    return graph.convolution(x, valuesOf('head', shape), shape);
  };
  let x = graph.node('Relu', [trunk(graph, 'x', { width, repeats: [1, 2, 3, 3, 3], valuesOf }).features]);
  x = point(x, width, 8);
  for (let i = 0; i < 2; i++) x = graph.node('Relu', [point(x, 8, 8)]);
  const size = [patch, patch, patch];
  return graph.model([['x', [1, 1, ...size]]], [['y', [1, 2, ...size], point(x, 8, 2)]]);
}
