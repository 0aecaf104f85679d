// Captured graphs: kernels of a computation that runs again and again, recorded in order and replayed by one call. A graph has
// addresses baked in: of the blocks that were taken during the capture, which it holds, and of buffers that were there before,
// which it watches.
#ifndef VERSEMI_CUDA_GRAPHS_H
#define VERSEMI_CUDA_GRAPHS_H

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "device/blocks.h"

namespace versemi {
namespace cuda {

class graph_table {
 public:
  graph_table(cudaStream_t kernels, block_pool& pool) : kernels_(kernels), pool_(pool) {}

  // Kernels between the two are recorded, not run. What the host writes meanwhile goes into new buffers only and is constant
  // for the graph. end_capture gives an id > 0, or VERSEMI_UNSUPPORTED with the reason why this work cannot be a graph.
  versemi_status begin_capture();
  versemi_status end_capture(std::int64_t* id);
  // VERSEMI_UNSUPPORTED: a buffer that the graph uses is gone, or its memory was needed elsewhere.
  versemi_status replay(std::int64_t id);
  void drop(std::int64_t id);
  // Ends a capture that is under way and drops all graphs.
  void close();

  bool capturing() const { return capture_ != nullptr; }
  // What is being captured cannot be a graph. The first reason counts: everything after it may be a consequence.
  versemi_status refuse(const char* reason);
  // ok(), or the reason that refuse() was given in this capture.
  versemi_status state() const;

  // Whether the capture under way took this block.
  bool took(const memory_block& block) const { return capturing() && block.graph == &capture_->blocks; }
  // A kernel of the capture under way uses buffer `number`: the graph must know when that buffer goes.
  void use_buffer(std::int64_t number, const memory_block& block);
  // Whether a graph uses a buffer that was there before its capture.
  bool uses_buffer(std::int64_t number) const;
  // Buffer `number` goes, with its memory (or nullptr).
  void forget_buffer(std::int64_t number, const memory_block* block) {
    if (uses_buffer(number)) invalidate_users(number, block);
  }
  // The address of the buffer's memory is no longer good.
  void invalidate_users(std::int64_t number, const memory_block* block);
  // Gives the memory of one graph back; false if there is none, or during a capture.
  bool drop_idle();

 private:
  struct graph {
    held_blocks blocks;
    std::vector<std::int64_t> outside;  // numbers of the buffers that it uses and did not make
    cudaGraphExec_t program = nullptr;  // nullptr once it is no longer valid
  };

  void invalidate(graph& each);

  cudaStream_t kernels_;
  block_pool& pool_;
  std::map<std::int64_t, std::unique_ptr<graph>> graphs_;
  std::unique_ptr<graph> capture_;
  std::string refusal_;
  std::vector<int> users_;  // by number of a buffer: graphs that use it from outside
  std::int64_t next_id_ = 1;
};

}  // namespace cuda
}  // namespace versemi

#endif
