// The addon's buffers and call checks, which know no N-API and are compiled into this program.
#include "addon/buffers.cpp"
#include "addon/check.cpp"
#include "kernel_test.h"

using namespace versemi_test;
using versemi::buffer_pool;

namespace {

constexpr int64_t mebibyte = 1 << 20;

buffer_pool::buffer_id take(buffer_pool& pool, int64_t bytes) {
  buffer_pool::buffer_id id = 0;
  const versemi_status status = pool.allocate(bytes, &id);
  check(status.code == VERSEMI_OK && id > 0, std::string("allocate: ") + status.message);
  return id;
}

void* data_of(const buffer_pool& pool, buffer_pool::buffer_id id) {
  versemi_buffer buffer = absent;
  check(pool.find(id, &buffer), "a live buffer is found");
  return buffer.data;
}

void test_reuse() {
  buffer_pool pool(1000 * mebibyte, false);
  for (int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{64}, int64_t{4096}, int64_t{4097}, int64_t{70000}, 3 * mebibyte, 40 * mebibyte + 4}) {
    const auto first = take(pool, bytes);
    void* data = data_of(pool, first);
    check(reinterpret_cast<uintptr_t>(data) % 64 == 0, "64-byte aligned");
    std::memset(data, 1, static_cast<std::size_t>(bytes));
    check(pool.release(first).code == VERSEMI_OK, "release");
    const auto second = take(pool, bytes);
    check(data_of(pool, second) == data, "the same request gets the same memory: " + std::to_string(bytes));
    check(second != first, "and another id");
    versemi_buffer stale;
    check(!pool.find(first, &stale), "a stale id is not found");
    check(pool.release(first).code == VERSEMI_INVALID_ARGUMENT, "nor released");
    check(pool.use().buffers == 1 && pool.use().bytes_in_use == bytes, "counts");
    check(pool.use().bytes_pooled == 0, "nothing left in the pool");
    check(pool.release(second).code == VERSEMI_OK, "release again");
    check(static_cast<double>(pool.use().bytes_pooled) <= std::max(64.0, static_cast<double>(bytes) * 1.125), "at most an eighth is lost");
    pool.trim();
    check(pool.use().bytes_pooled == 0, "trim");
  }
  check(pool.use().buffers == 0 && pool.use().bytes_in_use == 0 && pool.use().bytes_peak == 40 * mebibyte + 4, "empty at the end");
  const auto live = take(pool, 10);
  for (buffer_pool::buffer_id id : {int64_t{-1}, live + 1, live + (int64_t{1} << 24), int64_t{1} << 60}) {
    versemi_buffer buffer;
    check(!pool.find(id, &buffer), "an id that never was is not found");
  }
  versemi_buffer none;
  check(pool.find(0, &none) && none.data == nullptr && none.bytes == 0, "id 0 is the absent buffer");
}

void test_limit() {
  buffer_pool pool(10 * mebibyte, false);
  const auto first = take(pool, 6 * mebibyte);
  buffer_pool::buffer_id id = 1;
  const versemi_status status = pool.allocate(6 * mebibyte, &id);
  check(status.code == VERSEMI_OUT_OF_MEMORY && id == 0, "more than the limit is refused");
  check(std::strstr(status.message, "6.0 MiB more") != nullptr, status.message);
  pool.release(first);
  take(pool, 9 * mebibyte);  // pooled blocks are given back first
  check(pool.allocate(-1, &id).code == VERSEMI_INVALID_ARGUMENT, "a negative size");
  check(pool.allocate(int64_t{1} << 60, &id).code == VERSEMI_INVALID_ARGUMENT, "an absurd size");
}

void test_poison() {
  buffer_pool pool(10 * mebibyte, true);
  const auto id = take(pool, 40);
  float* values = static_cast<float*>(data_of(pool, id));
  for (int i = 0; i < 10; i++) check(std::isnan(values[i]), "new buffers hold NaN");
  check(pool.release(id).code == VERSEMI_OK, "intact");
  const auto other = take(pool, 40);
  reinterpret_cast<char*>(data_of(pool, other))[40] = 0;
  check(pool.release(other).code == VERSEMI_DEVICE_FAILED, "a byte behind the end is noticed");
  check(pool.use().buffers == 0, "and the buffer is released");
}

// Sizes are checked to the byte: with one float less the same call is refused.
void test_sizes(int32_t op, const doubles& attributes, const std::vector<int64_t>& floats) {
  std::vector<versemi_buffer> buffers;
  static float memory[1];
  for (int64_t count : floats) buffers.push_back(count < 0 ? absent : versemi_buffer{memory, count * 4});
  const auto code = [&] {
    return versemi::check_call(op, buffers.data(), static_cast<int32_t>(buffers.size()), attributes.data(),
                               static_cast<int32_t>(attributes.size()));
  };
  check(code().code == VERSEMI_OK, "op " + std::to_string(op) + ": " + code().message);
  for (std::size_t i = 0; i < buffers.size(); i++) {
    if (floats[i] <= 0) continue;
    buffers[i].bytes -= 4;
    check(code().code == VERSEMI_INVALID_ARGUMENT, "op " + std::to_string(op) + ": buffer " + std::to_string(i) + " is too small");
    buffers[i].bytes += 4;
  }
}

}  // namespace

int main() {
  test_reuse();
  test_limit();
  test_poison();
  const doubles conv = {2, 4, 5, 6, 3, 2, 3, 3, 7, 2, 2, 2, 2, 2, 2, 0, 1, 0};
  const int64_t in = 2 * 4 * 5 * 6 * 3, weight = 8 * 3 * 7, out = 2 * 2 * 3 * 3 * 7;
  test_sizes(VERSEMI_CONV3D_FORWARD, conv, {in, weight, 7, out});
  test_sizes(VERSEMI_CONV3D_FORWARD, conv, {in, weight, -1, out});
  test_sizes(VERSEMI_CONV3D_GRAD_INPUT, conv, {out, weight, 3, in});
  test_sizes(VERSEMI_CONV3D_GRAD_WEIGHT, conv, {in, out, weight, 7});
  const auto with = [](doubles list, const doubles& more) {
    list.insert(list.end(), more.begin(), more.end());
    return list;
  };
  test_sizes(VERSEMI_CONV3D_NORM_RELU, with(conv, {0, 1, 1e-5}), {in, weight, out, out, out, 14, 14});
  test_sizes(VERSEMI_CONV3D_NORM_RELU, with(conv, {1, 1, 1e-5}), {out, weight, in, in, in, 6, 6});
  test_sizes(VERSEMI_INSTANCE_NORM_RELU, {2, 5, 3, 1, 1e-5}, {30, 30, 6, 6});
  test_sizes(VERSEMI_INSTANCE_NORM_RELU_GRAD, {2, 5, 3, 1}, {30, 30, 6, 6, 30});
  test_sizes(VERSEMI_BATCH_NORM_RELU, {5, 3, 1, 1, 1e-5}, {15, 3, 3, -1, -1, 15, 3, 3});
  test_sizes(VERSEMI_BATCH_NORM_RELU, {5, 3, 0, 1, 1e-5}, {15, 3, 3, 3, 3, 15, -1, -1});
  test_sizes(VERSEMI_BATCH_NORM_RELU, {5, 3, 1, 1, 1e-5}, {15, 3, 3, -1, -1, -1, 3, 3});
  test_sizes(VERSEMI_BATCH_NORM_RELU_GRAD, {5, 3, 1, 1e-5, 0}, {15, 15, 3, 3, 3, 3, -1, -1, 15, 3, 3});
  test_sizes(VERSEMI_BATCH_NORM_RELU_GRAD, {5, 3, 1, 1e-5, 0}, {15, 15, 3, 3, 3, 3, -1, -1, -1, 3, 3});
  test_sizes(VERSEMI_BATCH_NORM_RELU_GRAD, {5, 3, 1, 1e-5, 1}, {15, 15, 3, 3, 3, 3, 3, 3, 15, -1, -1});
  test_sizes(VERSEMI_DYNAMIC_HEAD, {2, 3, 5, 8}, {80, 2 * 3 * 162, 30});
  test_sizes(VERSEMI_DYNAMIC_HEAD_GRAD, {2, 3, 5, 8}, {30, 80, 2 * 3 * 162, 80, 2 * 3 * 162});
  test_sizes(VERSEMI_OVERLAP_SUMS, {1, 9}, {9, 9, 9, 5});
  test_sizes(VERSEMI_OVERLAP_SUMS_GRAD, {1, 9}, {5, 9, 9, -1, 9, 9});
  test_sizes(VERSEMI_AGGREGATE_MAX, {2, 3, 5, 2}, {30, 10});
  test_sizes(VERSEMI_AGGREGATE_MAX_GRAD, {2, 3, 5, 2}, {10, 30, 30});
  test_sizes(VERSEMI_PACK_GRADIENTS, {3, 4, 0, 5}, {4, -1, 5, 9, 1});
  test_sizes(VERSEMI_ADAM_STEP, {2, 1e-3, 0.5, 0.999, 1e-8, 0, 1, 1, 4, 5}, {9, 9, 9, 4, 5});
  test_sizes(VERSEMI_EMA_STEP, {2, 0.99, 4, 5}, {4, 5, 9});
  test_sizes(VERSEMI_UNARY, {23, 7, 0, 0}, {7, 7});
  test_sizes(VERSEMI_BINARY, {0, 2, 3, 4, 4, 1, 0, 1}, {12, 4, 12});
  test_sizes(VERSEMI_BINARY, {0, 2, 3, 4, 1, 3, 0, 0}, {12, 1, 12});
  test_sizes(VERSEMI_REDUCE, {4, 2, 3, 5}, {30, 10});
  test_sizes(VERSEMI_MATMUL, {2, 3, 4, 5, 0, 1, 12, 0}, {24, 20, 30});
  test_sizes(VERSEMI_TRANSPOSE, {2, 3, 4, 1, 0}, {12, 12});
  test_sizes(VERSEMI_SLICE, {2, 3, 4, 1, 2, 2, 2}, {12, 4});
  test_sizes(VERSEMI_PAD, {2, 3, 4, 1, 0, 0, 2, 0}, {12, 24});
  test_sizes(VERSEMI_CONCAT, {2, 3, 4, 5}, {12, 15, 27});
  test_sizes(VERSEMI_TILE, {2, 3, 4, 2, 1}, {12, 24});
  test_sizes(VERSEMI_FILL, {7, 1}, {7});
  test_sizes(VERSEMI_CUT_PATCHES, {2, 3, 4, 5, 99, 3}, {99, 26, 768, 120});
  test_sizes(VERSEMI_CUT_MIX, {2, 3, 4, 5, 7}, {420, 16, 120});
  return finish("buffers");
}
