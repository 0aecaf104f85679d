// Instance and batch normalisation with ReLU, and their gradients; formulas in src/tfjs/table/kernel-table.ts. Each is a pass that
// sums per channel, a small kernel that finishes the sums, and a pass that applies one formula per element; columns.h says
// how the passes are cut. Batch normalisation is one sample of n * voxels rows.
#include <cmath>
#include <type_traits>

#include "core/columns.h"
#include "core/context.h"

namespace versemi {
namespace cuda {
namespace {

// Per channel of a sample, [n, channels] each; nullptr where there is none. y = (x - mean) * scale + shift with
// scale = gamma / sqrt(variance + epsilon) or rstd. Batch normalisation keeps variances, instance normalisation rstd.
struct channel_numbers {
  const float *mean, *rstd, *variance, *gamma, *beta;
  float epsilon;
};

__device__ __forceinline__ float rstd_of(const channel_numbers& numbers, std::int64_t at) {
  return numbers.variance != nullptr ? 1.0f / sqrtf(numbers.variance[at] + numbers.epsilon) : numbers.rstd[at];
}

// The numbers of a thread's columns.
template <int Size, bool Affine>
struct column_numbers {
  float mean[Size], scale[Size], shift[Affine ? Size : 1];

  __device__ __forceinline__ void read(const channel_numbers& numbers, const column_layout& l, const column_part& part) {
#pragma unroll
    for (int i = 0; i < Size; i++) {
      const int channel = part.active ? (part.column + i) % l.channels : 0;
      const std::int64_t at = part.sample * l.channels + channel;
      mean[i] = numbers.mean[at];
      scale[i] = rstd_of(numbers, at);
      if (Affine) {
        scale[i] *= numbers.gamma[channel];
        shift[Affine ? i : 0] = numbers.beta[channel];
      }
    }
  }

  __device__ __forceinline__ float normalized(int i, float x) const {
    const float centred = (x - mean[i]) * scale[i];
    return Affine ? centred + shift[Affine ? i : 0] : centred;
  }
};

// What y must exceed: 0 for the ReLU, and nothing without it. NaN is not below either and comes through.
__device__ __forceinline__ float floor_of(bool relu) { return relu ? 0.0f : -INFINITY; }

// --- statistics -------------------------------------------------------------------------------------------------------

// Sums of x and x^2. A thread sums differences to the first element that it meets in each column, in float32: on average
// those sums are no larger than the variance, whatever the mean is. What it then gives is exact enough in double.
template <typename T, int Size>
__global__ void __launch_bounds__(column_threads) sum_squares(column_layout l, const T* input, double* partials) {
  const column_part part(l);
  float origin[Size] = {}, sum[Size] = {}, squares[Size] = {};
  if (part.begin < part.end) {
    packet<T, Size> first;
    first.load(input + part.first + part.begin * l.period);
    first.get(origin);
  }
  const T* const tensors[1] = {input};
  for_each_row<T, Size>(l, part, tensors, [&](std::int64_t, const packet<T, Size>(&loaded)[1]) {
    float x[Size];
    loaded[0].get(x);
#pragma unroll
    for (int i = 0; i < Size; i++) {
      const float difference = x[i] - origin[i];
      sum[i] += difference;
      squares[i] += difference * difference;
    }
  });
  const double count = part.begin < part.end ? static_cast<double>(divide_up(part.end - part.begin, part.step)) : 0.0;
  double quantities[2][Size];
#pragma unroll
  for (int i = 0; i < Size; i++) {
    const double o = origin[i], s = sum[i];
    quantities[0][i] = s + count * o;
    quantities[1][i] = static_cast<double>(squares[i]) + o * (2 * s + count * o);
  }
  store_column_sums<Size>(l, part, quantities, partials);
}

// One warp per (sample, channel). Writes the variance, or 1 / sqrt(variance + epsilon), whichever is wanted.
__global__ void __launch_bounds__(128) finish_statistics(column_layout l, const double* partials, double count, double epsilon,
                                                         float* mean, float* rstd, float* variance) {
  const std::int64_t at = blockIdx.x * std::int64_t{4} + warp();
  if (at >= l.n * l.channels) return;
  double sum, squares;
  gather_column(l, partials, at / l.channels, static_cast<int>(at % l.channels), &sum, &squares);
  if (lane() != 0) return;
  const double m = sum / count, difference = squares / count - m * m;
  const double v = difference < 0 ? 0 : difference;
  mean[at] = static_cast<float>(m);
  if (rstd != nullptr) rstd[at] = static_cast<float>(1.0 / sqrt(v + epsilon));
  if (variance != nullptr) variance[at] = static_cast<float>(v);
}

// --- normalise --------------------------------------------------------------------------------------------------------

template <typename T, int Size, bool Affine>
__global__ void __launch_bounds__(column_threads) normalize(column_layout l, channel_numbers numbers, const T* input, T* output,
                                                            bool relu) {
  const column_part part(l, true);
  if (part.begin >= part.end) return;
  column_numbers<Size, Affine> own;
  own.read(numbers, l, part);
  const float floor = floor_of(relu);
  const T* const tensors[1] = {input};
  for_each_row<T, Size>(l, part, tensors, [&](std::int64_t offset, const packet<T, Size>(&loaded)[1]) {
    float values[Size];
    loaded[0].get(values);
#pragma unroll
    for (int i = 0; i < Size; i++) {
      const float y = own.normalized(i, values[i]);
      values[i] = y < floor ? floor : y;
    }
    packet<T, Size> result;
    result.set(values);
    result.store(output + offset);
  });
}

// --- gradient ---------------------------------------------------------------------------------------------------------

// Sums of g and g * (x - mean), g = gradOutput where y > 0 (everywhere without the ReLU).
template <typename T, int Size, bool Affine>
__global__ void __launch_bounds__(column_threads) sum_gradients(column_layout l, channel_numbers numbers, const T* grad_output,
                                                                const T* input, bool relu, double* partials) {
  const column_part part(l);
  float sum[Size] = {}, products[Size] = {};
  if (part.begin < part.end) {
    column_numbers<Size, Affine> own;
    own.read(numbers, l, part);
    const float floor = floor_of(relu);
    const T* const tensors[2] = {grad_output, input};
    for_each_row<T, Size>(l, part, tensors, [&](std::int64_t, const packet<T, Size>(&loaded)[2]) {
      float g[Size], x[Size];
      loaded[0].get(g);
      loaded[1].get(x);
#pragma unroll
      for (int i = 0; i < Size; i++) {
        const float kept = own.normalized(i, x[i]) <= floor ? 0.0f : g[i];
        sum[i] += kept;
        products[i] += kept * (x[i] - own.mean[i]);
      }
    });
  }
  double quantities[2][Size];
#pragma unroll
  for (int i = 0; i < Size; i++) quantities[0][i] = sum[i], quantities[1][i] = products[i];
  store_column_sums<Size>(l, part, quantities, partials);
}

// averages [2][n][channels]: avg(g), and rstd^2 avg(g * (x - mean)), which times (x - mean) is xhat avg(g * xhat).
__global__ void __launch_bounds__(128) finish_gradients(column_layout l, channel_numbers numbers, const double* partials,
                                                        double count, float* averages, float* grad_gamma, float* grad_beta) {
  const std::int64_t at = blockIdx.x * std::int64_t{4} + warp(), all = l.n * l.channels;
  if (at >= all) return;
  double sum, products;
  gather_column(l, partials, at / l.channels, static_cast<int>(at % l.channels), &sum, &products);
  if (lane() != 0) return;
  const double rstd = rstd_of(numbers, at);
  averages[at] = static_cast<float>(sum / count);
  averages[all + at] = static_cast<float>(products / count * rstd * rstd);
  if (grad_gamma != nullptr) grad_gamma[at] = static_cast<float>(products * rstd);
  if (grad_beta != nullptr) grad_beta[at] = static_cast<float>(sum);
}

// The same averages of a whole batch, of which the rows are part, from those that are given: avg(g), and avg(g * xhat).
__global__ void __launch_bounds__(128) given_averages(channel_numbers numbers, std::int64_t channels, const float* average_gradient,
                                                      const float* average_product, float* averages) {
  const std::int64_t at = blockIdx.x * std::int64_t{128} + threadIdx.x;
  if (at >= channels) return;
  averages[at] = average_gradient[at];
  averages[channels + at] = average_product[at] * rstd_of(numbers, at);
}

// gradInput = scale * (g - avg(g) - xhat * avg(g * xhat))
template <typename T, int Size, bool Affine>
__global__ void __launch_bounds__(column_threads) apply_gradients(column_layout l, channel_numbers numbers, const T* grad_output,
                                                                  const T* input, const float* averages, bool relu, T* grad_input) {
  const column_part part(l, true);
  if (part.begin >= part.end) return;
  column_numbers<Size, Affine> own;
  own.read(numbers, l, part);
  float average[Size], slope[Size];
#pragma unroll
  for (int i = 0; i < Size; i++) {
    const std::int64_t at = part.sample * l.channels + (part.column + i) % l.channels;
    average[i] = averages[at];
    slope[i] = averages[l.n * l.channels + at];
  }
  const float floor = floor_of(relu);
  const T* const tensors[2] = {grad_output, input};
  for_each_row<T, Size>(l, part, tensors, [&](std::int64_t offset, const packet<T, Size>(&loaded)[2]) {
    float g[Size], x[Size];
    loaded[0].get(g);
    loaded[1].get(x);
#pragma unroll
    for (int i = 0; i < Size; i++) {
      const float kept = own.normalized(i, x[i]) <= floor ? 0.0f : g[i];
      g[i] = own.scale[i] * (kept - average[i] - (x[i] - own.mean[i]) * slope[i]);
    }
    packet<T, Size> result;
    result.set(g);
    result.store(grad_input + offset);
  });
}

// --- launches ---------------------------------------------------------------------------------------------------------

template <int Size>
struct size_of_packet {
  static constexpr int value = Size;
};

// run(null pointer to the element type, packet size) for the storage of the activations and the packet of the layout.
template <typename Run>
versemi_status with_packets(storage format, const column_layout& l, Run run) {
  if (format == storage::bfloat16) {
    const bf16* type = nullptr;
    return l.packet == 1 ? run(type, size_of_packet<1>()) : run(type, size_of_packet<packet_size<bf16>>());
  }
  const float* type = nullptr;
  return l.packet == 1 ? run(type, size_of_packet<1>()) : run(type, size_of_packet<packet_size<float>>());
}

int full_packet(storage format) { return format == storage::bfloat16 ? packet_size<bf16> : packet_size<float>; }

unsigned finish_grid(const column_layout& l) { return static_cast<unsigned>(divide_up(l.n * l.channels, 4)); }

versemi_status statistics(context& device, const column_layout& l, std::int64_t voxels, const void* input, storage format,
                          double epsilon, float* mean, float* rstd, float* variance) {
  double* partials = device.scratch_of<double>(scratch_slot::partials, static_cast<std::size_t>(l.partials()));
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(l.partials()) * sizeof(double));
  const versemi_status status = with_packets(format, l, [&](auto* type, auto size) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(type)>>;
    return launch(device, "norm statistics", sum_squares<T, decltype(size)::value>, l.grid(), dim3(column_threads), 0, l,
                  static_cast<const T*>(input), partials);
  });
  if (status.code != VERSEMI_OK) return status;
  return launch(device, "norm statistics, end", finish_statistics, dim3(finish_grid(l)), dim3(128), 0, l, partials,
                static_cast<double>(voxels), epsilon, mean, rstd, variance);
}

template <bool Affine>
versemi_status run_normalize(context& device, const column_layout& l, const channel_numbers& numbers, const void* input,
                             void* output, storage format, bool relu) {
  return with_packets(format, l, [&](auto* type, auto size) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(type)>>;
    return launch(device, "normalise", normalize<T, decltype(size)::value, Affine>, l.grid(), dim3(column_threads), 0, l, numbers,
                  static_cast<const T*>(input), static_cast<T*>(output), relu);
  });
}

// What a gradient also gives or is given; nullptr where there is none.
struct gradient_sums {
  float *gamma, *beta;
  // Of a whole batch, of which the rows are part; then nothing is summed.
  const float *average_gradient, *average_product;
};

// grad_input may be nullptr: then the sums alone are wanted.
template <bool Affine>
versemi_status run_gradient(context& device, const column_layout& l, std::int64_t voxels, const channel_numbers& numbers,
                            const void* grad_output, const void* input, void* grad_input, const gradient_sums& of,
                            storage format, bool relu) {
  const std::size_t sums = static_cast<std::size_t>(l.partials()), constants = static_cast<std::size_t>(2 * l.n * l.channels);
  double* partials = device.scratch_of<double>(scratch_slot::partials, sums);
  float* averages = device.scratch_of<float>(scratch_slot::statistics, constants);
  if (partials == nullptr || averages == nullptr) return out_of_memory(sums * sizeof(double) + constants * sizeof(float));
  return with_packets(format, l, [&](auto* type, auto size) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(type)>>;
    constexpr int Size = decltype(size)::value;
    const T *dy = static_cast<const T*>(grad_output), *x = static_cast<const T*>(input);
    versemi_status status = ok();
    if (of.average_gradient != nullptr) {
      status = launch(device, "norm gradient, averages", given_averages, dim3(static_cast<unsigned>(divide_up(l.channels, 128))),
                      dim3(128), 0, numbers, static_cast<std::int64_t>(l.channels), of.average_gradient, of.average_product, averages);
    } else {
      status = launch(device, "norm gradient, sums", sum_gradients<T, Size, Affine>, l.grid(), dim3(column_threads), 0, l, numbers,
                      dy, x, relu, partials);
      if (status.code != VERSEMI_OK) return status;
      status = launch(device, "norm gradient, end of sums", finish_gradients, dim3(finish_grid(l)), dim3(128), 0, l, numbers,
                      partials, static_cast<double>(voxels), averages, of.gamma, of.beta);
    }
    if (status.code != VERSEMI_OK || grad_input == nullptr) return status;
    return launch(device, "norm gradient", apply_gradients<T, Size, Affine>, l.grid(), dim3(column_threads), 0, l, numbers, dy, x,
                  averages, relu, static_cast<T*>(grad_input));
  });
}

// --- rows -------------------------------------------------------------------------------------------------------------

// The full-size tensors share one format; what belongs to channels is float32.
void plan_instance(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[1].format = tensors[0].format = common_storage(device.operands(), tensors, 1);
}
void plan_instance_grad(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  const storage format = common_storage(device.operands(), tensors, 2);
  tensors[0].format = tensors[1].format = tensors[4].format = format;
  tensors[2].format = tensors[3].format = storage::float32;
}
void plan_batch(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  const storage format = common_storage(device.operands(), tensors, 1);
  for (int i = 0; i < 8; i++) tensors[i].format = i == 0 || i == 5 ? format : storage::float32;
}
void plan_batch_grad(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  const storage format = common_storage(device.operands(), tensors, 2);
  for (int i = 0; i < 11; i++) tensors[i].format = i < 2 || i == 8 ? format : storage::float32;
}

versemi_status run_instance(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const instance_norm_relu_attributes call(attributes);
  float *mean = floats(tensors[2]), *rstd = floats(tensors[3]);
  if (mean == nullptr || rstd == nullptr) {
    const std::size_t count = static_cast<std::size_t>(call.n * call.channels);
    float* spare = device.scratch_of<float>(scratch_slot::statistics, 2 * count);
    if (spare == nullptr) return out_of_memory(2 * count * sizeof(float));
    if (mean == nullptr) mean = spare;
    if (rstd == nullptr) rstd = spare + count;
  }
  const storage format = tensors[0].format;
  const column_layout l(call.n, call.voxels, call.channels, full_packet(format));
  const versemi_status status =
      statistics(device, l, call.voxels, tensors[0].data, format, call.epsilon, mean, rstd, nullptr);
  if (status.code != VERSEMI_OK) return status;
  return run_normalize<false>(device, l, {mean, rstd, nullptr, nullptr, nullptr, 0}, tensors[0].data, tensors[1].data, format,
                              call.relu);
}

versemi_status run_instance_grad(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const instance_norm_relu_grad_attributes call(attributes);
  const storage format = tensors[0].format;
  const column_layout l(call.n, call.voxels, call.channels, full_packet(format));
  const channel_numbers numbers = {floats(tensors[2]), floats(tensors[3]), nullptr, nullptr, nullptr, 0};
  return run_gradient<false>(device, l, call.voxels, numbers, tensors[0].data, tensors[1].data, tensors[4].data, {}, format,
                             call.relu);
}

versemi_status run_batch(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  using namespace batch_norm_relu_buffer;
  const batch_norm_relu_attributes call(attributes);
  const storage format = tensors[input].format;
  const column_layout l(1, call.rows, call.channels, full_packet(format));
  const tensor &own_mean = tensors[call.training ? mean : moving_mean];
  const tensor &own_variance = tensors[call.training ? variance : moving_variance];
  if (call.training) {
    const versemi_status status = statistics(device, l, call.rows, tensors[input].data, format, call.epsilon,
                                             floats(own_mean), nullptr, floats(own_variance));
    if (status.code != VERSEMI_OK) return status;
  }
  const channel_numbers numbers = {floats(own_mean),       nullptr, floats(own_variance), floats(tensors[gamma]),
                                   floats(tensors[beta]), static_cast<float>(call.epsilon)};
  if (tensors[output].data == nullptr) return ok();
  return run_normalize<true>(device, l, numbers, tensors[input].data, tensors[output].data, format, call.relu);
}

versemi_status run_batch_grad(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  using namespace batch_norm_relu_grad_buffer;
  const batch_norm_relu_grad_attributes call(attributes);
  const storage format = tensors[input].format;
  const column_layout l(1, call.rows, call.channels, full_packet(format));
  const channel_numbers numbers = {floats(tensors[mean]),  nullptr, floats(tensors[variance]), floats(tensors[gamma]),
                                   floats(tensors[beta]), static_cast<float>(call.epsilon)};
  const gradient_sums sums = {floats(tensors[grad_gamma]), floats(tensors[grad_beta]),
                              call.averages ? floats(tensors[average_gradient]) : nullptr,
                              call.averages ? floats(tensors[average_product]) : nullptr};
  return run_gradient<true>(device, l, call.rows, numbers, tensors[grad_output].data, tensors[input].data, tensors[grad_input].data,
                            sums, format, call.relu);
}

const kernel rows[] = {
    {VERSEMI_INSTANCE_NORM_RELU, "norm", takes_all, plan_instance, run_instance},
    {VERSEMI_INSTANCE_NORM_RELU_GRAD, "norm", takes_all, plan_instance_grad, run_instance_grad},
    {VERSEMI_BATCH_NORM_RELU, "norm", takes_all, plan_batch, run_batch},
    {VERSEMI_BATCH_NORM_RELU_GRAD, "norm", takes_all, plan_batch_grad, run_batch_grad},
};

}  // namespace

kernel_rows norm_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
