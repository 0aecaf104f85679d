#include "emulator/memory.h"

#include <cstdlib>
#include <cstring>

namespace versemi {
namespace cuda {
namespace emulator {
namespace {

constexpr std::size_t margin = 256;
constexpr unsigned char mark = 0xc3, poison = 0xff;

}  // namespace

void* memory_pieces::allocate(std::size_t bytes, bool poisoned) {
  const std::size_t size = (bytes + 2 * margin + margin - 1) / margin * margin;
  auto* memory = static_cast<unsigned char*>(std::aligned_alloc(margin, size));
  if (memory == nullptr) return nullptr;
  if (poisoned) std::memset(memory + margin, poison, bytes);
  pieces_[memory + margin] = {memory, bytes};
  mark_margins({memory, bytes});
  bytes_ += bytes;
  return memory + margin;
}

bool memory_pieces::release(void* pointer) {
  const auto found = pieces_.find(static_cast<unsigned char*>(pointer));
  if (found == pieces_.end()) return false;
  bytes_ -= found->second.bytes;
  std::free(found->second.memory);
  pieces_.erase(found);
  last_begin_ = last_end_ = nullptr;
  return true;
}

bool memory_pieces::holds(const void* pointer, std::size_t bytes) const {
  const auto* p = static_cast<const unsigned char*>(pointer);
  if (p >= last_begin_ && p + bytes <= last_end_) return true;
  auto found = pieces_.upper_bound(p);
  if (found == pieces_.begin()) return false;
  --found;
  if (p + bytes > found->first + found->second.bytes) return false;
  last_begin_ = found->first;
  last_end_ = found->first + found->second.bytes;
  return true;
}

void memory_pieces::mark_margins(const piece& p) {
  std::memset(p.memory, mark, margin);
  std::memset(p.memory + margin + p.bytes, mark, margin);
}

bool memory_pieces::intact(const piece& p) {
  const unsigned char *front = p.memory, *back = p.memory + margin + p.bytes;
  for (std::size_t i = 0; i < margin; i++)
    if (front[i] != mark || back[i] != mark) return false;
  return true;
}

bool memory_pieces::damaged(const void* pointer) {
  const auto found = pieces_.find(static_cast<const unsigned char*>(pointer));
  if (found == pieces_.end() || intact(found->second)) return false;
  mark_margins(found->second);
  return true;
}

bool memory_pieces::damaged() {
  bool any = false;
  for (const auto& entry : pieces_) any = damaged(entry.first) || any;
  return any;
}

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
