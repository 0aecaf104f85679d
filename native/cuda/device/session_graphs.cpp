// Capture and replay of the kernels of a computation that runs again and again.
#include <algorithm>

#include "device/session.h"

namespace versemi {
namespace cuda {

versemi_status session::begin_capture() {
  if (capture_ != nullptr) return failure(VERSEMI_INVALID_ARGUMENT, "a capture within a capture");
  // The pool relies on it: see begin_capture there.
  versemi_status status = check(cudaStreamSynchronize(stream_), "waiting for the GPU");
  // Relaxed: memory is allocated and constants are written on other streams meanwhile.
  if (status.code == VERSEMI_OK)
    status = check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  if (status.code != VERSEMI_OK) return status;
  capture_ = std::make_unique<graph>();
  capture_failure_.clear();
  pool_.begin_capture(&capture_->blocks);
  return ok();
}

versemi_status session::end_capture(std::int64_t* id) {
  *id = 0;
  if (capture_ == nullptr) return failure(VERSEMI_INVALID_ARGUMENT, "no capture is under way");
  cudaGraph_t recorded = nullptr;
  versemi_status status = check(cudaStreamEndCapture(stream_, &recorded), "the capture");
  pool_.end_capture();
  std::unique_ptr<graph> made = std::move(capture_);
  if (!capture_failure_.empty()) status = failure(VERSEMI_UNSUPPORTED, "%s", capture_failure_.c_str());
  else if (status.code == VERSEMI_OK)
    status = check(cudaGraphInstantiate(&made->program, recorded, 0), "cudaGraphInstantiate");
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  if (status.code != VERSEMI_OK) {
    cudaGetLastError();
    invalidate(*made);
    status.code = VERSEMI_UNSUPPORTED;
    return status;
  }
  *id = next_graph_++;
  graphs_[*id] = std::move(made);
  return ok();
}

versemi_status session::replay(std::int64_t id) {
  const auto found = graphs_.find(id);
  if (found == graphs_.end()) return failure(VERSEMI_INVALID_ARGUMENT, "no such graph");
  if (capture_ != nullptr) return fail_capture("it replays another graph");
  if (found->second->program == nullptr)
    return failure(VERSEMI_UNSUPPORTED, "a buffer that the graph uses is gone, or its memory was needed elsewhere");
  return check(cudaGraphLaunch(found->second->program, stream_), "cudaGraphLaunch");
}

void session::drop_graph(std::int64_t id) {
  const auto found = graphs_.find(id);
  if (found == graphs_.end()) return;
  invalidate(*found->second);
  graphs_.erase(found);
}

// Remembers the first reason: everything after it may be a consequence.
versemi_status session::fail_capture(const char* reason) {
  if (capture_failure_.empty()) capture_failure_ = reason;
  return failure(VERSEMI_UNSUPPORTED, "%s", capture_failure_.c_str());
}

// The graph being captured uses this buffer: it must know when the buffer goes.
void session::touch_outside(buffer& slot) {
  if (slot.memory->graph == &capture_->blocks) return;
  const std::int64_t number = number_of(slot);
  std::vector<std::int64_t>& outside = capture_->outside;
  if (std::find(outside.begin(), outside.end(), number) != outside.end()) return;
  outside.push_back(number);
  slot.graphs++;
}

// Its memory is free again; replay says that it is gone.
void session::invalidate(graph& each) {
  if (each.program != nullptr) {
    cudaStreamSynchronize(stream_);
    cudaGraphExecDestroy(each.program);
    each.program = nullptr;
  }
  pool_.drop(&each.blocks);
  for (const std::int64_t number : each.outside) buffers_[static_cast<std::size_t>(number)].graphs--;
  each.outside.clear();
}

void session::invalidate_users(std::int64_t number) {
  const buffer& slot = buffers_[static_cast<std::size_t>(number)];
  const auto uses = [&](const graph& each) {
    return std::find(each.outside.begin(), each.outside.end(), number) != each.outside.end() ||
           std::find(each.blocks.blocks.begin(), each.blocks.blocks.end(), slot.memory) != each.blocks.blocks.end();
  };
  if (capture_ != nullptr && uses(*capture_)) fail_capture("a buffer that was there before is released");
  for (auto& [id, each] : graphs_)
    if (each->program != nullptr && uses(*each)) invalidate(*each);
}

bool session::drop_idle_graph() {
  if (capture_ != nullptr) return false;
  for (auto& [id, each] : graphs_) {
    if (each->program == nullptr) continue;
    invalidate(*each);
    return true;
  }
  return false;
}

}  // namespace cuda
}  // namespace versemi
