// Steps over all parameters in one call. The arena holds them one after the other; `size[n]` cuts it.

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// starts[n + 1]: where each parameter begins in the arena, and the end; nullptr when there is no scratch.
std::int64_t* starts_of(versemi_context* context, const attribute_list& sizes, std::int64_t n) {
  std::int64_t* starts = static_cast<std::int64_t*>(
      scratch(context, scratch_slot::starts, static_cast<std::size_t>(n + 1) * sizeof(std::int64_t)));
  if (starts == nullptr) return nullptr;
  starts[0] = 0;
  for (std::int64_t i = 0; i < n; i++) starts[i + 1] = starts[i] + sizes[i];
  return starts;
}

// Calls body(piece, parameter, offset in the parameter, offset in the arena, elements) for every stretch of the arena
// that lies in one parameter and one piece of task_elements.
template <typename Body>
void for_each_stretch(versemi_context* context, const std::int64_t* starts, std::int64_t n, Body body) {
  const std::int64_t total = starts[n];
  parallel_for(context, divide_up(total, task_elements), [&](std::int64_t first, std::int64_t last, int) {
    std::int64_t parameter = 0;
    for (std::int64_t piece = first; piece < last; piece++) {
      std::int64_t at = piece * task_elements;
      const std::int64_t end = smaller(at + task_elements, total);
      while (at < end) {
        while (starts[parameter + 1] <= at) parameter++;
        const std::int64_t stop = smaller(end, starts[parameter + 1]);
        body(piece, parameter, at - starts[parameter], at, stop - at);
        at = stop;
      }
    }
  });
}

versemi_status pack_gradients(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                              const double* attributes, std::int32_t) {
  namespace buffer = pack_gradients_buffer;
  const pack_gradients_attributes of(attributes);
  const std::int64_t n = of.n;
  float *arena = output(buffers[buffer::arena_after(n)]), *squared_norm = output(buffers[buffer::squared_norm_after(n)]);
  const std::int64_t* starts = starts_of(context, of.size, n);
  if (starts == nullptr) return out_of_memory(static_cast<std::size_t>(n + 1) * 8);
  const std::int64_t pieces = divide_up(starts[n], task_elements);
  double* partials = static_cast<double*>(scratch(context, scratch_slot::partials, static_cast<std::size_t>(pieces) * sizeof(double)));
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(pieces) * sizeof(double));
  for (std::int64_t i = 0; i < pieces; i++) partials[i] = 0;
  for_each_stretch(context, starts, n, [&](std::int64_t piece, std::int64_t parameter, std::int64_t offset,
                                           std::int64_t at, std::int64_t count) {
    const float* gradient = input(buffers[buffer::gradient + parameter]);
    float* out = arena + at;
    if (gradient == nullptr) {
      std::memset(out, 0, static_cast<std::size_t>(count) * sizeof(float));
      return;
    }
    gradient += offset;
    vdouble low = vdouble{}, high = vdouble{};
    for_each_vector(0, count, [&](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
      const vfloat g = load(gradient + i, part);
      const vdouble l = widen_low(g), h = widen_high(g);
      low += l * l;
      high += h * h;
      store(out + i, g, part);
    });
    partials[piece] += sum_lanes(low) + sum_lanes(high);
  });
  double total = 0;
  for (std::int64_t i = 0; i < pieces; i++) total += partials[i];
  squared_norm[0] = static_cast<float>(total);
  return ok();
}

versemi_status adam_step(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                         std::int32_t) {
  namespace buffer = adam_step_buffer;
  const adam_step_attributes of(attributes);
  const std::int64_t n = of.n;
  const double learning_rate = of.learning_rate, beta1 = of.beta1, beta2 = of.beta2, step = static_cast<double>(of.step);
  const float* arena = input(buffers[buffer::arena]);
  float *first_moment = output(buffers[buffer::first_moment]), *second_moment = output(buffers[buffer::second_moment]);
  const std::int64_t* starts = starts_of(context, of.size, n);
  if (starts == nullptr) return out_of_memory(static_cast<std::size_t>(n + 1) * 8);
  const auto constant = [](double value) { return broadcast(static_cast<float>(value)); };
  const vfloat scale = constant(of.gradient_scale), b1 = constant(beta1), c1 = constant(1 - beta1), b2 = constant(beta2),
               c2 = constant(1 - beta2), kept = constant(1 - learning_rate * of.weight_decay), eps = constant(of.epsilon);
  // lr * mhat / (sqrt(vhat) + eps) with the bias corrections of both moments taken into constants
  const vfloat rate = constant(learning_rate / (1 - __builtin_pow(beta1, step)));
  const vfloat correction = constant(1 / __builtin_sqrt(1 - __builtin_pow(beta2, step)));
  for_each_stretch(context, starts, n, [=](std::int64_t, std::int64_t parameter, std::int64_t offset, std::int64_t at,
                                           std::int64_t count) {
    const float* gradient = arena + at;
    float *m = first_moment + at, *v = second_moment + at, *w = output(buffers[buffer::parameter + parameter]) + offset;
    for_each_vector(0, count, [=](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
      const vfloat g = load(gradient + i, part) * scale;
      const vfloat first = b1 * load(m + i, part) + c1 * g;
      const vfloat second = b2 * load(v + i, part) + c2 * (g * g);
      store(m + i, first, part);
      store(v + i, second, part);
      const vfloat update = rate * first / (versemi::VERSEMI_ISA::sqrt(second) * correction + eps);
      store(w + i, load(w + i, part) * kept - update, part);
    });
  });
  return ok();
}

versemi_status sgd_step(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                        std::int32_t) {
  namespace buffer = sgd_step_buffer;
  const sgd_step_attributes of(attributes);
  const std::int64_t n = of.n;
  const float* arena = input(buffers[buffer::arena]);
  float* velocity = output(buffers[buffer::velocity]);
  const std::int64_t* starts = starts_of(context, of.size, n);
  if (starts == nullptr) return out_of_memory(static_cast<std::size_t>(n + 1) * 8);
  const auto constant = [](double value) { return broadcast(static_cast<float>(value)); };
  const vfloat scale = constant(of.gradient_scale), decay = constant(of.weight_decay), momentum = constant(of.momentum),
               rate = constant(of.learning_rate);
  for_each_stretch(context, starts, n, [=](std::int64_t, std::int64_t parameter, std::int64_t offset, std::int64_t at,
                                           std::int64_t count) {
    const float* gradient = arena + at;
    float *v = velocity + at, *w = output(buffers[buffer::parameter + parameter]) + offset;
    for_each_vector(0, count, [=](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
      const vfloat weight = load(w + i, part);
      const vfloat next = momentum * load(v + i, part) + (scale * load(gradient + i, part) + decay * weight);
      store(v + i, next, part);
      store(w + i, weight - rate * next, part);
    });
  });
  return ok();
}

versemi_status ema_step(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                        std::int32_t) {
  namespace buffer = ema_step_buffer;
  const ema_step_attributes of(attributes);
  const std::int64_t n = of.n;
  float* average = output(buffers[buffer::average_after(n)]);
  const std::int64_t* starts = starts_of(context, of.size, n);
  if (starts == nullptr) return out_of_memory(static_cast<std::size_t>(n + 1) * 8);
  const vfloat decay = broadcast(static_cast<float>(of.decay)), rest = broadcast(static_cast<float>(1 - of.decay));
  for_each_stretch(context, starts, n, [=](std::int64_t, std::int64_t parameter, std::int64_t offset, std::int64_t at,
                                           std::int64_t count) {
    const float* w = input(buffers[buffer::parameter + parameter]) + offset;
    float* mean = average + at;
    for_each_vector(0, count, [=](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
      store(mean + i, decay * load(mean + i, part) + rest * load(w + i, part), part);
    });
  });
  return ok();
}

const versemi_kernel rows[] = {
    VERSEMI_ROW(VERSEMI_PACK_GRADIENTS, pack_gradients),
    VERSEMI_ROW(VERSEMI_ADAM_STEP, adam_step),
    VERSEMI_ROW(VERSEMI_SGD_STEP, sgd_step),
    VERSEMI_ROW(VERSEMI_EMA_STEP, ema_step),
};

}  // namespace

kernel_rows optimizer_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
