// The dynamic head: three 1x1x1 layers with weights of their own per (sample, prompt); formula and parameter order in
// src/tfjs/table/kernel-table.ts. Features are read once for all prompts. The gradient recomputes the hidden layers; the sums over
// voxels that make the parameters' gradients are kept per block and added in order, in double.
#include <type_traits>

#include "core/context.h"
#include "core/packets.h"
#include "ops/head_problem.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256;
constexpr int most_width = 64;

__device__ __forceinline__ float relu(float v) { return v < 0.0f ? 0.0f : v; }  // NaN stays

// --- width 8, in registers ----------------------------------------------------------------------------------------------

// Per prompt in shared memory: W1, W2, W3[1] - W3[0], b1, b2, b3[1] - b3[0], so that 16 bytes are read at a time.
constexpr int packed_w2 = 64, packed_w3 = 128, packed_b1 = 136, packed_b2 = 144, packed_b3 = 152, packed_count = 156;
constexpr int voxels_at_once = 4;  // per thread: a weight is loaded once for four products

__device__ __forceinline__ void pack_parameters(const float* parameters, int prompts, float* packed) {
  constexpr head_parameters p(8);
  for (int i = static_cast<int>(threadIdx.x); i < prompts * packed_count; i += threads) {
    const int prompt = i / packed_count, k = i % packed_count;
    const float* from = parameters + prompt * p.count;
    float value = 0;
    if (k < packed_w3) value = from[k];
    else if (k < packed_b1) value = from[p.w3 + 8 + k - packed_w3] - from[p.w3 + k - packed_w3];
    else if (k < packed_b3) value = from[p.b1 + k - packed_b1];
    else if (k == packed_b3) value = from[p.b3 + 1] - from[p.b3];
    packed[i] = value;
  }
}

__device__ __forceinline__ void read_eight(const float* from, float (&values)[8]) {
  const float4 a = *reinterpret_cast<const float4*>(from), b = *reinterpret_cast<const float4*>(from + 4);
  values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
  values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
}

template <typename T>
__device__ __forceinline__ void load_features(const T* from, float (&values)[8]) {
  constexpr int size = packet_size<T>;
#pragma unroll
  for (int i = 0; i < 8 / size; i++) {
    packet<T, size> raw;
    float part[size];
    raw.load(from + i * size);
    raw.get(part);
#pragma unroll
    for (int k = 0; k < size; k++) values[i * size + k] = part[k];
  }
}

// Block (x, y): voxels [1024 x, + 1024) of sample y, four of a thread 256 apart.
template <typename T>
__global__ void __launch_bounds__(threads) forward_8(head_problem p, const T* features, const float* parameters, float* logits) {
  float* packed = reinterpret_cast<float*>(shared_memory());
  const std::int64_t sample = blockIdx.y;
  pack_parameters(parameters + sample * p.prompts * head_parameters(8).count, p.prompts, packed);
  barrier();
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * (threads * voxels_at_once) + threadIdx.x;
  float x[voxels_at_once][8] = {};
#pragma unroll
  for (int v = 0; v < voxels_at_once; v++) {
    const std::int64_t voxel = first + v * threads;
    if (voxel < p.voxels) load_features(features + (sample * p.voxels + voxel) * 8, x[v]);
  }
  for (int prompt = 0; prompt < p.prompts; prompt++) {
    const float* w = packed + prompt * packed_count;
    float h[voxels_at_once][8], row[8], bias[8], difference[8], logit[voxels_at_once];
    read_eight(w + packed_b1, bias);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      read_eight(w + j * 8, row);
#pragma unroll
      for (int v = 0; v < voxels_at_once; v++) {
        float sum = bias[j];
#pragma unroll
        for (int k = 0; k < 8; k++) sum += row[k] * x[v][k];
        h[v][j] = relu(sum);
      }
    }
    read_eight(w + packed_b2, bias);
    read_eight(w + packed_w3, difference);
#pragma unroll
    for (int v = 0; v < voxels_at_once; v++) logit[v] = w[packed_b3];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      read_eight(w + packed_w2 + j * 8, row);
#pragma unroll
      for (int v = 0; v < voxels_at_once; v++) {
        float sum = bias[j];
#pragma unroll
        for (int k = 0; k < 8; k++) sum += row[k] * h[v][k];
        logit[v] += difference[j] * relu(sum);
      }
    }
#pragma unroll
    for (int v = 0; v < voxels_at_once; v++) {
      const std::int64_t voxel = first + v * threads;
      if (voxel < p.voxels) logits[(sample * p.prompts + prompt) * p.voxels + voxel] = logit[v];
    }
  }
}

// --- any width ----------------------------------------------------------------------------------------------------------

// Blocks of `Voxels` voxels: arrays [width][Voxels + 1] in shared memory, thread (voxel, part) computes outputs part,
// part + parts, ...; weights are the same for a warp and come from the cache.
template <int Voxels>
struct voxel_block {
  static constexpr int parts = threads / Voxels, pitch = Voxels + 1;

  template <typename T>
  static __device__ __forceinline__ void load(const T* features, int width, int count, float* x) {
    for (int i = static_cast<int>(threadIdx.x); i < width * Voxels; i += threads)
      x[i % width * pitch + i / width] = i < width * count ? as_float(features[i]) : 0.0f;
  }

  // result(j, sum over k of weights[j * j_step + k * k_step] * x[k][voxel])
  template <typename Result>
  static __device__ __forceinline__ void multiply(const float* weights, int j_step, int k_step, int width, const float* x,
                                                  Result result) {
    const int voxel = static_cast<int>(threadIdx.x) % Voxels;
    for (int j = static_cast<int>(threadIdx.x) / Voxels; j < width; j += parts) {
      float sum = 0;
      for (int k = 0; k < width; k++) sum += weights[j * j_step + k * k_step] * x[k * pitch + voxel];
      result(j, sum);
    }
  }

  static __device__ __forceinline__ void hidden_layer(const float* weights, const float* bias, int width, const float* x, float* h) {
    const int voxel = static_cast<int>(threadIdx.x) % Voxels;
    multiply(weights, width, 1, width, x, [&](int j, float sum) { h[j * pitch + voxel] = relu(sum + bias[j]); });
  }
};

constexpr int forward_voxels = 64, gradient_voxels = 32;

template <typename T>
__global__ void __launch_bounds__(threads) forward_any(head_problem p, const T* features, const float* parameters, float* logits) {
  using block = voxel_block<forward_voxels>;
  const head_parameters at(p.width);
  float *x = reinterpret_cast<float*>(shared_memory()), *h1 = x + p.width * block::pitch, *h2 = h1 + p.width * block::pitch;
  const std::int64_t sample = blockIdx.y, first = static_cast<std::int64_t>(blockIdx.x) * forward_voxels;
  const int count = static_cast<int>(min(std::int64_t{forward_voxels}, p.voxels - first)), t = static_cast<int>(threadIdx.x);
  block::load(features + (sample * p.voxels + first) * p.width, p.width, count, x);
  barrier();
  for (int prompt = 0; prompt < p.prompts; prompt++) {
    const float* w = parameters + (sample * p.prompts + prompt) * at.count;
    block::hidden_layer(w, w + at.b1, p.width, x, h1);
    barrier();
    block::hidden_layer(w + at.w2, w + at.b2, p.width, h1, h2);
    barrier();
    if (t < count) {
      float sum = w[at.b3 + 1] - w[at.b3];
      for (int k = 0; k < p.width; k++) sum += (w[at.w3 + p.width + k] - w[at.w3 + k]) * h2[k * block::pitch + t];
      logits[(sample * p.prompts + prompt) * p.voxels + first + t] = sum;
    }
  }
}

// partials [n][chunks][prompts][head_sums]: block (chunk, sample) adds its blocks of voxels in order; a thread keeps its sums.
template <typename T>
__global__ void __launch_bounds__(threads) gradient_any(head_problem p, int blocks_per_chunk, const float* grad_logits,
                                                        const T* features, const float* parameters, T* grad_features,
                                                        float* partials) {
  using block = voxel_block<gradient_voxels>;
  constexpr int pitch = block::pitch;
  const head_parameters at(p.width);
  const head_sums sums(p.width);
  const int width = p.width, array = width * pitch, t = static_cast<int>(threadIdx.x), voxel = t % gradient_voxels;
  float *x = reinterpret_cast<float*>(shared_memory()), *h1 = x + array, *h2 = h1 + array, *d1 = h2 + array, *d2 = d1 + array,
        *gx = d2 + array, *grad = gx + array;
  const std::int64_t sample = blockIdx.y;
  float* own = partials + (sample * gridDim.x + blockIdx.x) * p.prompts * sums.count;
  for (int b = 0; b < blocks_per_chunk; b++) {
    const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * blocks_per_chunk + b) * gradient_voxels;
    if (first >= p.voxels) break;
    const int count = static_cast<int>(min(std::int64_t{gradient_voxels}, p.voxels - first));
    block::load(features + (sample * p.voxels + first) * width, width, count, x);
    for (int i = t; i < array; i += threads) gx[i] = 0;
    for (int prompt = 0; prompt < p.prompts; prompt++) {
      const std::int64_t row = sample * p.prompts + prompt;
      const float* w = parameters + row * at.count;
      // Voxels behind the end have no gradient and add nothing.
      if (t < gradient_voxels) grad[t] = t < count ? grad_logits[row * p.voxels + first + t] : 0.0f;
      barrier();
      block::hidden_layer(w, w + at.b1, width, x, h1);
      barrier();
      block::multiply(w + at.w2, width, 1, width, h1, [&](int j, float sum) {
        const float h = relu(sum + w[at.b2 + j]);
        h2[j * pitch + voxel] = h;
        d2[j * pitch + voxel] = h > 0.0f ? grad[voxel] * (w[at.w3 + width + j] - w[at.w3 + j]) : h * 0.0f;
      });
      barrier();
      block::multiply(w + at.w2, 1, width, width, d2, [&](int k, float sum) {
        d1[k * pitch + voxel] = h1[k * pitch + voxel] > 0.0f ? sum : h1[k * pitch + voxel] * 0.0f;
      });
      barrier();
      block::multiply(w, 1, width, width, d1, [&](int k, float sum) { gx[k * pitch + voxel] += sum; });
      for (int i = t; i < sums.count; i += threads) {
        const float *a, *c = nullptr;
        if (i < sums.w2) a = d1 + i / width * pitch, c = x + i % width * pitch;
        else if (i < sums.w3) a = d2 + (i - sums.w2) / width * pitch, c = h1 + (i - sums.w2) % width * pitch;
        else if (i < sums.b1) a = grad, c = h2 + (i - sums.w3) * pitch;
        else if (i < sums.b2) a = d1 + (i - sums.b1) * pitch;
        else if (i < sums.b3) a = d2 + (i - sums.b2) * pitch;
        else a = grad;
        float sum = 0;
        for (int v = 0; v < gradient_voxels; v++) sum += c == nullptr ? a[v] : a[v] * c[v];
        float* to = own + prompt * sums.count + i;
        *to = b == 0 ? sum : *to + sum;
      }
      barrier();
    }
    for (int i = t; i < width * count; i += threads)
      assign(grad_features[(sample * p.voxels + first) * width + i], gx[i % width * pitch + i / width]);
    barrier();
  }
}

// One thread per parameter.
__global__ void __launch_bounds__(threads) finish_gradient(head_problem p, int chunks, const float* partials, float* grad_parameters) {
  const int count = head_parameters(p.width).count, sums = head_sums(p.width).count;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= p.n * p.prompts * count) return;
  const std::int64_t row = i / count, sample = row / p.prompts, prompt = row % p.prompts;
  float sign;
  const float* from = partials + (sample * chunks * p.prompts + prompt) * sums +
                      sum_of_parameter(p.width, static_cast<int>(i % count), &sign);
  double sum = 0;
  for (int c = 0; c < chunks; c++) sum += from[static_cast<std::int64_t>(c) * p.prompts * sums];
  grad_parameters[i] = sign * static_cast<float>(sum);
}

// --- rows ---------------------------------------------------------------------------------------------------------------

head_problem problem_of(const double* attributes) {
  const head_attributes call(attributes);
  return {call.n, call.voxels, static_cast<int>(call.prompts), static_cast<int>(call.width)};
}

// run(null pointer to the type of the features)
template <typename Run>
versemi_status with_features(storage format, Run run) {
  const bf16* narrow = nullptr;
  const float* wide = nullptr;
  return format == storage::bfloat16 ? run(narrow) : run(wide);
}

const char* refuses_any(const context&, const double* attributes, std::int32_t) {
  const head_attributes call(attributes);
  if (call.width > most_width) return "the dynamic head on CUDA is at most 64 wide";
  if (call.n > 65535) return "the dynamic head on CUDA takes at most 65535 samples";
  return nullptr;
}
const char* refuses_8(const context& device, const double* attributes, std::int32_t attribute_count) {
  const head_attributes call(attributes);
  if (call.width != 8) return "not of width 8";
  if (call.prompts > 64) return "more prompts than weights fit the shared memory";
  return refuses_any(device, attributes, attribute_count);
}

const char* refuses_mma(const context& device, const double* attributes, std::int32_t attribute_count) {
  if (device.operands() != precision::bfloat16) return "operands are not to be bfloat16";
  const head_attributes call(attributes);
  if (call.width != 8) return "not of width 8";
  if (!head_mma_fits(call.prompts)) return "more prompts than sums fit the shared memory";
  return refuses_any(device, attributes, attribute_count);
}

void plan_forward_mma(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[0].format = storage::bfloat16;
  tensors[1].format = tensors[2].format = storage::float32;
}
void plan_gradient_mma(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[1].format = tensors[3].format = storage::bfloat16;
  tensors[0].format = tensors[2].format = tensors[4].format = storage::float32;
}
void plan_forward(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[0].format = common_storage(device.operands(), tensors, 1);
  tensors[1].format = tensors[2].format = storage::float32;
}
void plan_gradient(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[1].format = tensors[3].format = common_storage(device.operands(), tensors + 1, 1);
  tensors[0].format = tensors[2].format = tensors[4].format = storage::float32;
}

versemi_status run_forward_mma(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  return head_forward_mma(device, problem_of(attributes), tensors[0].data, floats(tensors[1]),
                          floats(tensors[2]));
}

versemi_status run_forward_8(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const head_problem p = problem_of(attributes);
  return with_features(tensors[0].format, [&](auto* type) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(type)>>;
    const dim3 grid(static_cast<unsigned>(divide_up(p.voxels, threads * voxels_at_once)), static_cast<unsigned>(p.n));
    return launch(device, "dynamic head", forward_8<T>, grid, dim3(threads),
                  static_cast<std::size_t>(p.prompts * packed_count) * sizeof(float), p, static_cast<const T*>(tensors[0].data),
                  floats(tensors[1]), floats(tensors[2]));
  });
}

versemi_status run_forward_any(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const head_problem p = problem_of(attributes);
  return with_features(tensors[0].format, [&](auto* type) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(type)>>;
    const dim3 grid(static_cast<unsigned>(divide_up(p.voxels, forward_voxels)), static_cast<unsigned>(p.n));
    const std::size_t shared = static_cast<std::size_t>(3 * p.width * voxel_block<forward_voxels>::pitch) * sizeof(float);
    return launch(device, "dynamic head", forward_any<T>, grid, dim3(threads), shared, p, static_cast<const T*>(tensors[0].data),
                  floats(tensors[1]), floats(tensors[2]));
  });
}

// gradParameters from the partial sums.
versemi_status end_gradient(context& device, const head_problem& p, std::int64_t chunks, const float* partials, const tensor* tensors) {
  const std::int64_t parameters = p.n * p.prompts * head_parameters(p.width).count;
  return launch(device, "dynamic head, parameter gradients", finish_gradient, dim3(static_cast<unsigned>(divide_up(parameters, threads))),
                dim3(threads), 0, p, static_cast<int>(chunks), partials, floats(tensors[4]));
}

versemi_status run_gradient_any(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const head_problem p = problem_of(attributes);
  const std::int64_t sums = p.prompts * head_sums(p.width).count, blocks = divide_up(p.voxels, gradient_voxels);
  // At most 1056 blocks and 64 MiB of partial sums.
  std::int64_t chunks = 1056 / p.n;
  if (chunks * p.n * sums > (16 << 20)) chunks = (16 << 20) / (p.n * sums);
  if (chunks > blocks) chunks = blocks;
  if (chunks < 1) chunks = 1;
  const std::int64_t blocks_per_chunk = divide_up(blocks, chunks);
  chunks = divide_up(blocks, blocks_per_chunk);
  const std::size_t partial_count = static_cast<std::size_t>(p.n * chunks * sums);
  float* partials = device.scratch_of<float>(scratch_slot::partials, partial_count);
  if (partials == nullptr) return out_of_memory(partial_count * sizeof(float));
  const versemi_status status = with_features(tensors[1].format, [&](auto* type) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(type)>>;
    const std::size_t shared = static_cast<std::size_t>((6 * p.width + 1) * voxel_block<gradient_voxels>::pitch) * sizeof(float);
    return launch(device, "dynamic head, gradient", gradient_any<T>, dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(p.n)),
                  dim3(threads), shared, p, static_cast<int>(blocks_per_chunk), floats(tensors[0]),
                  static_cast<const T*>(tensors[1].data), floats(tensors[2]),
                  static_cast<T*>(tensors[3].data), partials);
  });
  return status.code != VERSEMI_OK ? status : end_gradient(device, p, chunks, partials, tensors);
}

versemi_status run_gradient_mma(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const head_problem p = problem_of(attributes);
  const std::int64_t chunks = head_gradient_chunks(device, p);
  const std::size_t partial_count = static_cast<std::size_t>(p.n * chunks * p.prompts * head_sums(8).count);
  float* partials = device.scratch_of<float>(scratch_slot::partials, partial_count);
  if (partials == nullptr) return out_of_memory(partial_count * sizeof(float));
  const versemi_status status =
      head_gradient_mma(device, p, floats(tensors[0]), tensors[1].data,
                        floats(tensors[2]), tensors[3].data, partials, chunks);
  return status.code != VERSEMI_OK ? status : end_gradient(device, p, chunks, partials, tensors);
}

const kernel rows[] = {
    {VERSEMI_DYNAMIC_HEAD, "head-mma", refuses_mma, plan_forward_mma, run_forward_mma},
    {VERSEMI_DYNAMIC_HEAD, "head-8", refuses_8, plan_forward, run_forward_8},
    {VERSEMI_DYNAMIC_HEAD, "head-any", refuses_any, plan_forward, run_forward_any},
    {VERSEMI_DYNAMIC_HEAD_GRAD, "head-mma", refuses_mma, plan_gradient_mma, run_gradient_mma},
    {VERSEMI_DYNAMIC_HEAD_GRAD, "head-any", refuses_any, plan_gradient, run_gradient_any},
};

}  // namespace

kernel_rows head_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
