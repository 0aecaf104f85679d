#include "buffer_sizes.h"

#include <vector>

#include "call.h"
#include "versemi/patch_table.h"

namespace versemi {
namespace {

constexpr int largest_rank = 8;
// Lengths of unaryKinds, binaryKinds and reduceKinds in kernel-table.ts.
constexpr int unary_kinds = 24;
constexpr int binary_kinds = 9;
constexpr int reduce_kinds = 5;

struct convolution_sizes {
  int64_t n, in[3], inC, out[3], outC, kernel[3], stride[3], pad[3];
  int64_t input, weight, output;  // elements
};

convolution_sizes read_convolution(call_cursor& call) {
  convolution_sizes c;
  static const char* const in_names[3] = {"inD", "inH", "inW"};
  static const char* const out_names[3] = {"outD", "outH", "outW"};
  static const char* const kernel_names[3] = {"kD", "kH", "kW"};
  static const char* const stride_names[3] = {"sD", "sH", "sW"};
  static const char* const pad_names[3] = {"padD", "padH", "padW"};
  c.n = call.whole("n", 1);
  for (int i = 0; i < 3; i++) c.in[i] = call.whole(in_names[i], 1);
  c.inC = call.whole("inC", 1);
  for (int i = 0; i < 3; i++) c.out[i] = call.whole(out_names[i], 1);
  c.outC = call.whole("outC", 1);
  for (int i = 0; i < 3; i++) c.kernel[i] = call.whole(kernel_names[i], 1, 1 << 20);
  for (int i = 0; i < 3; i++) c.stride[i] = call.whole(stride_names[i], 1, 1 << 20);
  for (int i = 0; i < 3; i++) c.pad[i] = call.whole(pad_names[i], 0, c.kernel[i] - 1);
  for (int i = 0; i < 3; i++) {
    call.require((c.out[i] - 1) * c.stride[i] - c.pad[i] <= c.in[i] - 1,
                 "the last window of a convolution lies outside the input: out, stride, pad and in do not fit");
  }
  c.input = call.product({c.n, c.in[0], c.in[1], c.in[2], c.inC});
  c.weight = call.product({c.kernel[0], c.kernel[1], c.kernel[2], c.inC, c.outC});
  c.output = call.product({c.n, c.out[0], c.out[1], c.out[2], c.outC});
  return c;
}

struct dimensions {
  int rank = 0;
  int64_t size[largest_rank] = {};
};

void read_list(call_cursor& call, const char* name, int rank, int64_t low, int64_t* values) {
  for (int i = 0; i < rank; i++) values[i] = call.whole(name, low);
}

dimensions read_shape(call_cursor& call) {
  dimensions shape;
  shape.rank = static_cast<int>(call.whole("rank", 0, largest_rank));
  read_list(call, "shape", shape.rank, 0, shape.size);
  return shape;
}

int64_t elements(call_cursor& call, const dimensions& shape) {
  int64_t result = 1;
  for (int i = 0; i < shape.rank; i++) result = call.product({result, shape.size[i]});
  return result;
}

// Reach of a strided view: index of its last element + 1.
int64_t extent(call_cursor& call, const dimensions& shape, const int64_t* stride) {
  int64_t last = 0;
  for (int i = 0; i < shape.rank; i++) {
    if (shape.size[i] == 0) return 0;
    last += call.product({shape.size[i] - 1, stride[i]});
  }
  return last + 1;
}

int64_t head_parameters(call_cursor& call, int64_t width) {
  return call.product({width, width}) * 2 + width * 4 + 2;
}

void check_convolution(call_cursor& call, int32_t op) {
  const convolution_sizes c = read_convolution(call);
  switch (op) {
    case VERSEMI_CONV3D_FORWARD:
      call.needs("input", c.input);
      call.needs("weight", c.weight);
      call.takes("bias", c.outC);
      call.needs("output", c.output);
      break;
    case VERSEMI_CONV3D_GRAD_INPUT:
      call.needs("gradOutput", c.output);
      call.needs("weight", c.weight);
      call.takes("bias", c.inC);
      call.needs("gradInput", c.input);
      break;
    case VERSEMI_CONV3D_GRAD_WEIGHT:
      call.needs("input", c.input);
      call.needs("gradOutput", c.output);
      call.needs("gradWeight", c.weight);
      call.takes("gradBias", c.outC);
      break;
    default: {  // VERSEMI_CONV3D_NORM_RELU
      const bool transposed = call.whole("transposed", 0, 1) == 1;
      call.whole("relu", 0, 1);
      call.require(call.number("epsilon") >= 0, "epsilon must be >= 0");
      const int64_t source = transposed ? c.output : c.input;
      const int64_t result = transposed ? c.input : c.output;
      const int64_t channels = c.n * (transposed ? c.inC : c.outC);
      call.needs("input", source);
      call.needs("weight", c.weight);
      call.takes("skip", result);
      call.needs("output", result);
      call.takes("raw", result);
      call.takes("mean", channels);
      call.takes("rstd", channels);
    }
  }
}

void check_normalization(call_cursor& call, int32_t op) {
  if (op == VERSEMI_INSTANCE_NORM_RELU || op == VERSEMI_INSTANCE_NORM_RELU_GRAD) {
    const int64_t n = call.whole("n", 1);
    const int64_t voxels = call.whole("voxels", 1);
    const int64_t channels = call.whole("channels", 1);
    call.whole("relu", 0, 1);
    const int64_t all = call.product({n, voxels, channels});
    const int64_t statistics = call.product({n, channels});
    if (op == VERSEMI_INSTANCE_NORM_RELU) {
      call.require(call.number("epsilon") >= 0, "epsilon must be >= 0");
      call.needs("input", all);
      call.needs("output", all);
      call.takes("mean", statistics);
      call.takes("rstd", statistics);
    } else {
      call.needs("gradOutput", all);
      call.needs("raw", all);
      call.needs("mean", statistics);
      call.needs("rstd", statistics);
      call.needs("gradRaw", all);
    }
    return;
  }
  const int64_t rows = call.whole("rows", 1);
  const int64_t channels = call.whole("channels", 1);
  const int64_t all = call.product({rows, channels});
  if (op == VERSEMI_BATCH_NORM_RELU) {
    const bool training = call.whole("training", 0, 1) == 1;
    call.whole("relu", 0, 1);
    call.require(call.number("epsilon") >= 0, "epsilon must be >= 0");
    call.needs("input", all);
    call.needs("gamma", channels);
    call.needs("beta", channels);
    if (training) {
      call.takes("movingMean", channels);
      call.takes("movingVariance", channels);
      call.needs("output", all);
      call.needs("mean", channels);
      call.needs("variance", channels);
    } else {
      call.needs("movingMean", channels);
      call.needs("movingVariance", channels);
      call.needs("output", all);
      call.takes("mean", channels);
      call.takes("variance", channels);
    }
    return;
  }
  call.whole("relu", 0, 1);
  call.require(call.number("epsilon") >= 0, "epsilon must be >= 0");
  call.needs("gradOutput", all);
  call.needs("input", all);
  for (const char* name : {"gamma", "beta", "mean", "variance"}) call.needs(name, channels);
  call.needs("gradInput", all);
  call.needs("gradGamma", channels);
  call.needs("gradBeta", channels);
}

void check_head(call_cursor& call, int32_t op) {
  const int64_t n = call.whole("n", 1);
  const int64_t prompts = call.whole("prompts", 1);
  const int64_t voxels = call.whole("voxels", 1);
  const int64_t width = call.whole("width", 1, 4096);
  const int64_t features = call.product({n, voxels, width});
  const int64_t parameters = call.product({n, prompts, head_parameters(call, width)});
  const int64_t logits = call.product({n, prompts, voxels});
  if (op == VERSEMI_DYNAMIC_HEAD_GRAD) call.needs("gradLogits", logits);
  call.needs("features", features);
  call.needs("parameters", parameters);
  if (op == VERSEMI_DYNAMIC_HEAD) {
    call.needs("logits", logits);
  } else {
    call.needs("gradFeatures", features);
    call.needs("gradParameters", parameters);
  }
}

void check_loss(call_cursor& call, int32_t op) {
  if (op == VERSEMI_OVERLAP_SUMS || op == VERSEMI_OVERLAP_SUMS_GRAD) {
    const int64_t count = call.whole("count", 0);
    if (op == VERSEMI_OVERLAP_SUMS_GRAD) call.needs("gradSums", 5);
    call.needs("logits", count);
    call.needs("target", count);
    call.takes("mask", count);
    if (op == VERSEMI_OVERLAP_SUMS) {
      call.needs("sums", 5);
    } else {
      call.takes("gradLogits", count);
      call.takes("gradTarget", count);
    }
    return;
  }
  const int64_t n = call.whole("n", 1);
  const int64_t prompts = call.whole("prompts", 1);
  const int64_t voxels = call.whole("voxels", 1);
  call.whole("real", 1, prompts);
  const int64_t logits = call.product({n, prompts, voxels});
  if (op == VERSEMI_AGGREGATE_MAX) {
    call.needs("logits", logits);
    call.needs("aggregate", call.product({n, voxels}));
  } else {
    call.needs("gradAggregate", call.product({n, voxels}));
    call.needs("logits", logits);
    call.needs("gradLogits", logits);
  }
}

// size[n] stand last among the attributes.
std::vector<int64_t> read_sizes(call_cursor& call, int64_t n) {
  std::vector<int64_t> sizes(static_cast<size_t>(n));
  for (int64_t& size : sizes) size = call.whole("size", 0);
  return sizes;
}

int64_t sum(call_cursor& call, const std::vector<int64_t>& sizes) {
  int64_t total = 0;
  for (const int64_t size : sizes) total = call.product({total + size});
  return total;
}

void check_optimizer(call_cursor& call, int32_t op, int32_t attribute_count) {
  const int64_t n = call.whole("n", 0, attribute_count);
  if (op == VERSEMI_ADAM_STEP) {
    for (const char* name : {"learningRate", "beta1", "beta2", "epsilon", "weightDecay"}) call.number(name);
    call.whole("step", 1);
    call.number("gradientScale");
  } else if (op == VERSEMI_EMA_STEP) {
    call.number("decay");
  }
  const std::vector<int64_t> sizes = read_sizes(call, n);
  const int64_t total = sum(call, sizes);
  switch (op) {
    case VERSEMI_PACK_GRADIENTS:
      for (const int64_t size : sizes) call.takes("gradient", size);
      call.needs("arena", total);
      call.needs("squaredNorm", 1);
      break;
    case VERSEMI_ADAM_STEP:
      for (const char* name : {"arena", "firstMoment", "secondMoment"}) call.needs(name, total);
      for (const int64_t size : sizes) call.needs("parameter", size);
      break;
    default:  // VERSEMI_EMA_STEP
      for (const int64_t size : sizes) call.needs("parameter", size);
      call.needs("average", total);
  }
}

void check_arithmetic(call_cursor& call, int32_t op) {
  switch (op) {
    case VERSEMI_UNARY: {
      call.whole("kind", 0, unary_kinds - 1);
      const int64_t count = call.whole("count", 0);
      call.number("parameterA");
      call.number("parameterB");
      call.needs("input", count);
      call.needs("output", count);
      break;
    }
    case VERSEMI_BINARY: {
      call.whole("kind", 0, binary_kinds - 1);
      const dimensions shape = read_shape(call);
      int64_t a_stride[largest_rank] = {};
      int64_t b_stride[largest_rank] = {};
      read_list(call, "aStride", shape.rank, 0, a_stride);
      read_list(call, "bStride", shape.rank, 0, b_stride);
      call.needs("a", extent(call, shape, a_stride));
      call.needs("b", extent(call, shape, b_stride));
      call.needs("output", elements(call, shape));
      break;
    }
    case VERSEMI_REDUCE: {
      call.whole("kind", 0, reduce_kinds - 1);
      const int64_t outer = call.whole("outer", 0);
      const int64_t reduced = call.whole("reduced", 0);
      const int64_t inner = call.whole("inner", 0);
      call.needs("input", call.product({outer, reduced, inner}));
      call.needs("output", call.product({outer, inner}));
      break;
    }
    default: {  // VERSEMI_MATMUL
      const int64_t batch = call.whole("batch", 0);
      const int64_t m = call.whole("m", 0);
      const int64_t k = call.whole("k", 0);
      const int64_t n = call.whole("n", 0);
      call.whole("transposeA", 0, 1);
      call.whole("transposeB", 0, 1);
      const int64_t a_step = call.whole("aStep", 0);
      const int64_t b_step = call.whole("bStep", 0);
      const int64_t last = batch > 0 ? batch - 1 : 0;
      const int64_t a = call.product({m, k});
      const int64_t b = call.product({k, n});
      call.needs("a", batch == 0 || a == 0 ? 0 : call.product({last, a_step}) + a);
      call.needs("b", batch == 0 || b == 0 ? 0 : call.product({last, b_step}) + b);
      call.needs("output", call.product({batch, m, n}));
    }
  }
}

void check_layout(call_cursor& call, int32_t op, int32_t attribute_count) {
  if (op == VERSEMI_FILL) {
    const int64_t count = call.whole("count", 0);
    call.number("value");
    call.needs("output", count);
    return;
  }
  if (op == VERSEMI_CONCAT) {
    const int64_t n = call.whole("n", 1, attribute_count);
    const int64_t outer = call.whole("outer", 0);
    const std::vector<int64_t> inner = read_sizes(call, n);
    for (const int64_t size : inner) call.needs("input", call.product({outer, size}));
    call.needs("output", call.product({outer, sum(call, inner)}));
    return;
  }
  const dimensions shape = read_shape(call);
  dimensions output = shape;
  int64_t first[largest_rank] = {};
  int64_t second[largest_rank] = {};
  switch (op) {
    case VERSEMI_TRANSPOSE: {
      read_list(call, "permutation", shape.rank, 0, first);
      unsigned seen = 0;
      for (int i = 0; i < shape.rank; i++) {
        if (first[i] < shape.rank) seen |= 1u << first[i];
      }
      call.require(seen == (1u << shape.rank) - 1, "permutation must hold every axis once");
      break;
    }
    case VERSEMI_SLICE:
      read_list(call, "begin", shape.rank, 0, first);
      read_list(call, "size", shape.rank, 0, output.size);
      for (int i = 0; i < shape.rank; i++) {
        call.require(first[i] + output.size[i] <= shape.size[i], "a slice must lie inside its input: begin + size <= shape");
      }
      break;
    case VERSEMI_PAD:
      read_list(call, "before", shape.rank, 0, first);
      read_list(call, "after", shape.rank, 0, second);
      call.number("value");
      for (int i = 0; i < shape.rank; i++) output.size[i] += first[i] + second[i];
      break;
    default:  // VERSEMI_TILE
      read_list(call, "repetitions", shape.rank, 0, first);
      for (int i = 0; i < shape.rank; i++) output.size[i] = call.product({shape.size[i], first[i]});
  }
  call.needs("input", elements(call, shape));
  call.needs("output", elements(call, output));
}

void check_patches(call_cursor& call, int32_t op) {
  const int64_t n = call.whole("n", 0);
  int64_t voxels[3] = {};
  static const char* const names[3] = {"d", "h", "w"};
  for (int i = 0; i < 3; i++) voxels[i] = call.whole(names[i], 0);
  const int64_t patch = call.product({voxels[0], voxels[1], voxels[2]});
  if (op == VERSEMI_CUT_MIX) {
    call.needs("patches", call.product({call.whole("sources", 0), patch}));
    call.needs("table", call.product({n, mix_row_length}));
    call.needs("mixes", call.product({n, patch}));
    return;
  }
  const int64_t total = call.whole("total", 0);
  const int64_t lookups = call.whole("lookups", 0);
  call.needs("volumes", total);
  call.needs("table", call.product({n, patch_row_length}));
  if (lookups > 0) call.needs("lookup", call.product({lookups, lookup_length}));
  else call.takes("lookup", 0);
  call.needs("patches", call.product({n, patch}));
}

versemi_status check(int32_t op, const versemi_buffer* buffers, int32_t buffer_count, const double* attributes,
                     int32_t attribute_count, int64_t* elements) {
  call_cursor call(buffers, buffer_count, attributes, attribute_count, elements);
  switch (op) {
    case VERSEMI_CONV3D_FORWARD:
    case VERSEMI_CONV3D_GRAD_INPUT:
    case VERSEMI_CONV3D_GRAD_WEIGHT:
    case VERSEMI_CONV3D_NORM_RELU:
      check_convolution(call, op);
      break;
    case VERSEMI_INSTANCE_NORM_RELU:
    case VERSEMI_INSTANCE_NORM_RELU_GRAD:
    case VERSEMI_BATCH_NORM_RELU:
    case VERSEMI_BATCH_NORM_RELU_GRAD:
      check_normalization(call, op);
      break;
    case VERSEMI_DYNAMIC_HEAD:
    case VERSEMI_DYNAMIC_HEAD_GRAD:
      check_head(call, op);
      break;
    case VERSEMI_OVERLAP_SUMS:
    case VERSEMI_OVERLAP_SUMS_GRAD:
    case VERSEMI_AGGREGATE_MAX:
    case VERSEMI_AGGREGATE_MAX_GRAD:
      check_loss(call, op);
      break;
    case VERSEMI_PACK_GRADIENTS:
    case VERSEMI_ADAM_STEP:
    case VERSEMI_EMA_STEP:
      check_optimizer(call, op, attribute_count);
      break;
    case VERSEMI_UNARY:
    case VERSEMI_BINARY:
    case VERSEMI_REDUCE:
    case VERSEMI_MATMUL:
      check_arithmetic(call, op);
      break;
    case VERSEMI_TRANSPOSE:
    case VERSEMI_SLICE:
    case VERSEMI_PAD:
    case VERSEMI_CONCAT:
    case VERSEMI_TILE:
    case VERSEMI_FILL:
      check_layout(call, op, attribute_count);
      break;
    case VERSEMI_CUT_PATCHES:
    case VERSEMI_CUT_MIX:
      check_patches(call, op);
      break;
    default:
      return failure(VERSEMI_INVALID_ARGUMENT, "op code %d is not in the kernel table", op);
  }
  return call.finish();
}

}  // namespace

versemi_status check_call(int32_t op, const versemi_buffer* buffers, int32_t buffer_count, const double* attributes,
                          int32_t attribute_count, int64_t* elements) {
  return check(op, buffers, buffer_count, attributes, attribute_count, elements);
}

versemi_status check_attributes(int32_t op, const double* attributes, int32_t attribute_count) {
  return check(op, nullptr, -1, attributes, attribute_count, nullptr);
}

}  // namespace versemi
