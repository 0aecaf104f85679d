#include "device/blocks.h"

#include <algorithm>

#include "core/rounding.h"

namespace versemi {
namespace cuda {
namespace {

constexpr std::int64_t granule = 256;

int floor_log2(std::int64_t value) {
  int result = 0;
  while (value >>= 1) result++;
  return result;
}

// Smallest class that holds `bytes`: multiples of 256 bytes up to 16 KiB, eight per power of two above (at most 12.5 % of a
// block is unused).
std::int64_t class_capacity(std::int64_t bytes, int* size_class) {
  if (bytes <= 64 * granule) {
    const std::int64_t granules = bytes <= 0 ? 1 : divide_up(bytes, granule);
    *size_class = static_cast<int>(granules - 1);
    return granules * granule;
  }
  // bytes in (2^k, 2^(k+1)]: steps of 2^(k-3)
  const int k = floor_log2(bytes - 1);
  const std::int64_t step = std::int64_t{1} << (k - 3);
  const std::int64_t steps = divide_up(bytes, step);  // 9..16
  *size_class = 64 + (k - 14) * 8 + static_cast<int>(steps - 9);
  return steps * step;
}

}  // namespace

block_pool::block_pool(cudaStream_t stream, bool stream_ordered, std::int64_t limit_bytes)
    : stream_(stream), stream_ordered_(stream_ordered), limit_bytes_(limit_bytes) {
  if (cudaStreamCreateWithFlags(&side_stream_, cudaStreamNonBlocking) != cudaSuccess) side_stream_ = nullptr;
}

block_pool::~block_pool() {
  cudaStreamSynchronize(stream_);
  for (const std::unique_ptr<memory_block>& block : all_)
    if (block->data != nullptr) give_back(block.get());
  if (side_stream_ != nullptr) {
    cudaStreamSynchronize(side_stream_);
    cudaStreamDestroy(side_stream_);
  }
}

memory_block* block_pool::obtain(std::int64_t capacity, int size_class) {
  if (use_.reserved + capacity > limit_bytes_) return nullptr;
  void* data = nullptr;
  const std::size_t bytes = static_cast<std::size_t>(capacity);
  const cudaError_t error = stream_ordered_ ? cudaMallocAsync(&data, bytes, side_stream_) : cudaMalloc(&data, bytes);
  if (error != cudaSuccess) {
    cudaGetLastError();  // the caller handles it, so later calls must not see it
    return nullptr;
  }
  // Waits once per block, so that from here on the block may be used on any stream.
  if (stream_ordered_) cudaStreamSynchronize(side_stream_);
  all_.push_back(std::make_unique<memory_block>());
  memory_block* block = all_.back().get();
  block->data = data;
  block->capacity = capacity;
  block->size_class = size_class;
  use_.reserved += capacity;
  return block;
}

void block_pool::give_back(memory_block* block) {
  // Never on the stream of a capture, where it would become a part of the graph.
  if (stream_ordered_) cudaFreeAsync(block->data, side_stream_);
  else cudaFree(block->data);
  block->data = nullptr;
  use_.reserved -= block->capacity;
}

memory_block* block_pool::take(std::int64_t bytes, bool constant) {
  int size_class = 0;
  if (bytes < 0 || bytes > std::int64_t{1} << 50) return nullptr;
  const std::int64_t capacity = class_capacity(bytes, &size_class);
  memory_block* block = nullptr;
  const auto from = [&](std::vector<memory_block*>& list) {
    if (block != nullptr || list.empty()) return;
    block = list.back();
    list.pop_back();
  };
  const std::size_t index = static_cast<std::size_t>(size_class);
  if (capture_ != nullptr && !constant) from(captured_free_[index]);
  from(free_[index]);
  if (block == nullptr) block = obtain(capacity, size_class);
  if (block == nullptr) {
    trim();
    block = obtain(capacity, size_class);
  }
  while (block == nullptr && reclaim && reclaim()) {
    trim();
    block = obtain(capacity, size_class);
  }
  if (block == nullptr) return nullptr;
  block->in_use = true;
  block->constant = constant;
  block->asked = bytes;
  if (capture_ != nullptr) {
    hold(block);
    block->graph = capture_;
  }
  use_.in_use += bytes;
  use_.peak = std::max(use_.peak, use_.in_use);
  return block;
}

void block_pool::give(memory_block* block) {
  block->in_use = false;
  use_.in_use -= block->asked;
  const std::size_t index = static_cast<std::size_t>(block->size_class);
  if (block->holders == 0) free_[index].push_back(block);
  else if (capture_ != nullptr && block->graph == capture_ && block->holders == 1 && !block->constant)
    captured_free_[index].push_back(block);
}

void block_pool::begin_capture(held_blocks* graph) { capture_ = graph; }

void block_pool::end_capture() {
  capture_ = nullptr;
  for (std::vector<memory_block*>& list : captured_free_) list.clear();  // the graph holds these blocks
}

void block_pool::hold(memory_block* block) {
  std::vector<memory_block*>& held = capture_->blocks;
  if (std::find(held.begin(), held.end(), block) != held.end()) return;
  held.push_back(block);
  block->holders++;
}

void block_pool::drop(held_blocks* graph) {
  for (memory_block* block : graph->blocks) {
    if (block->graph == graph) block->graph = nullptr;
    if (--block->holders == 0 && !block->in_use) free_[static_cast<std::size_t>(block->size_class)].push_back(block);
  }
  graph->blocks.clear();
}

void block_pool::trim() {
  // A kernel that runs may still use a free block. (In a capture no kernel runs: see begin_capture.)
  if (capture_ == nullptr) cudaStreamSynchronize(stream_);
  bool any = false;
  for (std::vector<memory_block*>& list : free_) {
    for (memory_block* block : list) give_back(block);
    any = any || !list.empty();
    list.clear();
  }
  if (!any) return;
  all_.erase(std::remove_if(all_.begin(), all_.end(), [](const auto& block) { return block->data == nullptr; }),
             all_.end());
  if (!stream_ordered_) return;
  cudaStreamSynchronize(side_stream_);
  int device = 0;
  cudaMemPool_t pool = nullptr;
  if (cudaGetDevice(&device) == cudaSuccess && cudaDeviceGetDefaultMemPool(&pool, device) == cudaSuccess)
    cudaMemPoolTrimTo(pool, 0);
}

}  // namespace cuda
}  // namespace versemi
