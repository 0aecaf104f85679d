#include "buffers.h"

#include <cstring>

#include "../cpu/context.h"

namespace versemi {
namespace {

constexpr int64_t guard_bytes = 64;
constexpr unsigned char guard_value = 0xA5;
constexpr int slot_bits = 24;
constexpr int64_t slot_mask = (int64_t{1} << slot_bits) - 1;
constexpr int64_t generations = int64_t{1} << 28;
constexpr int64_t large_block = int64_t{2} << 20;
constexpr int64_t colours = 16;
constexpr int64_t colour_bytes = 256;
constexpr int64_t largest_block = int64_t{1} << 50;

int floor_log2(int64_t value) {
  int result = 0;
  while (value >>= 1) result++;
  return result;
}

// Smallest class that holds `bytes`; index into the free lists.
int64_t class_capacity(int64_t bytes, int* index) {
  if (bytes <= 4096) {
    constexpr int64_t line = static_cast<int64_t>(alignment);
    const int64_t lines = bytes <= 0 ? 1 : (bytes + line - 1) / line;
    *index = static_cast<int>(lines - 1);
    return lines * line;
  }
  // bytes in (2^k, 2^(k+1)]: steps of 2^(k-3)
  const int k = floor_log2(bytes - 1);
  const int64_t step = int64_t{1} << (k - 3);
  const int64_t steps = (bytes + step - 1) / step;  // 9..16
  *index = 64 + (k - 12) * 8 + static_cast<int>(steps - 9);
  return steps * step;
}

}  // namespace

buffer_pool::buffer_pool(int64_t limit_bytes, bool poison) : limit_bytes_(limit_bytes), poison_(poison) {}

buffer_pool::~buffer_pool() {
  for (buffer_slot& slot : slots_) {
    if (slot.live) free_aligned(slot.block.raw, static_cast<std::size_t>(slot.block.raw_bytes));
  }
  trim();
}

// Equal offsets in several large buffers would share the low 12 address bits, which makes loads wait for unrelated
// stores: each large block is shifted by a few cache lines.
buffer_pool::memory_block buffer_pool::obtain(int64_t capacity) {
  memory_block block;
  block.capacity = capacity;
  block.raw_bytes = capacity;
  int64_t shift = 0;
  if (capacity >= large_block) {
    shift = static_cast<int64_t>(colour_++ % colours) * colour_bytes;
    block.raw_bytes += colours * colour_bytes;
  }
  block.raw = allocate_aligned(static_cast<std::size_t>(block.raw_bytes));
  if (block.raw != nullptr) block.data = static_cast<char*>(block.raw) + shift;
  return block;
}

versemi_status buffer_pool::allocate(int64_t bytes, buffer_id* id) {
  *id = 0;
  if (bytes < 0 || bytes > largest_block) return failure(VERSEMI_INVALID_ARGUMENT, "a buffer of %.0f bytes", static_cast<double>(bytes));
  int index = 0;
  const int64_t capacity = class_capacity(bytes + (poison_ ? guard_bytes : 0), &index);
  memory_block block;
  std::vector<memory_block>& list = free_blocks_[static_cast<size_t>(index)];
  if (!list.empty()) {
    block = list.back();
    list.pop_back();
    use_.bytes_pooled -= block.capacity;
  } else {
    if (reserved_bytes_ + capacity > limit_bytes_) trim();
    if (reserved_bytes_ + capacity <= limit_bytes_) {
      block = obtain(capacity);
      if (block.raw == nullptr) {
        trim();
        block = obtain(capacity);
      }
    }
    if (block.raw == nullptr) {
      return failure(VERSEMI_OUT_OF_MEMORY, "%.1f MiB more on top of %.1f MiB in use, of %.0f MiB", bytes / 1048576.0,
                     use_.bytes_in_use / 1048576.0, limit_bytes_ / 1048576.0);
    }
    reserved_bytes_ += capacity;
  }
  if (free_slots_.empty()) {
    if (static_cast<int64_t>(slots_.size()) >= slot_mask) {
      list.push_back(block);
      use_.bytes_pooled += block.capacity;
      return failure(VERSEMI_OUT_OF_MEMORY, "%lld live buffers", static_cast<long long>(use_.buffers));
    }
    free_slots_.push_back(static_cast<int64_t>(slots_.size()));
    slots_.emplace_back();
  }
  const int64_t number = free_slots_.back();
  free_slots_.pop_back();
  buffer_slot& slot = slots_[static_cast<size_t>(number)];
  slot.block = block;
  slot.bytes = bytes;
  slot.live = true;
  if (poison_) {
    std::memset(block.data, 0xFF, static_cast<size_t>(bytes));  // a NaN in every float32
    std::memset(block.data + bytes, guard_value, guard_bytes);
  }
  use_.buffers++;
  use_.bytes_in_use += bytes;
  if (use_.bytes_in_use > use_.bytes_peak) use_.bytes_peak = use_.bytes_in_use;
  *id = slot.generation << slot_bits | (number + 1);
  return ok();
}

bool buffer_pool::find(buffer_id id, versemi_buffer* buffer) const {
  if (id == 0) {
    *buffer = {nullptr, 0};
    return true;
  }
  const int64_t number = (id & slot_mask) - 1;
  if (id < 0 || number < 0 || number >= static_cast<int64_t>(slots_.size())) return false;
  const buffer_slot& slot = slots_[static_cast<size_t>(number)];
  if (!slot.live || slot.generation != id >> slot_bits) return false;
  *buffer = {slot.block.data, slot.bytes};
  return true;
}

versemi_status buffer_pool::release(buffer_id id) {
  versemi_buffer buffer;
  if (id == 0 || !find(id, &buffer)) {
    return failure(VERSEMI_INVALID_ARGUMENT, "buffer %lld is not live (released before?)", static_cast<long long>(id));
  }
  const int64_t number = (id & slot_mask) - 1;
  buffer_slot& slot = slots_[static_cast<size_t>(number)];
  const bool intact = guard_intact(slot);
  int index = 0;
  class_capacity(slot.block.capacity, &index);
  free_blocks_[static_cast<size_t>(index)].push_back(slot.block);
  use_.bytes_pooled += slot.block.capacity;
  use_.bytes_in_use -= slot.bytes;
  use_.buffers--;
  slot.live = false;
  slot.generation = (slot.generation + 1) % generations;
  free_slots_.push_back(number);
  if (!intact) {
    return failure(VERSEMI_DEVICE_FAILED, "a kernel wrote behind the end of a buffer of %lld bytes", static_cast<long long>(buffer.bytes));
  }
  return ok();
}

bool buffer_pool::guard_intact(const buffer_slot& slot) const {
  if (!poison_) return true;
  for (int64_t i = 0; i < guard_bytes; i++) {
    if (static_cast<unsigned char>(slot.block.data[slot.bytes + i]) != guard_value) return false;
  }
  return true;
}

void buffer_pool::trim() {
  for (std::vector<memory_block>& list : free_blocks_) {
    for (memory_block& block : list) {
      reserved_bytes_ -= block.capacity;
      free_aligned(block.raw, static_cast<std::size_t>(block.raw_bytes));
    }
    list.clear();
  }
  use_.bytes_pooled = 0;
}

}  // namespace versemi
