#include "device/buffers.h"

#include <algorithm>

#include "device/formats.h"

namespace versemi {
namespace cuda {
namespace {

// An id fits a JavaScript number: number + 1 in the low 24 bits, the generation of that number above, so that the id of a
// released buffer is recognised when its number is used again. 0 is never an id.
constexpr int number_bits = 24;
constexpr std::int64_t number_mask = (std::int64_t{1} << number_bits) - 1;
constexpr std::int64_t generations = std::int64_t{1} << 28;
constexpr std::int64_t largest_buffer = std::int64_t{1} << 50;

constexpr std::int64_t guard_bytes = 64;
constexpr unsigned char guard_value = 0xA5;

}  // namespace

buffer_table::buffer_table(const device_properties& properties, const device_streams& streams, block_pool& pool,
                           graph_table& graphs, std::int64_t limit_bytes, bool poison)
    : properties_(properties), streams_(streams), pool_(pool), graphs_(graphs), limit_bytes_(limit_bytes), poisoned_(poison) {}

buffer_table::~buffer_table() {
  for (buffer& slot : slots_)
    for (cudaEvent_t event : {slot.arrived, slot.consumed, slot.summed})
      if (event != nullptr) cudaEventDestroy(event);
}

buffer* buffer_table::at(buffer_id id) {
  const std::int64_t number = (id & number_mask) - 1;
  if (id <= 0 || number < 0 || number >= static_cast<std::int64_t>(slots_.size())) return nullptr;
  buffer& slot = by_number(number);
  if (!slot.live || slot.generation != id >> number_bits) return nullptr;
  if (slot.summed != nullptr) order_after_sum(slot);
  return &slot;
}

void buffer_table::order_after_sum(buffer& slot) const {
  if (graphs_.capturing()) {
    // A recorded computation would wait for this sum alone, and not for those of later runs.
    graphs_.refuse("a sum over ranks is under way in a buffer that it uses");
    return;
  }
  cudaStreamWaitEvent(streams_.kernels, slot.summed, 0);
  cudaEventDestroy(slot.summed);
  slot.summed = nullptr;
}

versemi_status buffer_table::not_live(buffer_id id) {
  return failure(VERSEMI_INVALID_ARGUMENT, "buffer %lld is not live (released before?)", static_cast<long long>(id));
}

versemi_status buffer_table::check_range(const buffer& slot, std::int64_t bytes) const {
  if (bytes <= slot.bytes) return ok();
  return failure(VERSEMI_INVALID_ARGUMENT, "a buffer of %lld bytes does not hold %lld bytes",
                 static_cast<long long>(slot.bytes), static_cast<long long>(bytes));
}

versemi_status buffer_table::allocate(std::int64_t bytes, buffer_id* id) {
  *id = 0;
  if (bytes < 0 || bytes > largest_buffer)
    return failure(VERSEMI_INVALID_ARGUMENT, "a buffer of %.0f bytes", static_cast<double>(bytes));
  // No memory is taken yet, but a size that can never be had is refused at once.
  if (bytes / 2 > std::min(limit_bytes_, properties_.memory_bytes)) return no_memory(bytes);
  if (free_numbers_.empty()) {
    if (static_cast<std::int64_t>(slots_.size()) >= number_mask)
      return failure(VERSEMI_OUT_OF_MEMORY, "%lld live buffers", static_cast<long long>(live_));
    free_numbers_.push_back(static_cast<std::int64_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::int64_t number = free_numbers_.back();
  free_numbers_.pop_back();
  buffer& slot = by_number(number);
  const std::int64_t generation = slot.generation;
  slot = buffer();
  slot.generation = generation;
  slot.bytes = bytes;
  slot.live = true;
  live_++;
  *id = generation << number_bits | (number + 1);
  return ok();
}

versemi_status buffer_table::release(buffer& slot) {
  const std::int64_t number = number_of(slot);
  const versemi_status guard = check_guard(slot);
  graphs_.forget_buffer(number, slot.memory);
  if (slot.memory != nullptr) pool_.give(slot.memory);
  slot.memory = nullptr;
  slot.live = false;
  slot.generation = (slot.generation + 1) % generations;
  free_numbers_.push_back(number);
  live_--;
  return guard;
}

void buffer_table::poison(const memory_block& block, std::int64_t bytes, cudaStream_t stream) const {
  unsigned char* data = static_cast<unsigned char*>(block.data);
  cudaMemsetAsync(data, 0xFF, static_cast<std::size_t>(bytes), stream);  // NaN in both formats
  cudaMemsetAsync(data + bytes, guard_value, guard_bytes, stream);
}

versemi_status buffer_table::fill(buffer& slot, storage format, bool constant) {
  const std::int64_t bytes = slot.elements() * bytes_per_element(format);
  slot.memory = pool_.take(bytes + (poisoned_ ? guard_bytes : 0), constant);
  if (slot.memory == nullptr) return no_memory(bytes);
  slot.format = format;
  if (!poisoned_) return ok();
  // The host writes a constant during the capture, so it is poisoned at once; other buffers in order with the kernels.
  const cudaStream_t stream = constant ? streams_.copies : streams_.kernels;
  poison(*slot.memory, bytes, stream);
  return constant ? check(cudaStreamSynchronize(stream), "filling a buffer") : ok();
}

versemi_status buffer_table::check_guard(const buffer& slot) const {
  if (!poisoned_ || slot.memory == nullptr || graphs_.capturing()) return ok();
  const std::int64_t bytes = slot.elements() * bytes_per_element(slot.format);
  unsigned char guard[guard_bytes];
  versemi_status status = check(cudaMemcpyAsync(guard, static_cast<unsigned char*>(slot.memory->data) + bytes, guard_bytes,
                                                cudaMemcpyDeviceToHost, streams_.kernels),
                                "reading a guard");
  if (status.code == VERSEMI_OK) status = check(cudaStreamSynchronize(streams_.kernels), "reading a guard");
  if (status.code != VERSEMI_OK) return status;
  if (std::all_of(guard, guard + guard_bytes, [](unsigned char value) { return value == guard_value; })) return ok();
  return failure(VERSEMI_DEVICE_FAILED, "a kernel wrote behind the end of a buffer of %lld bytes",
                 static_cast<long long>(slot.bytes));
}

void* buffer_table::scratch(scratch_slot slot, std::size_t bytes) {
  memory_block*& block = scratch_[static_cast<int>(slot)];
  if (block == nullptr || block->capacity < static_cast<std::int64_t>(bytes)) {
    if (block != nullptr) pool_.give(block);
    block = pool_.take(static_cast<std::int64_t>(bytes));
    if (block == nullptr) {
      refused_scratch_ = static_cast<std::int64_t>(bytes);
      return nullptr;
    }
  }
  if (pool_.capturing()) pool_.hold(block);
  return block->data;
}

versemi_status buffer_table::no_memory(std::int64_t bytes) const {
  constexpr double mebibyte = 1048576.0;
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  const device_memory_use now = use();
  const double limit = static_cast<double>(std::min(limit_bytes_, static_cast<std::int64_t>(total)));
  // Blocks that the pool keeps for reuse count as free.
  const double reusable = static_cast<double>(now.pooled - now.scratch);
  const double available =
      std::min(limit - static_cast<double>(now.in_use + now.scratch), static_cast<double>(free) + reusable);
  return failure(VERSEMI_OUT_OF_MEMORY,
                 "%.1f MiB more, with %.1f of %.0f MiB free: %.1f MiB are in use by %lld tensors, %.1f MiB scratch of kernels",
                 static_cast<double>(bytes) / mebibyte, std::max(0.0, available) / mebibyte, limit / mebibyte,
                 static_cast<double>(now.in_use) / mebibyte, static_cast<long long>(now.buffers),
                 static_cast<double>(now.scratch) / mebibyte);
}

device_memory_use buffer_table::use() const {
  device_memory_use result;
  for (const memory_block* block : scratch_)
    if (block != nullptr) result.scratch += block->asked;
  result.buffers = live_;
  result.in_use = pool_.use().in_use - result.scratch;
  result.pooled = pool_.use().reserved - result.in_use;
  result.peak = pool_.use().peak;
  return result;
}

void buffer_table::trim() {
  if (graphs_.capturing()) return;
  cudaStreamSynchronize(streams_.kernels);
  for (memory_block*& block : scratch_) {
    if (block != nullptr) pool_.give(block);
    block = nullptr;
  }
  pool_.trim();
  pool_.restart_peak();
}

}  // namespace cuda
}  // namespace versemi
