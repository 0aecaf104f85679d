// Buffers of a device in main memory: ids, bounds, pooled pages, accounting. Knows no op and no N-API.
#ifndef VERSEMI_ADDON_BUFFERS_H
#define VERSEMI_ADDON_BUFFERS_H

#include <array>
#include <cstdint>
#include <vector>

#include "versemi/kernel_table.h"

namespace versemi {

struct memory_use {
  int64_t buffers = 0;       // live
  int64_t bytes_in_use = 0;  // as asked for, live buffers
  int64_t bytes_pooled = 0;  // capacity of released blocks that are kept
  int64_t bytes_peak = 0;    // largest bytes_in_use since the last restart_peak
};

// A released block goes to the free list of its size class and serves the next request of that class, so that a
// training step whose shapes repeat touches the same pages every time (fresh pages cost 0.4 ms per MiB on first touch,
// used ones 0.03). Classes are multiples of 64 bytes up to 4 KiB and eight per power of two above: at most
// 12.5 % of a block is unused. Data is 64-byte aligned.
class buffer_pool {
 public:
  // Fits a JavaScript number: slot + 1 in the low 24 bits, the slot's generation above, so that the id of a released
  // buffer is recognised when the slot is used again. 0 is never an id.
  using buffer_id = int64_t;

  // limit_bytes bounds the sum of all blocks, pooled ones included (they are given back before a request fails).
  // poison fills new buffers with NaN and checks 64 guard bytes behind each buffer on release.
  buffer_pool(int64_t limit_bytes, bool poison);
  ~buffer_pool();
  buffer_pool(const buffer_pool &) = delete;
  buffer_pool& operator=(const buffer_pool &) = delete;

  versemi_status allocate(int64_t bytes, buffer_id* id);
  versemi_status release(buffer_id id);
  // false for an id that is stale or never was; id 0 gives {NULL, 0}.
  bool find(buffer_id id, versemi_buffer* buffer) const;
  memory_use use() const { return use_; }
  // Gives pooled blocks back to the system.
  void trim();
  void restart_peak() { use_.bytes_peak = use_.bytes_in_use; }

 private:
  struct memory_block {
    void* raw = nullptr;  // of allocate_aligned
    int64_t raw_bytes = 0;
    char* data = nullptr;
    int64_t capacity = 0;
  };
  struct buffer_slot {
    memory_block block;
    int64_t bytes = 0;
    int64_t generation = 0;
    bool live = false;
  };

  memory_block obtain(int64_t capacity);
  bool guard_intact(const buffer_slot& slot) const;

  static constexpr int class_count = 64 + 8 * 40;
  std::array<std::vector<memory_block>, class_count> free_blocks_;
  std::vector<buffer_slot> slots_;
  std::vector<int64_t> free_slots_;
  memory_use use_;
  int64_t reserved_bytes_ = 0;  // capacity of live and pooled blocks
  int64_t limit_bytes_;
  bool poison_;
  unsigned colour_ = 0;
};

}  // namespace versemi

#endif
