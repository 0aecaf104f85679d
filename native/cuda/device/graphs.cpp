#include "device/graphs.h"

#include <algorithm>

namespace versemi {
namespace cuda {

versemi_status graph_table::begin_capture() {
  if (capturing()) return failure(VERSEMI_INVALID_ARGUMENT, "a capture within a capture");
  // block_pool::begin_capture relies on this wait.
  versemi_status status = check(cudaStreamSynchronize(kernels_), "waiting for the GPU");
  // Relaxed: memory is allocated and constants are written on other streams meanwhile.
  if (status.code == VERSEMI_OK)
    status = check(cudaStreamBeginCapture(kernels_, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  if (status.code != VERSEMI_OK) return status;
  capture_ = std::make_unique<graph>();
  refusal_.clear();
  pool_.begin_capture(&capture_->blocks);
  return ok();
}

versemi_status graph_table::end_capture(std::int64_t* id) {
  *id = 0;
  if (!capturing()) return failure(VERSEMI_INVALID_ARGUMENT, "no capture is under way");
  cudaGraph_t recorded = nullptr;
  versemi_status status = check(cudaStreamEndCapture(kernels_, &recorded), "the capture");
  pool_.end_capture();
  std::unique_ptr<graph> made = std::move(capture_);
  if (!refusal_.empty()) status = failure(VERSEMI_UNSUPPORTED, "%s", refusal_.c_str());
  else if (status.code == VERSEMI_OK)
    status = check(cudaGraphInstantiate(&made->program, recorded, 0), "cudaGraphInstantiate");
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  if (status.code != VERSEMI_OK) {
    cudaGetLastError();
    invalidate(*made);
    status.code = VERSEMI_UNSUPPORTED;
    return status;
  }
  *id = next_id_++;
  graphs_[*id] = std::move(made);
  return ok();
}

versemi_status graph_table::replay(std::int64_t id) {
  const auto found = graphs_.find(id);
  if (found == graphs_.end()) return failure(VERSEMI_INVALID_ARGUMENT, "no such graph");
  if (capturing()) return refuse("it replays another graph");
  if (found->second->program == nullptr)
    return failure(VERSEMI_UNSUPPORTED, "a buffer that the graph uses is gone, or its memory was needed elsewhere");
  return check(cudaGraphLaunch(found->second->program, kernels_), "cudaGraphLaunch");
}

void graph_table::drop(std::int64_t id) {
  const auto found = graphs_.find(id);
  if (found == graphs_.end()) return;
  invalidate(*found->second);
  graphs_.erase(found);
}

void graph_table::close() {
  if (capturing()) {
    std::int64_t id = 0;
    refuse("the device was disposed of");
    end_capture(&id);
  }
  for (auto& [id, each] : graphs_) invalidate(*each);
  graphs_.clear();
}

versemi_status graph_table::refuse(const char* reason) {
  if (refusal_.empty()) refusal_ = reason;
  return state();
}

versemi_status graph_table::state() const {
  return !capturing() || refusal_.empty() ? ok() : failure(VERSEMI_UNSUPPORTED, "%s", refusal_.c_str());
}

void graph_table::use_buffer(std::int64_t number, const memory_block& block) {
  if (took(block)) return;
  std::vector<std::int64_t>& outside = capture_->outside;
  if (std::find(outside.begin(), outside.end(), number) != outside.end()) return;
  outside.push_back(number);
  if (users_.size() <= static_cast<std::size_t>(number)) users_.resize(static_cast<std::size_t>(number) + 1, 0);
  users_[static_cast<std::size_t>(number)]++;
}

bool graph_table::uses_buffer(std::int64_t number) const {
  return static_cast<std::size_t>(number) < users_.size() && users_[static_cast<std::size_t>(number)] > 0;
}

// Frees the memory of a graph; replaying the graph then says that it is gone.
void graph_table::invalidate(graph& each) {
  if (each.program != nullptr) {
    cudaStreamSynchronize(kernels_);
    cudaGraphExecDestroy(each.program);
    each.program = nullptr;
  }
  pool_.drop(&each.blocks);
  for (const std::int64_t number : each.outside) users_[static_cast<std::size_t>(number)]--;
  each.outside.clear();
}

void graph_table::invalidate_users(std::int64_t number, const memory_block* block) {
  const auto uses = [&](const graph& each) {
    return std::find(each.outside.begin(), each.outside.end(), number) != each.outside.end() ||
           std::find(each.blocks.blocks.begin(), each.blocks.blocks.end(), block) != each.blocks.blocks.end();
  };
  if (capturing() && uses(*capture_)) refuse("a buffer that was there before is released");
  for (auto& [id, each] : graphs_)
    if (each->program != nullptr && uses(*each)) invalidate(*each);
}

bool graph_table::drop_idle() {
  if (capturing()) return false;
  for (auto& [id, each] : graphs_) {
    if (each->program == nullptr) continue;
    invalidate(*each);
    return true;
  }
  return false;
}

}  // namespace cuda
}  // namespace versemi
