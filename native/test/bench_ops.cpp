// Times of the kernels besides convolution at the sizes of the network (base width 16, patch 96), against the time in which
// one pass over their memory can be done, measured in the same run. bench_ops [threads]
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <functional>

#include "kernel_test.h"

using namespace versemi_test;

namespace {

// On one thread the time on the processor counts, so that other programs on a shared machine do not.
double now(versemi_context* context) {
  if (versemi::thread_count(context) == 1) return static_cast<double>(std::clock()) * 1e3 / CLOCKS_PER_SEC;
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double milliseconds(versemi_context* context, const std::function<void()>& run) {
  double best = 1e9;
  for (int round = 0; round < 7; round++) {
    const double start = now(context);
    run();
    best = std::fmin(best, now(context) - start);
  }
  return best;
}

double bytes_per_millisecond = 0;  // of a copy, read and written bytes together

// floats: elements per buffer (-1: absent); each is read or written once in the best case.
void bench(versemi_context* context, const char* name, int32_t op, const std::vector<double>& attributes, std::vector<int64_t> floats) {
  std::vector<std::vector<float>> memory;
  std::vector<versemi_buffer> buffers;
  double bytes = 0;
  generator random(1);
  for (int64_t count : floats) {
    memory.push_back(random.floats(count < 0 ? 0 : count));
    bytes += count < 0 ? 0 : static_cast<double>(count) * 4;
  }
  for (std::size_t i = 0; i < floats.size(); i++) buffers.push_back(floats[i] < 0 ? absent : constant(memory[i]));
  std::string reasons;
  const versemi_kernel* row = row_for(versemi::instruction_set(), op, context, attributes, &reasons);
  const double time = milliseconds(context, [&] {
    const versemi_status status = row->run(context, buffers.data(), static_cast<int32_t>(buffers.size()), attributes.data(),
                                           static_cast<int32_t>(attributes.size()));
    if (status.code != VERSEMI_OK) std::exit(1);
  });
  const double floor = bytes / bytes_per_millisecond;
  std::printf("%-44s %8.2f ms   floor %7.2f ms   %5.1f x\n", name, time, floor, time / floor);
}

}  // namespace

int main(int argc, char** argv) {
  versemi_context* context = versemi::create_context(argc > 1 ? std::atoi(argv[1]) : 0);
  constexpr int64_t voxels = 96 * 96 * 96, all = voxels * 16;
  {
    std::vector<float> from(all, 1.0f), to(all, 2.0f);
    const double time = milliseconds(context, [&] {
      versemi::parallel_for(context, 64, [&](int64_t begin, int64_t end, int) {
        std::memcpy(&to[begin * (all / 64)], &from[begin * (all / 64)], static_cast<std::size_t>((end - begin) * (all / 64)) * 4);
      });
    });
    bytes_per_millisecond = 2.0 * all * 4 / time;
    std::printf("%s, %d threads, copy %.1f GB/s read and written\n", versemi::instruction_set(), versemi::thread_count(context),
                bytes_per_millisecond / 1e6);
  }
  bench(context, "instance_norm_relu 96^3 x 16", VERSEMI_INSTANCE_NORM_RELU, {1, voxels, 16, 1, 1e-5}, {all, all, 16, 16});
  bench(context, "instance_norm_relu 48^3 x 32", VERSEMI_INSTANCE_NORM_RELU, {1, voxels / 8, 32, 1, 1e-5}, {all / 4, all / 4, 32, 32});
  bench(context, "instance_norm_relu 6^3 x 256", VERSEMI_INSTANCE_NORM_RELU, {1, 216, 256, 1, 1e-5}, {216 * 256, 216 * 256, 256, 256});
  bench(context, "instance_norm_relu 96^3 x 8", VERSEMI_INSTANCE_NORM_RELU, {1, voxels, 8, 1, 1e-5}, {all / 2, all / 2, 8, 8});
  bench(context, "instance_norm_relu_grad 96^3 x 16", VERSEMI_INSTANCE_NORM_RELU_GRAD, {1, voxels, 16, 1}, {all, all, 16, 16, all});
  bench(context, "batch_norm_relu 96^3 x 16", VERSEMI_BATCH_NORM_RELU, {voxels, 16, 1, 1, 1e-5}, {all, 16, 16, -1, -1, all, 16, 16});
  bench(context, "batch_norm_relu_grad 96^3 x 16", VERSEMI_BATCH_NORM_RELU_GRAD, {voxels, 16, 1, 1e-5, 0},
        {all, all, 16, 16, 16, 16, -1, -1, all, 16, 16});
  for (int64_t prompts : {1, 5}) {
    const std::string name = "96^3, " + std::to_string(prompts) + " prompts";
    bench(context, ("dynamic_head " + name).c_str(), VERSEMI_DYNAMIC_HEAD, {1, double(prompts), voxels, 8},
          {voxels * 8, prompts * 162, prompts * voxels});
    bench(context, ("dynamic_head_grad " + name).c_str(), VERSEMI_DYNAMIC_HEAD_GRAD, {1, double(prompts), voxels, 8},
          {prompts * voxels, voxels * 8, prompts * 162, voxels * 8, prompts * 162});
  }
  bench(context, "dynamic_head 96^3, 1 prompt, width 12", VERSEMI_DYNAMIC_HEAD, {1, 1, voxels, 12}, {voxels * 12, 338, voxels});
  bench(context, "overlap_sums 8 x 96^3", VERSEMI_OVERLAP_SUMS, {1, 8 * voxels}, {8 * voxels, 8 * voxels, -1, 5});
  bench(context, "overlap_sums_grad 8 x 96^3", VERSEMI_OVERLAP_SUMS_GRAD, {1, 8 * voxels}, {5, 8 * voxels, 8 * voxels, -1, 8 * voxels, -1});
  bench(context, "aggregate_max 4 x 96^3", VERSEMI_AGGREGATE_MAX, {1, 5, voxels, 4}, {5 * voxels, voxels});
  bench(context, "aggregate_max_grad 4 x 96^3", VERSEMI_AGGREGATE_MAX_GRAD, {1, 5, voxels, 4}, {voxels, 5 * voxels, 5 * voxels});
  constexpr int64_t parameters = 9479428;
  bench(context, "pack_gradients 9.5 M", VERSEMI_PACK_GRADIENTS, {1, parameters}, {parameters, parameters, 1});
  bench(context, "adam_step 9.5 M", VERSEMI_ADAM_STEP, {1, 0, 0.5, 0.999, 1e-8, 0, 1, 1, parameters},
        {parameters, parameters, parameters, parameters});
  bench(context, "ema_step 9.5 M", VERSEMI_EMA_STEP, {1, 0.99, parameters}, {parameters, parameters});
  bench(context, "unary relu 14 M", VERSEMI_UNARY, {13, all, 0, 0}, {all, all});
  bench(context, "unary sigmoid 14 M", VERSEMI_UNARY, {11, all, 0, 0}, {all, all});
  bench(context, "binary add 14 M", VERSEMI_BINARY, {0, 1, all, 1, 1}, {all, all, all});
  bench(context, "binary add channel vector 96^3 x 16", VERSEMI_BINARY, {0, 2, voxels, 16, 16, 1, 0, 1}, {all, 16, all});
  bench(context, "reduce sum 14 M to 1", VERSEMI_REDUCE, {0, 1, all, 1}, {all, 1});
  bench(context, "reduce sum 96^3 x 16 to 16", VERSEMI_REDUCE, {0, 1, voxels, 16}, {all, 16});
  bench(context, "transpose 96^3 x 16 to 16 x 96^3", VERSEMI_TRANSPOSE, {2, voxels, 16, 1, 0}, {all, all});
  bench(context, "fill 14 M", VERSEMI_FILL, {all, 0}, {all});
  versemi::destroy_context(context);
  return 0;
}
