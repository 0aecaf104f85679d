// Device and pinned memory of the emulator. Every piece has marked bytes on both sides; device memory holds NaN when it is new.
// The caller holds the lock of the runtime.
#ifndef VERSEMI_CUDA_EMULATOR_MEMORY_H
#define VERSEMI_CUDA_EMULATOR_MEMORY_H

#include <cstddef>
#include <map>

namespace versemi {
namespace cuda {
namespace emulator {

class memory_pieces {
 public:
  // nullptr when there is no memory. The pointer is 256-byte aligned.
  void* allocate(std::size_t bytes, bool poisoned);
  // False if `pointer` is not the beginning of a piece.
  bool release(void* pointer);
  // Whether [pointer, + bytes) lies in one piece.
  bool holds(const void* pointer, std::size_t bytes) const;
  // Whether any piece, or this one, was written outside since it was last asked.
  bool damaged();
  bool damaged(const void* pointer);

  std::size_t bytes() const { return bytes_; }
  int count() const { return static_cast<int>(pieces_.size()); }

 private:
  struct piece {
    unsigned char* memory;  // what was allocated, marked bytes in front
    std::size_t bytes;
  };
  static void mark_margins(const piece& p);
  static bool intact(const piece& p);
  std::map<const unsigned char*, piece> pieces_;
  std::size_t bytes_ = 0;
  mutable const unsigned char* last_begin_ = nullptr;  // the piece that was found last
  mutable const unsigned char* last_end_ = nullptr;
};

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi

#endif
