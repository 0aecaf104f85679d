// Speed of the convolution family on the layers of the network:
// bench_conv [threads] [width] [patch] [isa] [layer]
// patch: the side of a cube, or DEPTHxHEIGHTxWIDTH.
// Prints ms, GFLOP/s and the share of the arithmetic peak, which is measured first on the same number of threads; beside it
// the same by direct sums (`exact`), in turns. With one thread the clock is that of the thread.
#include <ctime>

#include <chrono>
#include <cstdlib>

#include "conv_reference.h"

using namespace versemi_test;

namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Processor time of this thread, or the wall's time where several threads work.
double clock_ms(const versemi_context* context) {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  timespec time;
  if (versemi::thread_count(context) == 1 && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0)
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
#endif
  return now_ms();
}

struct times_ms {
  double fast, exact;
};

// Best of some runs, with and without minimal filtering, in turns: the machine may be shared.
template <typename Run>
times_ms best_ms(versemi_context* context, Run&& run) {
  double best[2] = {1e30, 1e30}, total = 0;
  for (int i = 0; i < 60 && (i < 6 || total < 600); i++)
    for (int kind = 0; kind < 2; kind++) {
      versemi::set_exact(context, kind == 1);
      const double begin = clock_ms(context);
      run();
      const double took = clock_ms(context) - begin;
      total += took;
      if (i > 0 && took < best[kind]) best[kind] = took;
    }
  return times_ms{best[0], best[1]};
}

void print_times(const times_ms& ms) {
  std::printf("  exact %9.3f ms, %5.2f times\n", ms.exact, ms.exact / ms.fast);
  std::fflush(stdout);
}

struct memory {
  explicit memory(int64_t floats) : bytes(static_cast<std::size_t>(floats) * 4) {
    data = static_cast<float*>(versemi::allocate_aligned(bytes));
    generator random(static_cast<uint64_t>(floats));
    for (int64_t i = 0; i < floats; i++) data[i] = random.next();
  }
  ~memory() { versemi::free_aligned(data, bytes); }
  memory(const memory&) = delete;
  memory& operator=(const memory&) = delete;
  versemi_buffer buffer() { return versemi_buffer{data, static_cast<int64_t>(bytes)}; }
  std::size_t bytes;
  float* data;
};

struct layer {
  const char* name;
  versemi_conv_problem problem;
  bool transposed;
  int repeats;  // in the network
};

struct totals {
  times_ms forward = {0, 0}, grad_input = {0, 0}, grad_weight = {0, 0};
  double flops = 0;
};

void add(times_ms* sum, int repeats, const times_ms& one) {
  sum->fast += repeats * one.fast;
  sum->exact += repeats * one.exact;
}

void bench_layer(const char* isa, versemi_context* context, const layer& l, double peak, totals* sum) {
  const versemi_conv_problem& p = l.problem;
  memory input(versemi_conv_input_count(&p)), output(versemi_conv_output_count(&p)),
      weight(versemi_conv_weight_count(&p)), bias(p.in_channels + p.out_channels),
      result(input.bytes > output.bytes ? input.bytes / 4 : output.bytes / 4);
  const std::vector<double> attributes = attributes_of(p);
  std::vector<double> with_norm = attributes;
  with_norm.insert(with_norm.end(), {l.transposed ? 1.0 : 0.0, 1.0, 1e-5});
  // Products per output voxel times output voxels; zeros of the padding count, as is usual.
  const double flops = 2.0 *
                       static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2] * p.in_channels * p.out_channels) *
                       static_cast<double>(p.n * p.out[0] * p.out[1] * p.out[2]);
  const auto print = [&](const char* what, const times_ms& ms) {
    std::printf("  %-22s %-12s %9.3f ms %8.1f GFLOP/s %5.1f %%", l.name, what, ms.fast, flops / ms.fast / 1e6,
                100 * flops / ms.fast / 1e6 / peak);
    print_times(ms);
  };
  const times_ms forward = best_ms(context, [&] {
    run_op(isa, VERSEMI_CONV3D_FORWARD, context, {input.buffer(), weight.buffer(), absent, output.buffer()},
            attributes, l.name);
  });
  const times_ms grad_input = best_ms(context, [&] {
    run_op(isa, VERSEMI_CONV3D_GRAD_INPUT, context, {output.buffer(), weight.buffer(), absent, input.buffer()},
            attributes, l.name);
  });
  const times_ms norm = best_ms(context, [&] {
    run_op(isa, VERSEMI_CONV3D_NORM_RELU, context,
            {l.transposed ? output.buffer() : input.buffer(), weight.buffer(), absent, result.buffer(), absent, absent,
             absent},
            with_norm, l.name);
  });
  memory grad(versemi_conv_weight_count(&p));
  const times_ms grad_weight = best_ms(context, [&] {
    run_op(isa, VERSEMI_CONV3D_GRAD_WEIGHT, context, {input.buffer(), output.buffer(), grad.buffer(), absent},
            attributes, l.name);
  });
  print("forward", forward);
  print("grad input", grad_input);
  print("grad weight", grad_weight);
  print("norm relu", norm);
  add(&sum->forward, l.repeats, norm);
  // Nobody asks for the gradient of the image.
  if (p.in_channels > 1) add(&sum->grad_input, l.repeats, l.transposed ? forward : grad_input);
  add(&sum->grad_weight, l.repeats, grad_weight);
  sum->flops += l.repeats * flops;
}

// Twelve independent chains of fma on every thread.
double peak_gflops(const char* isa, versemi_context* context);

typedef float wide __attribute__((vector_size(64)));
typedef float middle __attribute__((vector_size(32)));
typedef float narrow __attribute__((vector_size(16)));

#define PEAK_LOOP(vector, target)                                                                             \
  target double peak_##vector(float first, int64_t rounds) {                                                  \
    const vector start = vector{} + first;                                                                    \
    vector a = start, b = a + 1, c = a + 2, d = a + 3, e = a + 4, f = a + 5, g = a + 6, h = a + 7, i = a + 8, \
           j = a + 9;                                                                                         \
    const vector x = start * 0 + 0.999f, y = start * 0 + 0.001f;                                              \
    for (int64_t k = 0; k < rounds; k++) {                                                                    \
      a = a * x + y, b = b * x + y, c = c * x + y, d = d * x + y, e = e * x + y;                              \
      f = f * x + y, g = g * x + y, h = h * x + y, i = i * x + y, j = j * x + y;                              \
    }                                                                                                         \
    return (a + b + c + d + e + f + g + h + i + j)[0];                                                        \
  }
#if defined(__x86_64__)
PEAK_LOOP(wide, __attribute__((target("avx512f"), noinline)))
PEAK_LOOP(middle, __attribute__((target("avx2,fma"), noinline)))
#endif
PEAK_LOOP(narrow, __attribute__((noinline)))

double peak_gflops(const char* isa, versemi_context* context) {
  (void)isa;  // one instruction set only on ARM
  const int64_t rounds = 20000000;
  const int threads = versemi::thread_count(context);
  int lanes = 4;
  double best = 1e30;
  for (int repeat = 0; repeat < 3; repeat++) {
    const double begin = clock_ms(context);
    versemi::parallel_for(context, threads, [&](int64_t, int64_t, int thread) {
      volatile double keep;
      const float start = static_cast<float>(thread);
#if defined(__x86_64__)
      if (std::strcmp(isa, "avx512") == 0)
        lanes = 16, keep = peak_wide(start, rounds);
      else if (std::strcmp(isa, "avx2") == 0)
        lanes = 8, keep = peak_middle(start, rounds);
      else
#endif
        keep = peak_narrow(start, rounds);
      (void)keep;
    });
    const double took = clock_ms(context) - begin;
    if (took < best) best = took;
  }
  return 10.0 * 2 * lanes * static_cast<double>(rounds) * threads / best / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 0;
  const int64_t width = argc > 2 ? std::atoll(argv[2]) : 16;
  long long patch[3] = {96, 96, 96};
  const int sides = argc > 3 ? std::sscanf(argv[3], "%lldx%lldx%lld", &patch[0], &patch[1], &patch[2]) : 3;
  if (sides == 1) patch[1] = patch[2] = patch[0];
  bool fits = sides == 1 || sides == 3;
  for (long long side : patch) fits = fits && side >= 16 && side % 16 == 0;
  const char* isa = argc > 4 ? argv[4] : versemi::instruction_set();
  int32_t rows = 0;
  if (versemi::kernels_for(isa, &rows) == nullptr || width < 1 || !fits) {
    std::fprintf(stderr,
                 "bench_conv [threads] [width] [patch, as 96 or 64x64x16: multiples of 16] [avx512|avx2|baseline] [part of a layer's name]\n");
    return 2;
  }
  versemi_context* context = versemi::create_context(threads);
  const double peak = peak_gflops(isa, context);
  std::printf("%s, %d threads, peak %.1f GFLOP/s; width %d, patch %lldx%lldx%lld\n", isa, versemi::thread_count(context),
              peak, (int)width, patch[0], patch[1], patch[2]);
  std::vector<std::string> names;
  names.reserve(32);
  std::vector<layer> layers;
  const auto add = [&](const char* kind, int level, int64_t ci, int64_t co, int64_t kernel, bool transposed,
                       int repeats) {
    char text[80];
    const int64_t stride = kernel == 2 ? 2 : 1;
    const int64_t d = patch[0] >> level, h = patch[1] >> level, w = patch[2] >> level;
    const int from = (int)(transposed ? co : ci), to = (int)(transposed ? ci : co);
    if (d == h && h == w)
      std::snprintf(text, sizeof text, "%s %d^3 %d->%d", kind, (int)w, from, to);
    else
      std::snprintf(text, sizeof text, "%s %dx%dx%d %d->%d", kind, (int)d, (int)h, (int)w, from, to);
    names.push_back(text);
    layers.push_back(
        {names.back().c_str(), problem(1, d, h, w, ci, co, kernel, stride, kernel == 3), transposed, repeats});
  };
  const int convolutions[] = {1, 4, 6, 6, 3};
  for (int level = 0; level < 5; level++) {
    const int64_t channels = width << level;
    add("conv", level, level == 0 ? 1 : channels, channels, 3, false, convolutions[level]);
    if (level == 4) break;
    add("down", level, channels, channels * 2, 2, false, 1);
    add("up", level, channels, channels * 2, 2, true, 1);
  }
  add("head", 0, width, 8, 1, false, 1);
  totals sum;
  for (const layer& l : layers)
    if (argc <= 5 || std::strstr(l.name, argv[5]) != nullptr) bench_layer(isa, context, l, peak, &sum);
  const auto print = [&](const char* what, const times_ms& ms) {
    std::printf("%-24s %9.1f ms %8.1f GFLOP/s %5.1f %%", what, ms.fast, sum.flops / ms.fast / 1e6,
                100 * sum.flops / ms.fast / 1e6 / peak);
    print_times(ms);
  };
  std::printf("the network, one sample, %.1f GFLOP\n", sum.flops / 1e9);
  print("forward, norm and relu", sum.forward);
  print("grad input", sum.grad_input);
  print("grad weight", sum.grad_weight);
  versemi::destroy_context(context);
  return failures == 0 ? 0 : 1;
}
