// The emulator itself: fragment layouts against the tables of the PTX ISA written out another way, and that the mistakes it is
// there to find are found.
#include <algorithm>

#include "core/intrinsics.h"
#include "test/harness.h"

using namespace versemi::cuda;
using versemi_test::device_array;
using versemi_test::doubles;
using versemi_test::test_context;

namespace {

// Runs a kernel and gives the words of its failure, "" when there was none.
template <typename... Parameters, typename... Arguments>
std::string failure_of(test_context& context, void (*function)(Parameters...), dim3 grid, dim3 block, std::size_t shared,
                       Arguments... arguments) {
  const versemi_status status = launch(context, "k", function, grid, block, shared, arguments...);
  if (status.code != VERSEMI_OK) return status.message;
  const versemi_status end = check(cudaStreamSynchronize(context.stream()), "");
  emulator::reset();
  return end.code == VERSEMI_OK ? "" : end.message;
}

void expect(const std::string& found, const char* part, const char* what) {
  versemi_test::check(*part == 0 ? found.empty() : found.find(part) != std::string::npos,
                      std::string(what) + ": expected '" + part + "', found '" + found + "'");
}

// --- fragments --------------------------------------------------------------------------------------------------------

// Number i of lane: row and column, as the PTX ISA gives them.
__global__ void mma_16816(const float* a, const float* b, float* d) {  // a [16][16], b [16][8], d [16][8]
  const int group = lane() >> 2, in_group = lane() & 3;
  std::uint32_t fa[4], fb[2];
  for (int i = 0; i < 8; i += 2) {  // a0..a7
    const int row = (i < 2 || (i >= 4 && i < 6)) ? group : group + 8;
    const int column = in_group * 2 + (i >= 4 ? 8 : 0);
    fa[i / 2] = pack_bf16(a[row * 16 + column], a[row * 16 + column + 1]);
  }
  for (int i = 0; i < 4; i += 2) {  // b0..b3
    const int row = in_group * 2 + (i >= 2 ? 8 : 0);
    fb[i / 2] = pack_bf16(b[row * 8 + group], b[(row + 1) * 8 + group]);
  }
  float c[4];
  for (int i = 0; i < 4; i++) c[i] = d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  mma_bf16(c, fa, fb);
  for (int i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = c[i];
}

__global__ void mma_1688(const float* a, const float* b, float* d) {  // a [16][8], b [8][8], d [16][8]
  const int group = lane() >> 2, in_group = lane() & 3;
  std::uint32_t fa[4], fb[2];
  fa[0] = to_tf32(a[group * 8 + in_group]);
  fa[1] = to_tf32(a[(group + 8) * 8 + in_group]);
  fa[2] = to_tf32(a[group * 8 + in_group + 4]);
  fa[3] = to_tf32(a[(group + 8) * 8 + in_group + 4]);
  fb[0] = to_tf32(b[in_group * 8 + group]);
  fb[1] = to_tf32(b[(in_group + 4) * 8 + group]);
  float c[4];
  for (int i = 0; i < 4; i++) c[i] = d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  mma_tf32(c, fa, fb);
  for (int i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = c[i];
}

// A from row-major shared memory by ldmatrix, B from row-major [16][8] by ldmatrix.trans: the product must be the same.
__global__ void mma_by_ldmatrix(const float* a, const float* b, float* d) {
  auto* sa = reinterpret_cast<bf16*>(shared_memory());  // [16][24]
  bf16* sb = sa + 16 * 24;                              // [16][8]
  for (int i = lane(); i < 256; i += 32) sa[i / 16 * 24 + i % 16] = to_bf16(a[i]);
  for (int i = lane(); i < 128; i += 32) sb[i] = to_bf16(b[i]);
  warp_barrier();
  std::uint32_t fa[4], fb[2];
  ldmatrix_x4(fa, sa + (lane() % 16) * 24 + lane() / 16 * 8);
  ldmatrix_x2_trans(fb, sb + (lane() % 16) * 8);
  float c[4] = {0, 0, 0, 0};
  mma_bf16(c, fa, fb);
  for (int i = 0; i < 4; i++) d[((lane() >> 2) + (i < 2 ? 0 : 8)) * 8 + (lane() & 3) * 2 + (i & 1)] = c[i];
}

template <typename Kernel>
void test_product(Kernel kernel, int k, bool adds, std::size_t shared, const char* what) {
  test_context context;
  versemi_test::generator random(static_cast<std::uint64_t>(k));
  // Few bits: exact in bfloat16 and in every sum.
  const auto values = [&](int count) {
    std::vector<float> all(static_cast<std::size_t>(count));
    for (float& v : all) v = std::round(random.next() * 16) / 4;
    return all;
  };
  const std::vector<float> a = values(16 * k), b = values(k * 8), c = values(128);
  device_array<float> da(a), db(b), dd(c);
  expect(failure_of(context, kernel, 1, 32, shared, da.data(), db.data(), dd.data()), "", what);
  doubles expected;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      double sum = adds ? c[static_cast<std::size_t>(i * 8 + j)] : 0;
      for (int l = 0; l < k; l++) sum += a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(l * 8 + j)];
      expected.push_back(sum);
    }
  versemi_test::compare(dd.download(), expected, 0, 0, what);
}

// --- warps, barriers, copies ------------------------------------------------------------------------------------------

__global__ void exchange_values(float* out) {
  const float own = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = shuffle_xor(own, 5);
  out[64 + threadIdx.x] = shuffle_down(own, 3);
  out[128 + threadIdx.x] = static_cast<float>(shuffle(static_cast<double>(own), 7));
  out[192 + threadIdx.x] = static_cast<float>(ballot(lane() % 3 == 0) >> 16);
}

void test_warps() {
  test_context context;
  device_array<float> out(256);
  expect(failure_of(context, exchange_values, 1, 64, 0, out.data()), "", "shuffles");
  doubles expected;
  for (int i = 0; i < 64; i++) expected.push_back(i ^ 5);
  for (int i = 0; i < 64; i++) expected.push_back(i % 32 + 3 > 31 ? i : i + 3);
  for (int i = 0; i < 64; i++) expected.push_back(i / 32 * 32 + 7);
  for (int i = 0; i < 64; i++) expected.push_back(0x49249249u >> 16);
  versemi_test::compare(out.download(), expected, 0, 0, "shuffles");
}

__global__ void lane_missing() {
  if (lane() != 3) warp_barrier();
}
__global__ void lanes_differ(float* out) {
  if (lane() < 16)
    out[lane()] = shuffle_xor(1.0f, 1);
  else
    warp_barrier();
}
__global__ void barrier_missing() {
  if (threadIdx.x < 64) barrier();
}
__global__ void barrier_counts() { barrier_named(2, threadIdx.x < 32 ? 64 : 96); }
__global__ void part_of_a_warp() { warp_barrier(); }
__global__ void behind_shared() { shared_memory()[64] = 1; }
__global__ void ldmatrix_outside() {
  std::uint32_t r[2];
  ldmatrix_x2(r, shared_memory() + 16 * lane());
}
__global__ void producers_and_consumers(float* out) {  // warp 0 makes, warps 1 and 2 use, in turns
  auto* value = reinterpret_cast<float*>(shared_memory());
  for (int turn = 0; turn < 4; turn++) {
    if (warp() == 0) {
      if (turn > 0) barrier_named(2, 96);
      value[lane()] = static_cast<float>(turn * 100 + lane());
      barrier_arrive(1, 96);
    } else {
      barrier_named(1, 96);
      out[(turn * 2 + warp() - 1) * 32 + lane()] = value[31 - lane()];
      if (turn < 3) barrier_arrive(2, 96);
    }
  }
}

__global__ void copies(const float* in, float* out, bool commits, bool waits, bool valid) {
  float* shared = reinterpret_cast<float*>(shared_memory());
  copy_async_16(shared + threadIdx.x * 4, in + threadIdx.x * 4, valid || threadIdx.x % 2 == 0);
  if (commits) copy_async_commit();
  if (waits) copy_async_wait<0>();
  barrier();
  for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = shared[(threadIdx.x * 4 + i + 64) % 128];
}
__global__ void two_groups(const float* in, float* out) {  // waits for the first only
  float* shared = reinterpret_cast<float*>(shared_memory());
  copy_async_4(shared + threadIdx.x, in + threadIdx.x, true);
  copy_async_commit();
  copy_async_4(shared + 32 + threadIdx.x, in + 32 + threadIdx.x, true);
  copy_async_commit();
  copy_async_wait<1>();
  barrier();
  for (int i = 0; i < 2; i++) out[i * 32 + threadIdx.x] = shared[i * 32 + threadIdx.x];
}
__global__ void no_barrier(float* out) {
  float* shared = reinterpret_cast<float*>(shared_memory());
  shared[threadIdx.x] = 1;
  out[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
}
// Each warp overwrites what the other reads, a step behind it: right as long as warps take turns.
__global__ void overwrites_early(float* out) {
  float* values = reinterpret_cast<float*>(shared_memory());
  const int mine = static_cast<int>(threadIdx.x), other = (mine + 32) % 64;
  values[mine] = 1;
  barrier();
  shuffle(0.0f, 0);
  const float seen = values[other];
  shuffle(0.0f, 0);
  values[mine] = 2;
  out[mine] = seen;
}

__global__ void global_outside(float* memory, int at) { memory[at] = 1; }
__global__ void copies_from_outside(const float* in) { copy_async_16(shared_memory(), in, true); }

void test_mistakes() {
  test_context context;
  device_array<float> out(256);
  expect(failure_of(context, lane_missing, 1, 32, 0), "0-2 wait for warp_barrier 0; 3-3 have ended; 4-31", "a lane ends");
  expect(failure_of(context, lanes_differ, 1, 32, 0, out.data()), "while others of the same 32", "lanes differ");
  expect(failure_of(context, barrier_missing, 2, 128, 0), "0-63 wait for barrier 0; 64-127 have ended", "a thread ends");
  expect(failure_of(context, barrier_counts, 1, 96, 0), "others wait there for 64", "counts of a barrier differ");
  expect(failure_of(context, part_of_a_warp, 1, 48, 0), "has a part of them", "part of a warp");
  expect(failure_of(context, behind_shared, 1, 1, 64), "behind its 64 bytes", "written behind shared memory");
  expect(failure_of(context, ldmatrix_outside, 1, 32, 240), "at byte 240 of 240", "ldmatrix behind shared memory");
  expect(failure_of(context, producers_and_consumers, 1, 96, 128, out.data()), "", "named barriers");
  doubles expected;
  for (int i = 0; i < 256; i++) expected.push_back(i / 64 * 100 + 31 - i % 32);
  versemi_test::compare(out.download(), expected, 0, 0, "named barriers");
  expect(failure_of(context, global_outside, 1, 1, 0, out.data(), -150), "wrote outside", "global memory");
  out.poison();
  expect(failure_of(context, copies_from_outside, 1, 1, 64, out.data() + 100000), "reads outside", "copy from nowhere");
  const versemi_status threads = launch(context, "k", part_of_a_warp, 1, 2048, 0);
  versemi_test::check(threads.code == VERSEMI_DEVICE_FAILED, "2048 threads are refused");
  const versemi_status shared = launch(context, "k", part_of_a_warp, 1, 32, 300 * 1024);
  versemi_test::check(shared.code == VERSEMI_DEVICE_FAILED, "300 KiB of shared memory are refused");
  emulator::reset();
  test_context small(precision::bfloat16, 86);
  versemi_test::check(launch(small, "k", part_of_a_warp, 1, 32, 100 * 1024).code == VERSEMI_DEVICE_FAILED, "100 KiB on 8.6");
  versemi_test::check(launch(small, "k", part_of_a_warp, 1, 32, 99 * 1024).code == VERSEMI_OK, "99 KiB on 8.6");
  small.synchronize("99 KiB on 8.6");
}

void test_turns() {
  test_context context;
  device_array<float> out(64);
  for (unsigned order : {0u, 1u, 2u}) {
    emulator::set_order(order);
    expect(failure_of(context, overwrites_early, 1, 64, 1024, out.data()), "", "a missing barrier is no failure");
    const std::vector<float> seen = out.download();
    const bool early = std::count(seen.begin(), seen.end(), 2.0f) > 0;
    versemi_test::check(early == (order == 1), "order " + std::to_string(order) + ": who overwrites early");
  }
  emulator::set_order(0);
}

void test_copies() {
  test_context context;
  std::vector<float> values(128);
  for (std::size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i);
  device_array<float> in(values), out(128);
  const double none = std::nan("");
  for (const bool commits : {true, false})
    for (const bool waits : {true, false}) {
      out.poison();
      expect(failure_of(context, copies, 1, 32, 512, in.data(), out.data(), commits, waits, true), "", "copies");
      doubles expected;
      for (int i = 0; i < 128; i++) expected.push_back(commits && waits ? (i + 64) % 128 : none);
      versemi_test::compare(out.download(), expected, 0, 0, "copies that are not waited for");
    }
  expect(failure_of(context, copies, 1, 32, 512, in.data(), out.data(), true, true, false), "", "copies of zeros");
  doubles expected;
  for (int i = 0; i < 128; i++) expected.push_back(i / 4 % 2 == 0 ? (i + 64) % 128 : 0);
  versemi_test::compare(out.download(), expected, 0, 0, "copies of zeros");
  expect(failure_of(context, two_groups, 1, 32, 512, in.data(), out.data()), "", "two groups");
  expected.clear();
  for (int i = 0; i < 128; i++) expected.push_back(i < 32 ? i : i < 64 ? none : (i / 4 % 2 == 0 ? (i + 64) % 128 : 0));
  versemi_test::compare(out.download(), expected, 0, 0, "two groups, the last not waited for");
  // Without a barrier, neighbours in either order are seen before they have written.
  for (unsigned order : {0u, 1u}) {
    emulator::set_order(order);
    out.poison();
    expect(failure_of(context, no_barrier, 1, 64, 256, out.data()), "", "no barrier");
    int missing = 0;
    for (float v : out.download()) missing += std::isnan(v);
    versemi_test::check(missing > 64, "a missing barrier shows");
  }
  emulator::set_order(0);
}

// --- numbers, waits, work beside the threads ---------------------------------------------------------------------------

void test_numbers() {
  const auto as_float = [](std::uint32_t bits) { return __uint_as_float(bits); };
  const std::uint32_t cases[][2] = {  // float32 bits, bfloat16 bits
      {0x3f800000u, 0x3f80u}, {0x3f808000u, 0x3f80u}, {0x3f818000u, 0x3f82u}, {0x3f808001u, 0x3f81u}, {0x7f7fffffu, 0x7f80u},
      {0x7f800000u, 0x7f80u}, {0xff800000u, 0xff80u}, {0x80000000u, 0x8000u}, {0x00000001u, 0x0000u}, {0x7f800001u, 0x7fffu}};
  for (const auto& c : cases)
    versemi_test::check(to_bf16(as_float(c[0])).bits == c[1], "to_bf16 of bits " + std::to_string(c[0]));
  versemi_test::check(pack_bf16(1.0f, -2.0f) == 0xc0003f80u && unpack_bf16(0xc0003f80u).y == -2.0f, "the first is low");
  versemi_test::check(to_tf32(as_float(0x3f801000u)) == 0x3f802000u && to_tf32(as_float(0x3f800fffu)) == 0x3f800000u, "to_tf32");
}

__global__ void waits_for_work(float* out, bool comes) {
  static float arrived;
  arrived = 0;
  barrier();
  if (comes && threadIdx.x == 5) emulator::defer([] { arrived = 7; });
  emulator::wait_until("what comes", [](void* value) { return *static_cast<float*>(value) == 7; }, &arrived);
  out[threadIdx.x] = arrived;
}

void test_waits() {
  test_context context;
  device_array<float> out(64);
  expect(failure_of(context, waits_for_work, 1, 64, 0, out.data(), true), "", "work beside the threads");
  versemi_test::compare(out.download(), doubles(64, 7), 0, 0, "work beside the threads");
  expect(failure_of(context, waits_for_work, 1, 64, 0, out.data(), false), "0-63 wait for what comes", "nothing comes");
}

__global__ void read_rows(int stride) {
  std::uint32_t r[4];
  ldmatrix_x4(r, shared_memory() + lane() * stride);
}

void test_wavefronts() {
  test_context context;
  const int strides[] = {128, 144, 64};
  const std::uint64_t taken[] = {32, 4, 16};
  for (int i = 0; i < 3; i++) {
    expect(failure_of(context, read_rows, 1, 32, 8192, strides[i]), "", "ldmatrix");
    versemi_test::check(emulator::ldmatrix_wavefronts().needed == 4 && emulator::ldmatrix_wavefronts().taken == taken[i],
                        "wavefronts of ldmatrix at " + std::to_string(strides[i]));
  }
}

void test_outside_work() {
  cudaStream_t waits = nullptr, goes = nullptr;
  cudaEvent_t event = nullptr;
  cudaStreamCreateWithFlags(&waits, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&goes, cudaStreamNonBlocking);
  cudaEventCreate(&event);
  static int calls, after;
  calls = after = 0;
  versemi_emulated_enqueue(waits, [](void*) { return ++calls < 4 ? 0 : 1; }, nullptr);
  cudaLaunchHostFunc(waits, [](void*) { after = calls; }, nullptr);
  cudaEventRecord(event, waits);
  versemi_test::check(cudaEventQuery(event) == cudaErrorNotReady && calls == 1, "a question calls the work once");
  versemi_test::check(cudaStreamSynchronize(goes) == cudaSuccess && calls == 1, "another stream does not wait for it");
  cudaStreamWaitEvent(goes, event, 0);
  versemi_test::check(cudaStreamSynchronize(goes) == cudaSuccess && calls == 4 && after == 4, "who waits calls it until it is done");
  cudaEventDestroy(event);
  cudaStreamDestroy(waits);
  cudaStreamDestroy(goes);
}

}  // namespace

int main() {
  test_product(mma_16816, 16, true, 0, "mma m16n8k16");
  test_product(mma_1688, 8, true, 0, "mma m16n8k8");
  test_product(mma_by_ldmatrix, 16, false, 1024, "ldmatrix");
  test_warps();
  test_mistakes();
  test_turns();
  test_copies();
  test_numbers();
  test_waits();
  test_wavefronts();
  test_outside_work();
  return versemi_test::finish("emulator");
}
