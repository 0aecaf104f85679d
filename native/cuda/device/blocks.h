// Memory of the device in blocks that are kept for reuse: size classes over stream-ordered allocation. All work on blocks is
// ordered by one stream, so a block that was given back may serve the next request at once.
//
// A captured graph has the addresses of its blocks baked in: it holds them. Blocks taken during the capture come back to a
// list of their own while it lasts (a later kernel of the same graph may use them again), and rest with the graph afterwards,
// until it is dropped.
#ifndef VERSEMI_CUDA_BLOCKS_H
#define VERSEMI_CUDA_BLOCKS_H

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/target.h"

namespace versemi {
namespace cuda {

struct memory_block {
  void* data = nullptr;
  std::int64_t capacity = 0;
  std::int64_t asked = 0;      // bytes of the request that it serves
  int size_class = 0;
  int holders = 0;             // number of graphs that hold the block
  bool in_use = false;
  bool constant = false;       // written by the host during a capture: its contents are part of the graph
  const void* graph = nullptr; // the one whose capture took it
};

// What one graph holds.
struct held_blocks {
  std::vector<memory_block*> blocks;
};

struct block_use {
  std::int64_t in_use = 0;    // as asked for
  std::int64_t reserved = 0;  // all blocks, free and held ones included
  std::int64_t peak = 0;      // largest in_use since the last restart_peak
};

class block_pool {
 public:
  // stream: of the kernels. limit_bytes bounds `reserved`.
  block_pool(cudaStream_t stream, bool stream_ordered, std::int64_t limit_bytes);
  ~block_pool();
  block_pool(const block_pool&) = delete;
  block_pool& operator=(const block_pool&) = delete;

  // 256-byte aligned; nullptr when there is no memory left, even after everything that is free was given back and
  // `reclaim` was asked (which may drop graphs; true if it dropped one). constant: the host writes into the block during a
  // capture and its values must stay, so no kernel of the graph uses this block for anything else.
  memory_block* take(std::int64_t bytes, bool constant = false);
  void give(memory_block* block);
  std::function<bool()> reclaim;

  // Between these two, blocks are taken for `graph`. Nothing may be running when a capture begins.
  void begin_capture(held_blocks* graph);
  void end_capture();
  bool capturing() const { return capture_ != nullptr; }
  // The graph being captured needs this block, whoever took it.
  void hold(memory_block* block);
  // A graph ends: each of its blocks is free again, or stays with the buffer that uses it.
  void drop(held_blocks* graph);

  // Gives free blocks back to the system; waits for the device.
  void trim();
  // Counts `peak` anew.
  void restart_peak() { use_.peak = use_.in_use; }
  const block_use& use() const { return use_; }

 private:
  static constexpr int class_count = 64 + 8 * 40;

  memory_block* obtain(std::int64_t capacity, int size_class);
  void give_back(memory_block* block);

  cudaStream_t stream_;
  cudaStream_t side_stream_ = nullptr;  // allocations, so that none is recorded in a capture
  bool stream_ordered_;
  std::int64_t limit_bytes_;
  std::array<std::vector<memory_block*>, class_count> free_;
  std::array<std::vector<memory_block*>, class_count> captured_free_;
  std::vector<std::unique_ptr<memory_block>> all_;
  held_blocks* capture_ = nullptr;
  block_use use_;
};

}  // namespace cuda
}  // namespace versemi

#endif
