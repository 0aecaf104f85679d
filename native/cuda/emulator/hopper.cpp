// mbarrier, bulk and tensor copies, wgmma and stmatrix of the emulator. Layouts: hopper_layout.h and the PTX ISA.
#include "emulator/hopper.h"

#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace versemi {
namespace cuda {
namespace emulator {
namespace {

// --- mbarrier ---------------------------------------------------------------------------------------------------------

// PTX ISA, "Contents of the mbarrier object": phase, arrivals expected and pending, bytes (tx-count). A phase is complete when
// neither arrivals nor bytes are pending. Shared memory is poisoned before a block, so `mark` shows who was initialised.
struct mbarrier_state {
  std::int32_t bytes;
  std::uint16_t expected : 10;
  std::uint16_t mark : 6;
  std::uint16_t pending : 15;
  std::uint16_t phase : 1;
};
static_assert(sizeof(mbarrier_state) == 8, "an mbarrier is 8 bytes");
constexpr unsigned made = 0x2a;

mbarrier_state& state_of(std::uint64_t* barrier) {
  check_shared(barrier, 8, "mbarrier");
  auto* state = reinterpret_cast<mbarrier_state*>(barrier);
  if (state->mark != made) fail("an mbarrier that was not initialised");
  return *state;
}

void complete(mbarrier_state& state) {
  if (state.pending != 0 || state.bytes != 0) return;
  state.phase = !state.phase;
  state.pending = state.expected;
}

struct awaited {
  const mbarrier_state* state;
  unsigned parity;
};

// --- copies -----------------------------------------------------------------------------------------------------------

// Half of the copies, in an order that looks random, happen at once, the others when no thread can go on: a kernel that
// overwrites too early meets the first, one that does not wait meets the second.
void now_or_later(std::function<void()> work) {
  static std::uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  if (state >> 31 != 0)
    work();
  else
    defer(std::move(work));
}

// One element of the box after the other: function(offset in the box in elements, address in the tensor or nullptr).
template <typename Function>
void each_row(const tensor_shape& shape, const int (&at)[5], Function function) {
  std::uint32_t number = 0;
  std::uint32_t i[5] = {0, 0, 0, 0, 0};
  for (i[4] = 0; i[4] < shape.box[4]; i[4]++)
    for (i[3] = 0; i[3] < shape.box[3]; i[3]++)
      for (i[2] = 0; i[2] < shape.box[2]; i[2]++)
        for (i[1] = 0; i[1] < shape.box[1]; i[1]++, number++) {
          auto* row = static_cast<unsigned char*>(shape.data);
          bool inside = true;
          for (int k = 1; k < 5; k++) {
            const std::int64_t c = std::int64_t{at[k]} + i[k];
            inside = inside && c >= 0 && c < static_cast<std::int64_t>(shape.size[k]);
            row += c * static_cast<std::int64_t>(shape.stride[k - 1]);
          }
          function(number, inside ? row : nullptr);
        }
}

std::uint32_t box_bytes(const tensor_shape& shape) {
  return 2 * shape.box[0] * shape.box[1] * shape.box[2] * shape.box[3] * shape.box[4];
}

void check_box(const tensor_shape& shape, const void* shared, const int (&at)[5], const char* what) {
  if (shared_address(shared) % hopper::atom_bytes != 0) fail("%s: shared memory that is not aligned to 1024 bytes", what);
  if (at[0] % 8 != 0) fail("%s: channel %d does not begin 16 bytes", what, at[0]);
  check_shared(shared, box_bytes(shape), what);
}

// Moves 16-byte pieces between the swizzled image and the tensor.
template <typename Move>
void each_piece(const tensor_shape& shape, void* shared, const int (&at)[5], Move move) {
  each_row(shape, at, [&](std::uint32_t number, unsigned char* row) {
    for (std::uint32_t piece = 0; piece < shape.box[0] / 8; piece++) {
      const std::int64_t channel = std::int64_t{at[0]} + piece * 8;
      const bool inside = row != nullptr && channel >= 0 && channel + 8 <= static_cast<std::int64_t>(shape.size[0]);
      const std::uint32_t offset = hopper::swizzled(number * hopper::row_bytes + piece * 16);
      move(static_cast<unsigned char*>(shared) + offset, inside ? row + channel * 2 : nullptr);
    }
  });
}

// Stores of a thread: groups in order, each done once, by a wait or when no thread can go on.
struct store_group {
  std::vector<std::function<void()>> work;
  void run() {
    std::vector<std::function<void()>> todo;
    todo.swap(work);
    for (const auto& each : todo) each();
  }
};
struct thread_stores {
  std::uint64_t serial = 0;
  std::vector<std::function<void()>> open;
  std::deque<std::shared_ptr<store_group>> groups;
};
thread_stores& own_stores() {
  static std::vector<thread_stores> all(1024);
  thread_stores& own = all[static_cast<std::size_t>(thread_rank())];
  if (own.serial != block_serial()) own = thread_stores{block_serial(), {}, {}};
  return own;
}

// Threads that stored to shared memory (by stmatrix) and have not yet fenced it for the engines.
std::vector<std::uint64_t>& unfenced() {
  static std::vector<std::uint64_t> serial_of(1024, 0);
  return serial_of;
}

// --- wgmma ------------------------------------------------------------------------------------------------------------

struct product {
  std::uint64_t a, b;
  std::size_t sums;
  bool mn_major;
};
// Accumulators that the engine owns: [64, columns] sums, and where the threads' registers are.
struct accumulators {
  std::vector<float> sums;
  int columns = 0, pending = 0;
  float* registers[128] = {nullptr};
};
struct warpgroup {
  std::uint64_t serial = 0;
  bool fenced = false;
  std::vector<product> open;
  std::deque<std::vector<product>> groups;
  std::vector<accumulators> owned;
};

warpgroup& own_warpgroup() {
  static std::vector<warpgroup> all(8);
  warpgroup& own = all[static_cast<std::size_t>(thread_rank() / 128)];
  if (own.serial != block_serial()) {
    own = warpgroup{};
    own.serial = block_serial();
  }
  return own;
}

// An operand [rows, 16] in 128B swizzling mode, as floats: K-major (rows of 128 bytes are rows of the operand), or MN-major
// (rows of 128 bytes are 64 rows of the operand at one k).
std::vector<float> operand(std::uint64_t descriptor, int rows, bool mn_major, const char* which) {
  const auto field = [&](int bit) { return static_cast<std::uint32_t>(descriptor >> bit & 0x3fffu) << 4; };
  const std::uint32_t start = field(0), leading = field(16), stride = field(32);
  if (descriptor >> 62 != 1) fail("wgmma: operand %s is not swizzled by 128 bytes", which);
  if ((descriptor >> 49 & 7) != 0 || start % hopper::atom_bytes >= (mn_major ? 1 : hopper::row_bytes) ||
      stride % hopper::atom_bytes != 0 || (mn_major && leading % hopper::atom_bytes != 0))
    fail("wgmma: operand %s does not begin with a swizzle atom", which);
  std::vector<float> values(static_cast<std::size_t>(rows) * 16);
  const unsigned char* memory = dynamic_shared_memory();
  for (int row = 0; row < rows; row++)
    for (int k = 0; k < 16; k++) {
      const auto r = static_cast<std::uint32_t>(row), c = static_cast<std::uint32_t>(k);
      const std::uint32_t flat = start + (mn_major ? r / 64 * leading + r % 64 * 2 + c / 8 * stride + c % 8 * hopper::row_bytes
                                                   : r / 8 * stride + r % 8 * hopper::row_bytes + c * 2);
      if (hopper::swizzled(flat) + 2 > dynamic_shared_bytes()) fail("wgmma: operand %s outside of shared memory", which);
      bf16 value;
      std::memcpy(&value, memory + hopper::swizzled(flat), 2);
      values[r * 16 + c] = to_float(value);
    }
  return values;
}

void multiply(accumulators& d, const product& p) {
  const int n = d.columns;
  const std::vector<float> a = operand(p.a, 64, p.mn_major, "A"), b = operand(p.b, n, p.mn_major, "B");
  std::vector<float> b_by_k(b.size());
  for (int j = 0; j < n; j++)
    for (int k = 0; k < 16; k++) b_by_k[static_cast<std::size_t>(k * n + j)] = b[static_cast<std::size_t>(j * 16 + k)];
  for (int i = 0; i < 64; i++) {
    float* sums = d.sums.data() + i * n;
    for (int k = 0; k < 16; k++) {
      const float factor = a[static_cast<std::size_t>(i * 16 + k)];
      const float* row = b_by_k.data() + k * n;
      for (int j = 0; j < n; j++) sums[j] += factor * row[j];
    }
  }
}

}  // namespace

void mbarrier_init(std::uint64_t* barrier, int arrivals) {
  check_shared(barrier, 8, "mbarrier.init");
  if (arrivals < 1 || arrivals > 1023 || shared_address(barrier) % 8 != 0) fail("mbarrier.init for %d arrivals", arrivals);
  mbarrier_state state = {};
  state.mark = made;
  state.expected = state.pending = static_cast<std::uint16_t>(arrivals);
  std::memcpy(barrier, &state, 8);
}

void mbarrier_arrive(std::uint64_t* barrier, std::uint32_t expected_bytes) {
  mbarrier_state& state = state_of(barrier);
  if (state.pending == 0) fail("an mbarrier gets more arrivals than it expects");
  state.bytes += static_cast<std::int32_t>(expected_bytes);
  state.pending--;
  complete(state);
  // Whoever waits for this arrival goes on before the thread that arrived: what it releases too early is overwritten.
  if (expected_bytes == 0) wait_until("mbarrier.arrive", [](void*) { return true; }, nullptr);
}

void mbarrier_wait(std::uint64_t* barrier, unsigned parity) {
  awaited own = {&state_of(barrier), parity};
  if (own.state->phase != parity) return;
  wait_until("mbarrier", [](void* argument) {
    const auto* a = static_cast<const awaited*>(argument);
    return a->state->phase != a->parity;
  }, &own);
}

void bulk_copy(void* shared, const void* global, std::uint32_t bytes, std::uint64_t* barrier) {
  if (bytes % 16 != 0 || shared_address(shared) % 16 != 0 || reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
    fail("cp.async.bulk: not aligned to 16 bytes");
  check_shared(shared, bytes, "cp.async.bulk");
  check_global(global, bytes, "cp.async.bulk");
  mbarrier_state* state = &state_of(barrier);
  now_or_later([=] {
    std::memcpy(shared, global, bytes);
    state->bytes -= static_cast<std::int32_t>(bytes);
    complete(*state);
  });
}

void tensor_copy(void* shared, const tensor_shape& shape, const int (&at)[5], std::uint64_t* barrier) {
  check_box(shape, shared, at, "cp.async.bulk.tensor");
  mbarrier_state* state = &state_of(barrier);
  const tensor_shape held = shape;
  const std::vector<int> from(at, at + 5);
  each_piece(shape, shared, at, [](unsigned char*, const unsigned char* global) {
    if (global != nullptr) check_global(global, 16, "cp.async.bulk.tensor");
  });
  now_or_later([=] {
    const int first[5] = {from[0], from[1], from[2], from[3], from[4]};
    each_piece(held, shared, first, [](unsigned char* to, const unsigned char* global) {
      if (global != nullptr)
        std::memcpy(to, global, 16);
      else
        std::memset(to, 0, 16);
    });
    state->bytes -= static_cast<std::int32_t>(box_bytes(held));
    complete(*state);
  });
}

void tensor_store(const tensor_shape& shape, const void* shared, const int (&at)[5]) {
  check_box(shape, shared, at, "cp.async.bulk.tensor");
  for (int first = thread_rank() / 128 * 128, i = first; i < first + 128; i++)
    if (unfenced()[static_cast<std::size_t>(i)] == block_serial())
      fail("cp.async.bulk.tensor reads shared memory that thread %d stored without fence.proxy.async", i);
  const tensor_shape held = shape;
  const std::vector<int> to(at, at + 5);
  void* const image = const_cast<void*>(shared);
  each_piece(shape, image, at, [](unsigned char*, const unsigned char* global) {
    if (global != nullptr) check_global(global, 16, "cp.async.bulk.tensor");
  });
  own_stores().open.push_back([=] {
    const int first[5] = {to[0], to[1], to[2], to[3], to[4]};
    each_piece(held, image, first, [](const unsigned char* from, unsigned char* global) {
      if (global != nullptr) std::memcpy(global, from, 16);
    });
  });
}

void bulk_commit() {
  thread_stores& own = own_stores();
  auto group = std::make_shared<store_group>();
  group->work.swap(own.open);
  own.groups.push_back(group);
  defer([group] { group->run(); });
}

void bulk_wait_read(int in_flight) {
  thread_stores& own = own_stores();
  for (; own.groups.size() > static_cast<std::size_t>(in_flight); own.groups.pop_front()) own.groups.front()->run();
}

void fence_proxy_async() { unfenced()[static_cast<std::size_t>(thread_rank())] = 0; }

void store_matrix_work(void* const* operands, int) {
  for (int first = thread_rank() / 32 * 32, i = first; i < first + 32; i++)
    unfenced()[static_cast<std::size_t>(i)] = block_serial();
  for (int matrix = 0; matrix < 4; matrix++)
    for (int row = 0; row < 8; row++) {
      auto* to = static_cast<unsigned char*>(static_cast<const store_matrix_operands*>(operands[matrix * 8 + row])->row);
      if (shared_address(to) % 16 != 0) fail("stmatrix: a row that is not aligned to 16 bytes");
      check_shared(to, 16, "stmatrix");
      // Element (row, column) as stored is element (column, row) of the fragments: thread column * 4 + row / 2, half row % 2.
      for (int column = 0; column < 8; column++) {
        const std::uint32_t pair = static_cast<const store_matrix_operands*>(operands[column * 4 + row / 2])->r[matrix];
        const auto half = static_cast<std::uint16_t>(row % 2 == 0 ? pair : pair >> 16);
        std::memcpy(to + column * 2, &half, 2);
      }
    }
}

void wgmma_fence_work(void* const*, int) { own_warpgroup().fenced = true; }

void wgmma_work(void* const* operands, int participants) {
  warpgroup& own = own_warpgroup();
  const auto* first = static_cast<const wgmma_operands*>(operands[0]);
  if (!own.fenced) fail("wgmma.mma_async without wgmma.fence since its registers were the threads'");
  for (int i = 1; i < participants; i++) {
    const auto* other = static_cast<const wgmma_operands*>(operands[i]);
    if (other->a != first->a || other->b != first->b || other->columns != first->columns || other->mn_major != first->mn_major)
      fail("wgmma.mma_async with other operands than the first thread of the warpgroup");
  }
  std::size_t index = 0;
  while (index < own.owned.size() && own.owned[index].registers[0] != first->d) index++;
  if (index == own.owned.size()) own.owned.emplace_back();
  accumulators& d = own.owned[index];
  if (d.pending == 0) {  // taken over from the threads
    d.columns = first->columns;
    d.sums.assign(static_cast<std::size_t>(64 * d.columns), 0.0f);
    for (int t = 0; t < participants; t++) {
      d.registers[t] = static_cast<const wgmma_operands*>(operands[t])->d;
      for (int i = 0; i < d.columns / 2; i++) {
        d.sums[static_cast<std::size_t>(hopper::accumulator_row(t, i) * d.columns + hopper::accumulator_column(t, i))] = d.registers[t][i];
        d.registers[t][i] = __uint_as_float(0x7fffffffu);
      }
    }
  }
  d.pending++;
  own.open.push_back(product{first->a, first->b, index, first->mn_major});
}

void wgmma_commit_work(void* const*, int) {
  warpgroup& own = own_warpgroup();
  own.groups.emplace_back();
  own.groups.back().swap(own.open);
}

void wgmma_wait_work(void* const* operands, int) {
  warpgroup& own = own_warpgroup();
  const auto in_flight = static_cast<std::size_t>(*static_cast<const int*>(operands[0]));
  for (; own.groups.size() > in_flight; own.groups.pop_front())
    for (const product& p : own.groups.front()) {
      accumulators& d = own.owned[p.sums];
      multiply(d, p);
      if (--d.pending > 0) continue;
      for (int t = 0; t < 128; t++)  // given back
        for (int i = 0; i < d.columns / 2; i++)
          d.registers[t][i] = d.sums[static_cast<std::size_t>(hopper::accumulator_row(t, i) * d.columns + hopper::accumulator_column(t, i))];
      own.fenced = false;
    }
}

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
