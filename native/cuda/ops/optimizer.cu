// Steps over all parameters in one launch. The arena holds the parameters one after the other; `size[n]` cuts it.
//
// Every parameter is cut into pieces of 4096 elements, one per block; a block finds its parameter in a list that travels with the
// launch (so that a recorded launch needs no copy beside it). 16 bytes at a time where the parameter begins at a multiple of
// four in the arena, as all do behind which none of an odd size stands.
#include <cmath>

#include "core/elements.h"

namespace versemi {
namespace cuda {
namespace {

constexpr std::int64_t piece_elements = 4096;
constexpr int most_entries = 160;  // 24 bytes each: a launch takes 4 KiB of arguments on every device

struct entry {
  float* data;         // of the parameter or gradient; nullptr: zeros
  std::int64_t start;  // in the arena
  std::int64_t first_piece;
};
struct parameter_list {
  std::int32_t count;
  std::int64_t end;  // in the arena, of the last entry
  entry entries[most_entries];
};

struct stretch {
  float* data;      // nullptr: zeros
  std::int64_t at;  // in the arena
  int count;
  bool vectors;     // both sides 16-byte aligned
};

__device__ __forceinline__ stretch stretch_of(const parameter_list& list, std::int64_t piece) {
  int low = 0, high = list.count - 1;  // the last entry that begins at or before the piece
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (list.entries[middle].first_piece <= piece)
      low = middle;
    else
      high = middle - 1;
  }
  const entry& e = list.entries[low];
  const std::int64_t offset = (piece - e.first_piece) * piece_elements;
  const std::int64_t rest = (low + 1 < list.count ? list.entries[low + 1].start : list.end) - e.start - offset;
  return {e.data == nullptr ? nullptr : e.data + offset, e.start + offset,
          static_cast<int>(rest < piece_elements ? rest : piece_elements), e.start % 4 == 0};
}

// Calls body.of(i) for the elements of a stretch, body.four(i) for whole vectors of them.
template <typename Body>
__device__ __forceinline__ void for_each_element(const stretch& s, Body&& body) {
  int done = 0;
  if (s.vectors) {
    done = s.count / 4 * 4;
    for (int i = static_cast<int>(threadIdx.x) * 4; i < done; i += flat_threads * 4) body.four(i);
  }
  for (int i = done + static_cast<int>(threadIdx.x); i < s.count; i += flat_threads) body.of(i);
}

__device__ __forceinline__ float4& four_at(float* p) { return *reinterpret_cast<float4*>(p); }
__device__ __forceinline__ const float4& four_at(const float* p) { return *reinterpret_cast<const float4*>(p); }

// --- pack_gradients ---------------------------------------------------------------------------------------------------

struct packing {
  const float* gradient;
  float* out;
  double sum;
  __device__ void of(int i) {
    const float g = gradient == nullptr ? 0.0f : gradient[i];
    out[i] = g;
    sum += static_cast<double>(g) * g;
  }
  __device__ void four(int i) {
    const float4 g = gradient == nullptr ? make_float4(0, 0, 0, 0) : four_at(gradient + i);
    four_at(out + i) = g;
    sum += (static_cast<double>(g.x) * g.x + static_cast<double>(g.y) * g.y) +
           (static_cast<double>(g.z) * g.z + static_cast<double>(g.w) * g.w);
  }
};

__global__ void __launch_bounds__(flat_threads)
    pack_kernel(const __grid_constant__ parameter_list list, float* arena, double* partials) {
  __shared__ double memory[flat_threads / 32];
  const stretch s = stretch_of(list, blockIdx.x);
  packing p = {s.data, arena + s.at, 0};
  for_each_element(s, p);
  const double sum = block_sum(p.sum, memory);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(flat_threads) sum_kernel(const double* partials, std::int64_t count, float* result) {
  __shared__ double memory[flat_threads / 32];
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += flat_threads) sum += partials[i];
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) result[0] = static_cast<float>(sum);
}

// --- adam_step --------------------------------------------------------------------------------------------------------

struct adam_constants {
  float scale, b1, c1, b2, c2, kept, rate, correction, epsilon;
};

struct adam {
  const adam_constants& k;
  const float* gradient;
  float *first, *second, *weight;
  __device__ void step(float g, float& m, float& v, float& w) {
    g *= k.scale;
    m = k.b1 * m + k.c1 * g;
    v = k.b2 * v + k.c2 * (g * g);
    // lr * mhat / (sqrt(vhat) + eps) with the bias corrections of both moments taken into constants
    w = w * k.kept - k.rate * m / (sqrtf(v) * k.correction + k.epsilon);
  }
  __device__ void of(int i) { step(gradient[i], first[i], second[i], weight[i]); }
  __device__ void four(int i) {
    const float4 g = four_at(gradient + i);
    float4 m = four_at(first + i), v = four_at(second + i), w = four_at(weight + i);
    step(g.x, m.x, v.x, w.x);
    step(g.y, m.y, v.y, w.y);
    step(g.z, m.z, v.z, w.z);
    step(g.w, m.w, v.w, w.w);
    four_at(first + i) = m;
    four_at(second + i) = v;
    four_at(weight + i) = w;
  }
};

__global__ void __launch_bounds__(flat_threads)
    adam_kernel(const __grid_constant__ parameter_list list, const float* arena, float* first, float* second,
                const __grid_constant__ adam_constants constants) {
  const stretch s = stretch_of(list, blockIdx.x);
  for_each_element(s, adam{constants, arena + s.at, first + s.at, second + s.at, s.data});
}

// --- sgd_step ---------------------------------------------------------------------------------------------------------

struct sgd_constants {
  float scale, decay, momentum, rate;
};

struct descent {
  const sgd_constants& k;
  const float* gradient;
  float *velocity, *weight;
  __device__ void step(float g, float& v, float& w) {
    v = k.momentum * v + (k.scale * g + k.decay * w);
    w -= k.rate * v;
  }
  __device__ void of(int i) { step(gradient[i], velocity[i], weight[i]); }
  __device__ void four(int i) {
    const float4 g = four_at(gradient + i);
    float4 v = four_at(velocity + i), w = four_at(weight + i);
    step(g.x, v.x, w.x);
    step(g.y, v.y, w.y);
    step(g.z, v.z, w.z);
    step(g.w, v.w, w.w);
    four_at(velocity + i) = v;
    four_at(weight + i) = w;
  }
};

__global__ void __launch_bounds__(flat_threads)
    sgd_kernel(const __grid_constant__ parameter_list list, const float* arena, float* velocity,
               const __grid_constant__ sgd_constants constants) {
  const stretch s = stretch_of(list, blockIdx.x);
  for_each_element(s, descent{constants, arena + s.at, velocity + s.at, s.data});
}

// --- ema_step ---------------------------------------------------------------------------------------------------------

struct moving_average {
  const float* weight;
  float* mean;
  float decay, rest;
  __device__ void of(int i) { mean[i] = decay * mean[i] + rest * weight[i]; }
  __device__ void four(int i) {
    const float4 w = four_at(weight + i);
    float4 m = four_at(mean + i);
    m.x = decay * m.x + rest * w.x;
    m.y = decay * m.y + rest * w.y;
    m.z = decay * m.z + rest * w.z;
    m.w = decay * m.w + rest * w.w;
    four_at(mean + i) = m;
  }
};

__global__ void __launch_bounds__(flat_threads)
    average_kernel(const __grid_constant__ parameter_list list, float* average, float decay, float rest) {
  const stretch s = stretch_of(list, blockIdx.x);
  for_each_element(s, moving_average{s.data, average + s.at, decay, rest});
}

// --- host -------------------------------------------------------------------------------------------------------------

// Calls body(list, pieces of it, pieces before it) for all n parameters, as many at a time as a launch takes; parameters without
// elements are left out.
template <typename Body>
versemi_status for_each_list(const tensor* parameters, const attribute_list& sizes, std::int64_t n, Body body) {
  parameter_list list = {};
  std::int64_t at = 0, pieces = 0, before = 0;
  const auto flush = [&] {
    list.end = at;
    const versemi_status status = list.count == 0 ? ok() : body(list, pieces, before);
    before += pieces;
    pieces = 0;
    list.count = 0;
    return status;
  };
  for (std::int64_t i = 0; i < n; i++) {
    const std::int64_t size = sizes[i];
    if (size == 0) continue;
    list.entries[list.count++] = {static_cast<float*>(parameters[i].data), at, pieces};
    at += size;
    pieces += divide_up(size, piece_elements);
    if (list.count == most_entries) {
      const versemi_status status = flush();
      if (status.code != VERSEMI_OK) return status;
    }
  }
  return flush();
}

versemi_status pack_gradients(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const pack_gradients_attributes call(attributes);
  auto* arena = floats(tensors[pack_gradients_buffer::arena_after(call.n)]);
  auto* squared_norm = floats(tensors[pack_gradients_buffer::squared_norm_after(call.n)]);
  std::int64_t pieces = 0;
  for (std::int64_t i = 0; i < call.n; i++) pieces += divide_up(call.size[i], piece_elements);
  auto* partials = device.scratch_of<double>(scratch_slot::partials, static_cast<std::size_t>(pieces));
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(pieces) * sizeof(double));
  const versemi_status status = for_each_list(
      tensors + pack_gradients_buffer::gradient, call.size, call.n, [&](const parameter_list& list, std::int64_t blocks, std::int64_t before) {
        return launch(device, "pack_gradients", pack_kernel, static_cast<unsigned>(blocks), flat_threads, 0, list, arena,
                      partials + before);
      });
  if (status.code != VERSEMI_OK) return status;
  return launch(device, "pack_gradients, norm", sum_kernel, 1, flat_threads, 0, partials, pieces, squared_norm);
}

versemi_status adam_step(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const adam_step_attributes call(attributes);
  const auto constant = [](double value) { return static_cast<float>(value); };
  const double step = static_cast<double>(call.step);
  const adam_constants constants = {constant(call.gradient_scale), constant(call.beta1), constant(1 - call.beta1),
                                    constant(call.beta2), constant(1 - call.beta2),
                                    constant(1 - call.learning_rate * call.weight_decay),
                                    constant(call.learning_rate / (1 - std::pow(call.beta1, step))),
                                    constant(1 / std::sqrt(1 - std::pow(call.beta2, step))), constant(call.epsilon)};
  const auto* arena = floats(tensors[adam_step_buffer::arena]);
  auto *first = floats(tensors[adam_step_buffer::first_moment]), *second = floats(tensors[adam_step_buffer::second_moment]);
  return for_each_list(tensors + adam_step_buffer::parameter, call.size, call.n, [&](const parameter_list& list, std::int64_t blocks, std::int64_t) {
    return launch(device, "adam_step", adam_kernel, static_cast<unsigned>(blocks), flat_threads, 0, list, arena, first, second,
                  constants);
  });
}

versemi_status sgd_step(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const sgd_step_attributes call(attributes);
  const auto constant = [](double value) { return static_cast<float>(value); };
  const sgd_constants constants = {constant(call.gradient_scale), constant(call.weight_decay), constant(call.momentum),
                                   constant(call.learning_rate)};
  const auto* arena = floats(tensors[sgd_step_buffer::arena]);
  auto* velocity = floats(tensors[sgd_step_buffer::velocity]);
  return for_each_list(tensors + sgd_step_buffer::parameter, call.size, call.n, [&](const parameter_list& list, std::int64_t blocks, std::int64_t) {
    return launch(device, "sgd_step", sgd_kernel, static_cast<unsigned>(blocks), flat_threads, 0, list, arena, velocity, constants);
  });
}

versemi_status ema_step(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const ema_step_attributes call(attributes);
  auto* average = floats(tensors[ema_step_buffer::average_after(call.n)]);
  return for_each_list(tensors + ema_step_buffer::parameter, call.size, call.n, [&](const parameter_list& list, std::int64_t blocks, std::int64_t) {
    return launch(device, "ema_step", average_kernel, static_cast<unsigned>(blocks), flat_threads, 0, list, average,
                  static_cast<float>(call.decay), static_cast<float>(1 - call.decay));
  });
}

const kernel rows[] = {
    {VERSEMI_PACK_GRADIENTS, "pieces", takes_all, nullptr, pack_gradients},
    {VERSEMI_ADAM_STEP, "pieces", takes_all, nullptr, adam_step},
    {VERSEMI_SGD_STEP, "pieces", takes_all, nullptr, sgd_step},
    {VERSEMI_EMA_STEP, "pieces", takes_all, nullptr, ema_step},
};

}  // namespace

kernel_rows optimizer_kernels() { return {rows, 4}; }

}  // namespace cuda
}  // namespace versemi
