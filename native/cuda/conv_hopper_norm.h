// Instance norm behind conv3d_hopper.cu: mean and 1 / deviation from the sums that its tiles left, then the normalisation.
#ifndef VERSEMI_CUDA_CONV_HOPPER_NORM_H
#define VERSEMI_CUDA_CONV_HOPPER_NORM_H

#include "context.h"
#include "intrinsics.h"

namespace versemi {
namespace cuda {
namespace hopper {

// sums [n, parts, channels] of (x, x^2) -> mean, rstd [n, channels]. A block takes 32 channels of a sample: eight warps add
// every eighth part in double, then the eight sums in order.
static __global__ void __launch_bounds__(256) finish_statistics(const float2* sums, int parts, int channels, double voxels,
                                                               double epsilon, float* mean, float* rstd) {
  __shared__ double shared[8][32][2];
  const int channel = static_cast<int>(blockIdx.x) * 32 + lane();
  const std::int64_t sample = blockIdx.y;
  double sum = 0, squares = 0;
  for (int part = warp(); part < parts; part += 8) {
    const float2 s = load_once(sums + (sample * parts + part) * channels + channel);
    sum += static_cast<double>(s.x);
    squares += static_cast<double>(s.y);
  }
  shared[warp()][lane()][0] = sum;
  shared[warp()][lane()][1] = squares;
  barrier();
  if (warp() != 0) return;
  for (int i = 1; i < 8; i++) {
    sum += shared[i][lane()][0];
    squares += shared[i][lane()][1];
  }
  const double average = sum / voxels, variance = squares / voxels - average * average;
  mean[sample * channels + channel] = static_cast<float>(average);
  rstd[sample * channels + channel] = static_cast<float>(1.0 / sqrt((variance > 0 ? variance : 0) + epsilon));
}

// output = relu((raw - mean) * rstd) + skip, eight channels per thread; pieces = voxels * channels / 8 of a sample. output may
// be raw.
static __global__ void __launch_bounds__(256) normalise(const uint4* raw, const uint4* skip, const float* mean,
                                                        const float* rstd, int channels, std::int64_t pieces, bool relu,
                                                        uint4* output) {
  const std::int64_t sample = blockIdx.y, groups = channels / 8;
  for (std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x; i < pieces; i += std::int64_t{gridDim.x} * 256) {
    const std::int64_t at = sample * pieces + i, first = sample * channels + i % groups * 8;
    const uint4 x = raw[at];
    uint4 s = make_uint4(0, 0, 0, 0);
    if (skip != nullptr) s = load_once(skip + at);
    const std::uint32_t in[4] = {x.x, x.y, x.z, x.w}, added[4] = {s.x, s.y, s.z, s.w};
    std::uint32_t out[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const float2 m = load_once(reinterpret_cast<const float2*>(mean + first) + k);
      const float2 r = load_once(reinterpret_cast<const float2*>(rstd + first) + k);
      const float2 value = unpack_bf16(in[k]), plus = unpack_bf16(added[k]);
      float low = (value.x - m.x) * r.x, high = (value.y - m.y) * r.y;
      if (relu) {
        low = low > 0 ? low : 0;
        high = high > 0 ? high : 0;
      }
      out[k] = pack_bf16(low + plus.x, high + plus.y);
    }
    output[at] = make_uint4(out[0], out[1], out[2], out[3]);
  }
}

}  // namespace hopper
}  // namespace cuda
}  // namespace versemi

#endif
