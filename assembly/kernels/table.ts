// Made by src/tfjs/table/generate.mjs from src/tfjs/table/kernel-table.ts, which says what each op computes. Do not edit.
//
// For each op: its code, the places of its attributes and the places of its buffers. A place behind a list of attributes or
// behind repeated buffers is a function of their number.
// @ts-nocheck: TypeScript knows no decorators of constants and functions, AssemblyScript does

@inline export const OP_CONV3D_FORWARD: i32 = 1;
@inline export const OP_CONV3D_GRAD_INPUT: i32 = 2;
@inline export const OP_CONV3D_GRAD_WEIGHT: i32 = 3;
@inline export const OP_CONV3D_NORM_RELU: i32 = 4;
@inline export const OP_INSTANCE_NORM_RELU: i32 = 5;
@inline export const OP_INSTANCE_NORM_RELU_GRAD: i32 = 6;
@inline export const OP_BATCH_NORM_RELU: i32 = 7;
@inline export const OP_BATCH_NORM_RELU_GRAD: i32 = 8;
@inline export const OP_DYNAMIC_HEAD: i32 = 9;
@inline export const OP_DYNAMIC_HEAD_GRAD: i32 = 10;
@inline export const OP_OVERLAP_SUMS: i32 = 11;
@inline export const OP_OVERLAP_SUMS_GRAD: i32 = 12;
@inline export const OP_AGGREGATE_MAX: i32 = 13;
@inline export const OP_AGGREGATE_MAX_GRAD: i32 = 14;
@inline export const OP_PACK_GRADIENTS: i32 = 15;
@inline export const OP_ADAM_STEP: i32 = 16;
@inline export const OP_SGD_STEP: i32 = 18;
@inline export const OP_EMA_STEP: i32 = 17;
@inline export const OP_UNARY: i32 = 20;
@inline export const OP_BINARY: i32 = 21;
@inline export const OP_REDUCE: i32 = 22;
@inline export const OP_MATMUL: i32 = 23;
@inline export const OP_TRANSPOSE: i32 = 24;
@inline export const OP_SLICE: i32 = 25;
@inline export const OP_PAD: i32 = 26;
@inline export const OP_CONCAT: i32 = 27;
@inline export const OP_TILE: i32 = 28;
@inline export const OP_FILL: i32 = 29;
@inline export const OP_CUT_PATCHES: i32 = 30;
@inline export const OP_CUT_MIX: i32 = 31;

@inline export const UNARY_KIND_IDENTITY: i32 = 0;
@inline export const UNARY_KIND_NEG: i32 = 1;
@inline export const UNARY_KIND_ABS: i32 = 2;
@inline export const UNARY_KIND_SQUARE: i32 = 3;
@inline export const UNARY_KIND_SQRT: i32 = 4;
@inline export const UNARY_KIND_RSQRT: i32 = 5;
@inline export const UNARY_KIND_RECIPROCAL: i32 = 6;
@inline export const UNARY_KIND_EXP: i32 = 7;
@inline export const UNARY_KIND_LOG: i32 = 8;
@inline export const UNARY_KIND_LOG1P: i32 = 9;
@inline export const UNARY_KIND_EXPM1: i32 = 10;
@inline export const UNARY_KIND_SIGMOID: i32 = 11;
@inline export const UNARY_KIND_TANH: i32 = 12;
@inline export const UNARY_KIND_RELU: i32 = 13;
@inline export const UNARY_KIND_RELU6: i32 = 14;
@inline export const UNARY_KIND_LEAKY_RELU: i32 = 15;
@inline export const UNARY_KIND_ELU: i32 = 16;
@inline export const UNARY_KIND_SOFTPLUS: i32 = 17;
@inline export const UNARY_KIND_SIGN: i32 = 18;
@inline export const UNARY_KIND_FLOOR: i32 = 19;
@inline export const UNARY_KIND_CEIL: i32 = 20;
@inline export const UNARY_KIND_ROUND: i32 = 21;
@inline export const UNARY_KIND_CLIP: i32 = 22;
@inline export const UNARY_KIND_STEP: i32 = 23;

@inline export const BINARY_KIND_ADD: i32 = 0;
@inline export const BINARY_KIND_SUB: i32 = 1;
@inline export const BINARY_KIND_MUL: i32 = 2;
@inline export const BINARY_KIND_DIV: i32 = 3;
@inline export const BINARY_KIND_DIV_NO_NAN: i32 = 4;
@inline export const BINARY_KIND_MAX: i32 = 5;
@inline export const BINARY_KIND_MIN: i32 = 6;
@inline export const BINARY_KIND_POW: i32 = 7;
@inline export const BINARY_KIND_SQUARED_DIFFERENCE: i32 = 8;

@inline export const REDUCE_KIND_SUM: i32 = 0;
@inline export const REDUCE_KIND_MEAN: i32 = 1;
@inline export const REDUCE_KIND_MAX: i32 = 2;
@inline export const REDUCE_KIND_MIN: i32 = 3;
@inline export const REDUCE_KIND_PROD: i32 = 4;

@inline export const PATCH_ROW_LENGTH: i32 = 13;
@inline export const MIX_ROW_LENGTH: i32 = 8;
@inline export const LOOKUP_LENGTH: i32 = 256;
@inline export const PAIR_SHARES: i32 = 510;

// convolution: the attributes that its rows begin with
@inline export const CONVOLUTION_N: i32 = 0;
@inline export const CONVOLUTION_IN_D: i32 = 1;
@inline export const CONVOLUTION_IN_H: i32 = 2;
@inline export const CONVOLUTION_IN_W: i32 = 3;
@inline export const CONVOLUTION_IN_C: i32 = 4;
@inline export const CONVOLUTION_OUT_D: i32 = 5;
@inline export const CONVOLUTION_OUT_H: i32 = 6;
@inline export const CONVOLUTION_OUT_W: i32 = 7;
@inline export const CONVOLUTION_OUT_C: i32 = 8;
@inline export const CONVOLUTION_K_D: i32 = 9;
@inline export const CONVOLUTION_K_H: i32 = 10;
@inline export const CONVOLUTION_K_W: i32 = 11;
@inline export const CONVOLUTION_S_D: i32 = 12;
@inline export const CONVOLUTION_S_H: i32 = 13;
@inline export const CONVOLUTION_S_W: i32 = 14;
@inline export const CONVOLUTION_PAD_D: i32 = 15;
@inline export const CONVOLUTION_PAD_H: i32 = 16;
@inline export const CONVOLUTION_PAD_W: i32 = 17;

// instance_norm: the attributes that its rows begin with
@inline export const INSTANCE_NORM_N: i32 = 0;
@inline export const INSTANCE_NORM_VOXELS: i32 = 1;
@inline export const INSTANCE_NORM_CHANNELS: i32 = 2;
@inline export const INSTANCE_NORM_RELU: i32 = 3;

// head: the attributes that its rows begin with
@inline export const HEAD_N: i32 = 0;
@inline export const HEAD_PROMPTS: i32 = 1;
@inline export const HEAD_VOXELS: i32 = 2;
@inline export const HEAD_WIDTH: i32 = 3;

// aggregate: the attributes that its rows begin with
@inline export const AGGREGATE_N: i32 = 0;
@inline export const AGGREGATE_PROMPTS: i32 = 1;
@inline export const AGGREGATE_VOXELS: i32 = 2;
@inline export const AGGREGATE_REAL: i32 = 3;

// conv3d_forward
@inline export const CONV3D_FORWARD_BUFFER_INPUT: i32 = 0;
@inline export const CONV3D_FORWARD_BUFFER_WEIGHT: i32 = 1;
@inline export const CONV3D_FORWARD_BUFFER_BIAS: i32 = 2;
@inline export const CONV3D_FORWARD_BUFFER_OUTPUT: i32 = 3;

// conv3d_grad_input
@inline export const CONV3D_GRAD_INPUT_BUFFER_GRAD_OUTPUT: i32 = 0;
@inline export const CONV3D_GRAD_INPUT_BUFFER_WEIGHT: i32 = 1;
@inline export const CONV3D_GRAD_INPUT_BUFFER_BIAS: i32 = 2;
@inline export const CONV3D_GRAD_INPUT_BUFFER_GRAD_INPUT: i32 = 3;

// conv3d_grad_weight
@inline export const CONV3D_GRAD_WEIGHT_BUFFER_INPUT: i32 = 0;
@inline export const CONV3D_GRAD_WEIGHT_BUFFER_GRAD_OUTPUT: i32 = 1;
@inline export const CONV3D_GRAD_WEIGHT_BUFFER_GRAD_WEIGHT: i32 = 2;
@inline export const CONV3D_GRAD_WEIGHT_BUFFER_GRAD_BIAS: i32 = 3;

// conv3d_norm_relu
@inline export const CONV3D_NORM_RELU_TRANSPOSED: i32 = 18;
@inline export const CONV3D_NORM_RELU_RELU: i32 = 19;
@inline export const CONV3D_NORM_RELU_EPSILON: i32 = 20;
@inline export const CONV3D_NORM_RELU_BUFFER_INPUT: i32 = 0;
@inline export const CONV3D_NORM_RELU_BUFFER_WEIGHT: i32 = 1;
@inline export const CONV3D_NORM_RELU_BUFFER_SKIP: i32 = 2;
@inline export const CONV3D_NORM_RELU_BUFFER_OUTPUT: i32 = 3;
@inline export const CONV3D_NORM_RELU_BUFFER_RAW: i32 = 4;
@inline export const CONV3D_NORM_RELU_BUFFER_MEAN: i32 = 5;
@inline export const CONV3D_NORM_RELU_BUFFER_RSTD: i32 = 6;

// instance_norm_relu
@inline export const INSTANCE_NORM_RELU_EPSILON: i32 = 4;
@inline export const INSTANCE_NORM_RELU_BUFFER_INPUT: i32 = 0;
@inline export const INSTANCE_NORM_RELU_BUFFER_OUTPUT: i32 = 1;
@inline export const INSTANCE_NORM_RELU_BUFFER_MEAN: i32 = 2;
@inline export const INSTANCE_NORM_RELU_BUFFER_RSTD: i32 = 3;

// instance_norm_relu_grad
@inline export const INSTANCE_NORM_RELU_GRAD_BUFFER_GRAD_OUTPUT: i32 = 0;
@inline export const INSTANCE_NORM_RELU_GRAD_BUFFER_RAW: i32 = 1;
@inline export const INSTANCE_NORM_RELU_GRAD_BUFFER_MEAN: i32 = 2;
@inline export const INSTANCE_NORM_RELU_GRAD_BUFFER_RSTD: i32 = 3;
@inline export const INSTANCE_NORM_RELU_GRAD_BUFFER_GRAD_RAW: i32 = 4;

// batch_norm_relu
@inline export const BATCH_NORM_RELU_ROWS: i32 = 0;
@inline export const BATCH_NORM_RELU_CHANNELS: i32 = 1;
@inline export const BATCH_NORM_RELU_TRAINING: i32 = 2;
@inline export const BATCH_NORM_RELU_RELU: i32 = 3;
@inline export const BATCH_NORM_RELU_EPSILON: i32 = 4;
@inline export const BATCH_NORM_RELU_BUFFER_INPUT: i32 = 0;
@inline export const BATCH_NORM_RELU_BUFFER_GAMMA: i32 = 1;
@inline export const BATCH_NORM_RELU_BUFFER_BETA: i32 = 2;
@inline export const BATCH_NORM_RELU_BUFFER_MOVING_MEAN: i32 = 3;
@inline export const BATCH_NORM_RELU_BUFFER_MOVING_VARIANCE: i32 = 4;
@inline export const BATCH_NORM_RELU_BUFFER_OUTPUT: i32 = 5;
@inline export const BATCH_NORM_RELU_BUFFER_MEAN: i32 = 6;
@inline export const BATCH_NORM_RELU_BUFFER_VARIANCE: i32 = 7;

// batch_norm_relu_grad
@inline export const BATCH_NORM_RELU_GRAD_ROWS: i32 = 0;
@inline export const BATCH_NORM_RELU_GRAD_CHANNELS: i32 = 1;
@inline export const BATCH_NORM_RELU_GRAD_RELU: i32 = 2;
@inline export const BATCH_NORM_RELU_GRAD_EPSILON: i32 = 3;
@inline export const BATCH_NORM_RELU_GRAD_AVERAGES: i32 = 4;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_GRAD_OUTPUT: i32 = 0;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_INPUT: i32 = 1;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_GAMMA: i32 = 2;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_BETA: i32 = 3;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_MEAN: i32 = 4;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_VARIANCE: i32 = 5;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_AVERAGE_GRADIENT: i32 = 6;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_AVERAGE_PRODUCT: i32 = 7;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_GRAD_INPUT: i32 = 8;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_GRAD_GAMMA: i32 = 9;
@inline export const BATCH_NORM_RELU_GRAD_BUFFER_GRAD_BETA: i32 = 10;

// dynamic_head
@inline export const DYNAMIC_HEAD_BUFFER_FEATURES: i32 = 0;
@inline export const DYNAMIC_HEAD_BUFFER_PARAMETERS: i32 = 1;
@inline export const DYNAMIC_HEAD_BUFFER_LOGITS: i32 = 2;

// dynamic_head_grad
@inline export const DYNAMIC_HEAD_GRAD_BUFFER_GRAD_LOGITS: i32 = 0;
@inline export const DYNAMIC_HEAD_GRAD_BUFFER_FEATURES: i32 = 1;
@inline export const DYNAMIC_HEAD_GRAD_BUFFER_PARAMETERS: i32 = 2;
@inline export const DYNAMIC_HEAD_GRAD_BUFFER_GRAD_FEATURES: i32 = 3;
@inline export const DYNAMIC_HEAD_GRAD_BUFFER_GRAD_PARAMETERS: i32 = 4;

// overlap_sums
@inline export const OVERLAP_SUMS_ROWS: i32 = 0;
@inline export const OVERLAP_SUMS_COUNT: i32 = 1;
@inline export const OVERLAP_SUMS_BUFFER_LOGITS: i32 = 0;
@inline export const OVERLAP_SUMS_BUFFER_TARGET: i32 = 1;
@inline export const OVERLAP_SUMS_BUFFER_MASK: i32 = 2;
@inline export const OVERLAP_SUMS_BUFFER_SUMS: i32 = 3;

// overlap_sums_grad
@inline export const OVERLAP_SUMS_GRAD_ROWS: i32 = 0;
@inline export const OVERLAP_SUMS_GRAD_COUNT: i32 = 1;
@inline export const OVERLAP_SUMS_GRAD_BUFFER_GRAD_SUMS: i32 = 0;
@inline export const OVERLAP_SUMS_GRAD_BUFFER_LOGITS: i32 = 1;
@inline export const OVERLAP_SUMS_GRAD_BUFFER_TARGET: i32 = 2;
@inline export const OVERLAP_SUMS_GRAD_BUFFER_MASK: i32 = 3;
@inline export const OVERLAP_SUMS_GRAD_BUFFER_GRAD_LOGITS: i32 = 4;
@inline export const OVERLAP_SUMS_GRAD_BUFFER_GRAD_TARGET: i32 = 5;

// aggregate_max
@inline export const AGGREGATE_MAX_BUFFER_LOGITS: i32 = 0;
@inline export const AGGREGATE_MAX_BUFFER_AGGREGATE: i32 = 1;

// aggregate_max_grad
@inline export const AGGREGATE_MAX_GRAD_BUFFER_GRAD_AGGREGATE: i32 = 0;
@inline export const AGGREGATE_MAX_GRAD_BUFFER_LOGITS: i32 = 1;
@inline export const AGGREGATE_MAX_GRAD_BUFFER_GRAD_LOGITS: i32 = 2;

// pack_gradients
@inline export const PACK_GRADIENTS_N: i32 = 0;
@inline export const PACK_GRADIENTS_SIZE: i32 = 1;
@inline export const PACK_GRADIENTS_BUFFER_GRADIENT: i32 = 0;
@inline export function packGradientsBufferArena(n: i32): i32 {
  return n;
}
@inline export function packGradientsBufferSquaredNorm(n: i32): i32 {
  return 1 + n;
}

// adam_step
@inline export const ADAM_STEP_N: i32 = 0;
@inline export const ADAM_STEP_LEARNING_RATE: i32 = 1;
@inline export const ADAM_STEP_BETA1: i32 = 2;
@inline export const ADAM_STEP_BETA2: i32 = 3;
@inline export const ADAM_STEP_EPSILON: i32 = 4;
@inline export const ADAM_STEP_WEIGHT_DECAY: i32 = 5;
@inline export const ADAM_STEP_STEP: i32 = 6;
@inline export const ADAM_STEP_GRADIENT_SCALE: i32 = 7;
@inline export const ADAM_STEP_SIZE: i32 = 8;
@inline export const ADAM_STEP_BUFFER_ARENA: i32 = 0;
@inline export const ADAM_STEP_BUFFER_FIRST_MOMENT: i32 = 1;
@inline export const ADAM_STEP_BUFFER_SECOND_MOMENT: i32 = 2;
@inline export const ADAM_STEP_BUFFER_PARAMETER: i32 = 3;

// sgd_step
@inline export const SGD_STEP_N: i32 = 0;
@inline export const SGD_STEP_LEARNING_RATE: i32 = 1;
@inline export const SGD_STEP_MOMENTUM: i32 = 2;
@inline export const SGD_STEP_WEIGHT_DECAY: i32 = 3;
@inline export const SGD_STEP_GRADIENT_SCALE: i32 = 4;
@inline export const SGD_STEP_SIZE: i32 = 5;
@inline export const SGD_STEP_BUFFER_ARENA: i32 = 0;
@inline export const SGD_STEP_BUFFER_VELOCITY: i32 = 1;
@inline export const SGD_STEP_BUFFER_PARAMETER: i32 = 2;

// ema_step
@inline export const EMA_STEP_N: i32 = 0;
@inline export const EMA_STEP_DECAY: i32 = 1;
@inline export const EMA_STEP_SIZE: i32 = 2;
@inline export const EMA_STEP_BUFFER_PARAMETER: i32 = 0;
@inline export function emaStepBufferAverage(n: i32): i32 {
  return n;
}

// unary
@inline export const UNARY_KIND: i32 = 0;
@inline export const UNARY_COUNT: i32 = 1;
@inline export const UNARY_PARAMETER_A: i32 = 2;
@inline export const UNARY_PARAMETER_B: i32 = 3;
@inline export const UNARY_BUFFER_INPUT: i32 = 0;
@inline export const UNARY_BUFFER_OUTPUT: i32 = 1;

// binary
@inline export const BINARY_KIND: i32 = 0;
@inline export const BINARY_RANK: i32 = 1;
@inline export const BINARY_SHAPE: i32 = 2;
@inline export function binaryAStride(rank: i32): i32 {
  return 2 + rank;
}
@inline export function binaryBStride(rank: i32): i32 {
  return 2 + rank + rank;
}
@inline export const BINARY_BUFFER_A: i32 = 0;
@inline export const BINARY_BUFFER_B: i32 = 1;
@inline export const BINARY_BUFFER_OUTPUT: i32 = 2;

// reduce
@inline export const REDUCE_KIND: i32 = 0;
@inline export const REDUCE_OUTER: i32 = 1;
@inline export const REDUCE_REDUCED: i32 = 2;
@inline export const REDUCE_INNER: i32 = 3;
@inline export const REDUCE_BUFFER_INPUT: i32 = 0;
@inline export const REDUCE_BUFFER_OUTPUT: i32 = 1;

// matmul
@inline export const MATMUL_BATCH: i32 = 0;
@inline export const MATMUL_M: i32 = 1;
@inline export const MATMUL_K: i32 = 2;
@inline export const MATMUL_N: i32 = 3;
@inline export const MATMUL_TRANSPOSE_A: i32 = 4;
@inline export const MATMUL_TRANSPOSE_B: i32 = 5;
@inline export const MATMUL_A_STEP: i32 = 6;
@inline export const MATMUL_B_STEP: i32 = 7;
@inline export const MATMUL_BUFFER_A: i32 = 0;
@inline export const MATMUL_BUFFER_B: i32 = 1;
@inline export const MATMUL_BUFFER_OUTPUT: i32 = 2;

// transpose
@inline export const TRANSPOSE_RANK: i32 = 0;
@inline export const TRANSPOSE_SHAPE: i32 = 1;
@inline export function transposePermutation(rank: i32): i32 {
  return 1 + rank;
}
@inline export const TRANSPOSE_BUFFER_INPUT: i32 = 0;
@inline export const TRANSPOSE_BUFFER_OUTPUT: i32 = 1;

// slice
@inline export const SLICE_RANK: i32 = 0;
@inline export const SLICE_SHAPE: i32 = 1;
@inline export function sliceBegin(rank: i32): i32 {
  return 1 + rank;
}
@inline export function sliceSize(rank: i32): i32 {
  return 1 + rank + rank;
}
@inline export const SLICE_BUFFER_INPUT: i32 = 0;
@inline export const SLICE_BUFFER_OUTPUT: i32 = 1;

// pad
@inline export const PAD_RANK: i32 = 0;
@inline export const PAD_SHAPE: i32 = 1;
@inline export function padBefore(rank: i32): i32 {
  return 1 + rank;
}
@inline export function padAfter(rank: i32): i32 {
  return 1 + rank + rank;
}
@inline export function padValue(rank: i32): i32 {
  return 1 + rank + rank + rank;
}
@inline export const PAD_BUFFER_INPUT: i32 = 0;
@inline export const PAD_BUFFER_OUTPUT: i32 = 1;

// concat
@inline export const CONCAT_N: i32 = 0;
@inline export const CONCAT_OUTER: i32 = 1;
@inline export const CONCAT_INNER: i32 = 2;
@inline export const CONCAT_BUFFER_INPUT: i32 = 0;
@inline export function concatBufferOutput(n: i32): i32 {
  return n;
}

// tile
@inline export const TILE_RANK: i32 = 0;
@inline export const TILE_SHAPE: i32 = 1;
@inline export function tileRepetitions(rank: i32): i32 {
  return 1 + rank;
}
@inline export const TILE_BUFFER_INPUT: i32 = 0;
@inline export const TILE_BUFFER_OUTPUT: i32 = 1;

// fill
@inline export const FILL_COUNT: i32 = 0;
@inline export const FILL_VALUE: i32 = 1;
@inline export const FILL_BUFFER_OUTPUT: i32 = 0;

// cut_patches
@inline export const CUT_PATCHES_N: i32 = 0;
@inline export const CUT_PATCHES_D: i32 = 1;
@inline export const CUT_PATCHES_H: i32 = 2;
@inline export const CUT_PATCHES_W: i32 = 3;
@inline export const CUT_PATCHES_TOTAL: i32 = 4;
@inline export const CUT_PATCHES_LOOKUPS: i32 = 5;
@inline export const CUT_PATCHES_BUFFER_VOLUMES: i32 = 0;
@inline export const CUT_PATCHES_BUFFER_TABLE: i32 = 1;
@inline export const CUT_PATCHES_BUFFER_LOOKUP: i32 = 2;
@inline export const CUT_PATCHES_BUFFER_PATCHES: i32 = 3;

// cut_mix
@inline export const CUT_MIX_N: i32 = 0;
@inline export const CUT_MIX_D: i32 = 1;
@inline export const CUT_MIX_H: i32 = 2;
@inline export const CUT_MIX_W: i32 = 3;
@inline export const CUT_MIX_SOURCES: i32 = 4;
@inline export const CUT_MIX_BUFFER_PATCHES: i32 = 0;
@inline export const CUT_MIX_BUFFER_TABLE: i32 = 1;
@inline export const CUT_MIX_BUFFER_MIXES: i32 = 2;
