// Instance normalisation behind a convolution that has gathered the sums: mean and rstd, then one pass over the result.
#include "conv/conv_device.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256, group_channels = 32, parts = threads / group_channels;

// One block per (sample, 32 channels): thread (part, channel) adds every eighth slot, the parts are added in order. Two
// passes in double: the mean, then the squares around it, which follow from the sums around the shift of each slot.
__global__ void __launch_bounds__(threads) finish_statistics(const conv_moments* moments, int slots, int channels,
                                                             int groups, double voxels, double epsilon, float* mean,
                                                             float* rstd) {
  __shared__ double partial[parts][group_channels];
  const int sample = static_cast<int>(blockIdx.x) / groups, group = static_cast<int>(blockIdx.x) % groups;
  const int part = static_cast<int>(threadIdx.x) / group_channels, column = static_cast<int>(threadIdx.x) % group_channels;
  const int channel = group * group_channels + column;
  const conv_moments* own = moments + static_cast<std::int64_t>(sample) * slots * channels + channel;
  const bool inside = channel < channels;

  double sum = 0;
  if (inside)
    for (int slot = part; slot < slots; slot += parts) {
      const conv_moments m = own[static_cast<std::int64_t>(slot) * channels];
      if (m.count != 0) sum += static_cast<double>(m.count) * m.shift + m.sum;
    }
  partial[part][column] = sum;
  barrier();
  double average = 0;
  for (int p = 0; p < parts; p++) average += partial[p][column];
  average /= voxels;
  barrier();

  double squares = 0;
  if (inside)
    for (int slot = part; slot < slots; slot += parts) {
      const conv_moments m = own[static_cast<std::int64_t>(slot) * channels];
      const double move = m.shift - average;
      if (m.count != 0) squares += m.squares + move * (2.0 * m.sum + static_cast<double>(m.count) * move);
    }
  partial[part][column] = squares;
  barrier();
  if (part != 0 || !inside) return;
  double variance = 0;
  for (int p = 0; p < parts; p++) variance += partial[p][column];
  variance /= voxels;
  if (variance < 0) variance = 0;  // rounding; a NaN stays one
  mean[sample * channels + channel] = static_cast<float>(average);
  rstd[sample * channels + channel] = static_cast<float>(1.0 / sqrt(variance + epsilon));
}

// `width` neighbouring values of a tensor in one access of at most 16 bytes.
template <typename T, int width>
struct vector_of {
  T value[width];
};
template <>
struct vector_of<bf16, 8> {
  uint4 words;
};
template <>
struct vector_of<float, 4> {
  float4 words;
};

template <int width>
__device__ __forceinline__ void unpack(float (&out)[width], const vector_of<bf16, 8>& v) {
  const std::uint32_t words[4] = {v.words.x, v.words.y, v.words.z, v.words.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 pair = unpack_bf16(words[i]);
    out[2 * i] = pair.x;
    out[2 * i + 1] = pair.y;
  }
}
template <int width>
__device__ __forceinline__ void unpack(float (&out)[width], const vector_of<float, 4>& v) {
  out[0] = v.words.x;
  out[1] = v.words.y;
  out[2] = v.words.z;
  out[3] = v.words.w;
}
template <int width, typename T>
__device__ __forceinline__ void unpack(float (&out)[width], const vector_of<T, 1>& v) {
  out[0] = load_element(&v.value[0]);
}

// Grid (blocks, samples). A thread goes through its sample in steps of the whole grid, four accesses at a time. Where the
// accesses of a voxel divide the step, its channels never change and mean and rstd stay in registers.
template <typename T, int width>
__global__ void __launch_bounds__(threads) normalize(const T* raw, const T* skip, T* result, const float* mean,
                                                     const float* rstd, std::int64_t accesses, int channels, bool relu) {
  using vector = vector_of<T, width>;
  constexpr int ahead = 4;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * threads;
  const std::int64_t base = static_cast<std::int64_t>(blockIdx.y) * accesses;
  const int per_voxel = channels / width;
  const bool fixed = step % per_voxel == 0;
  const float* sample_mean = mean + static_cast<std::int64_t>(blockIdx.y) * channels;
  const float* sample_rstd = rstd + static_cast<std::int64_t>(blockIdx.y) * channels;
  const vector* in = reinterpret_cast<const vector*>(raw) + base;
  const vector* add = reinterpret_cast<const vector*>(skip) + (skip == nullptr ? 0 : base);
  vector* out = reinterpret_cast<vector*>(result) + base;

  float m[width] = {}, r[width] = {};
  bool loaded = false;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x; first < accesses; first += ahead * step) {
    vector x[ahead], s[ahead];
#pragma unroll
    for (int i = 0; i < ahead; i++) {
      const std::int64_t at = first + i * step;
      if (at >= accesses) continue;
      x[i] = in[at];
      if (skip != nullptr) s[i] = add[at];
    }
#pragma unroll
    for (int i = 0; i < ahead; i++) {
      const std::int64_t at = first + i * step;
      if (at >= accesses) continue;
      if (!fixed || !loaded) {
        const int channel = static_cast<int>(at % per_voxel) * width;
#pragma unroll
        for (int c = 0; c < width; c++) {
          m[c] = sample_mean[channel + c];
          r[c] = sample_rstd[channel + c];
        }
        loaded = true;
      }
      float value[width], plus[width];
      unpack(value, x[i]);
      if (skip != nullptr) unpack(plus, s[i]);
#pragma unroll
      for (int c = 0; c < width; c++) {
        value[c] = (value[c] - m[c]) * r[c];
        if (relu && value[c] <= 0) value[c] = 0;  // NaN stays
        if (skip != nullptr) value[c] += plus[c];
      }
      if constexpr (width == 1)
        store_element(reinterpret_cast<T*>(out + at), value[0]);
      else
        store_row(reinterpret_cast<T*>(out + at), value);
    }
  }
}

template <typename T, int width>
versemi_status run_normalize(context& device, const norm_job& job) {
  const std::int64_t accesses = job.voxels * job.channels / width;
  // Few waves, whole voxels per step where channels are a power of two.
  const std::int64_t wanted = divide_up(accesses, threads * 4);
  const std::int64_t most = divide_up(static_cast<std::int64_t>(device.properties().multiprocessors) * 16, job.n);
  const std::int64_t blocks = wanted < most ? wanted : most;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(job.n));
  return launch(device, "normalise", normalize<T, width>, grid, dim3(threads), 0, static_cast<const T*>(job.raw),
                static_cast<const T*>(job.skip), static_cast<T*>(job.result), static_cast<const float*>(job.mean),
                static_cast<const float*>(job.rstd), accesses, job.channels, job.relu);
}

}  // namespace

versemi_status finish_norm(context& device, const norm_job& job, const conv_moment_slots& slots) {
  const int groups = static_cast<int>(divide_up(job.channels, group_channels));
  const versemi_status status =
      launch(device, "statistics", finish_statistics, dim3(static_cast<unsigned>(job.n * groups)), dim3(threads), 0,
             static_cast<const conv_moments*>(slots.moments), slots.per_sample, job.channels, groups,
             static_cast<double>(job.voxels), job.epsilon, job.mean, job.rstd);
  if (status.code != VERSEMI_OK) return status;
  if (job.format == storage::bfloat16)
    return job.channels % 8 == 0 ? run_normalize<bf16, 8>(device, job) : run_normalize<bf16, 1>(device, job);
  return job.channels % 4 == 0 ? run_normalize<float, 4>(device, job) : run_normalize<float, 1>(device, job);
}

}  // namespace cuda
}  // namespace versemi
