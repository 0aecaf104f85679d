#include "device/rank_sums.h"

#include <chrono>

namespace versemi {
namespace cuda {
namespace {

using namespace std::chrono_literals;

constexpr auto look = 20ms;
// A call that waits for a rank which is lost ends by the abort itself; one that does not wait is over by then.
constexpr auto longest_call = 2s;

}  // namespace

std::string rank_sums::use_library(const std::string& file, std::string* found) {
  nccl_ = open_nccl(file, found);
  return nccl_ == nullptr ? "" : nccl_->version_text();
}

versemi_status rank_sums::make_id(nccl_unique_id* id) {
  if (nccl_ == nullptr) return failure(VERSEMI_UNSUPPORTED, "NCCL is not open");
  const int result = nccl_->get_unique_id(id);
  return result == nccl_success ? ok() : failure(VERSEMI_DEVICE_FAILED, "ncclGetUniqueId: %s", nccl_->error(result).c_str());
}

versemi_status rank_sums::join(const nccl_unique_id& id, int rank, int ranks, const std::int32_t* alarm) {
  if (nccl_ == nullptr) return failure(VERSEMI_UNSUPPORTED, "NCCL is not open");
  if (joined()) return failure(VERSEMI_INVALID_ARGUMENT, "the device has joined ranks already");
  versemi_status status = check(cudaSetDevice(properties_.ordinal), "cudaSetDevice");
  if (status.code == VERSEMI_OK && stream_ == nullptr)
    status = check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
  if (status.code == VERSEMI_OK && ready_ == nullptr)
    status = check(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "cudaEventCreate");
  if (status.code != VERSEMI_OK) return status;
  nccl_communicator made = nullptr;
  const int result = nccl_->comm_init_rank(&made, ranks, id, rank);
  if (result != nccl_success)
    return failure(VERSEMI_DEVICE_FAILED, "ncclCommInitRank: %s", nccl_->error(result).c_str());
  communicator_ = made;
  alarm_ = alarm;
  given_up_ = false;
  leaving_ = false;
  reason_.clear();
  watcher_ = std::thread([this] { watch(); });
  return ok();
}

versemi_status rank_sums::start(float* values, std::int64_t elements, cudaEvent_t* summed) {
  *summed = nullptr;
  if (!joined()) return failure(VERSEMI_INVALID_ARGUMENT, "the device has not joined ranks");
  const std::lock_guard<std::timed_mutex> held(calls_);
  versemi_status status = state();
  if (status.code == VERSEMI_OK) status = check(cudaEventRecord(ready_, kernels_), "cudaEventRecord");
  if (status.code == VERSEMI_OK) status = check(cudaStreamWaitEvent(stream_, ready_, 0), "cudaStreamWaitEvent");
  if (status.code != VERSEMI_OK) return status;
  const int result = nccl_->all_reduce(values, values, static_cast<std::size_t>(elements), nccl_float32, nccl_sum, communicator_, stream_);
  if (result != nccl_success) return failure(VERSEMI_DEVICE_FAILED, "ncclAllReduce: %s", nccl_->error(result).c_str());
  status = check(cudaEventCreateWithFlags(summed, cudaEventDisableTiming), "cudaEventCreate");
  return status.code != VERSEMI_OK ? status : check(cudaEventRecord(*summed, stream_), "cudaEventRecord");
}

versemi_status rank_sums::state() const {
  if (!given_up_) return ok();
  const std::lock_guard<std::mutex> held(mutex_);
  return failure(VERSEMI_DEVICE_FAILED, "sums over the ranks were given up: %s", reason_.c_str());
}

// A kernel of NCCL waits for the other ranks for ever, and so does everything behind it: only an abort from another thread ends that.
void rank_sums::watch() {
  std::unique_lock<std::mutex> held(mutex_);
  while (!wake_.wait_for(held, look, [this] { return leaving_; })) {
    std::string reason;
    int result = nccl_success;
    if (__atomic_load_n(alarm_, __ATOMIC_ACQUIRE) != 0) reason = "a rank is lost";
    else if (nccl_->comm_get_async_error(communicator_, &result) != nccl_success) reason = "ncclCommGetAsyncError failed";
    else if (result != nccl_success && result != nccl_in_progress) reason = nccl_->error(result);
    if (reason.empty()) continue;
    reason_ = reason;
    given_up_ = true;
    held.unlock();
    const bool quiet = calls_.try_lock_for(longest_call);
    cudaSetDevice(properties_.ordinal);
    nccl_->comm_abort(communicator_);
    if (quiet) calls_.unlock();
    return;
  }
}

void rank_sums::leave(bool at_once) {
  if (joined()) {
    {
      const std::lock_guard<std::mutex> held(mutex_);
      leaving_ = true;
    }
    wake_.notify_all();
    watcher_.join();
    // One that the watcher has aborted is gone.
    if (!given_up_) {
      if (at_once) nccl_->comm_abort(communicator_);
      else nccl_->comm_destroy(communicator_);
    }
    communicator_ = nullptr;
    alarm_ = nullptr;
    given_up_ = false;
  }
  if (ready_ != nullptr) cudaEventDestroy(ready_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  ready_ = nullptr;
  stream_ = nullptr;
}

}  // namespace cuda
}  // namespace versemi
