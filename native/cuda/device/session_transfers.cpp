// Reads and writes of a session, and uploads beside the kernels.
#include <cstring>

#include "device/convert.h"
#include "device/session.h"

namespace versemi {
namespace cuda {

versemi_status session::write(buffer_id id, const void* host, std::int64_t bytes) {
  buffer* slot = at(id);
  if (slot == nullptr) return not_live(static_cast<double>(id));
  versemi_status status = check_range(*slot, bytes);
  if (status.code != VERSEMI_OK || bytes == 0) return status;  // the host pointer of an empty view may be null
  if (capture_ != nullptr) {
    // A copy would be replayed with whatever the staging memory holds by then. So the values are written once, now, into
    // memory that nothing else in the graph uses.
    if (slot->memory == nullptr) status = fill_memory(*slot, storage::float32, true);
    else if (!slot->memory->constant || slot->memory->graph != &capture_->blocks)
      return fail_capture("the host writes into a buffer that was there before");
    if (status.code == VERSEMI_OK)
      status = check(cudaMemcpyAsync(slot->memory->data, host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, copies_),
                     "upload");
    return status.code != VERSEMI_OK ? status : check(cudaStreamSynchronize(copies_), "upload");
  }
  if (slot->memory == nullptr) status = fill_memory(*slot, storage::float32);
  else status = store_as(*slot, storage::float32);
  if (status.code != VERSEMI_OK) return status;
  return writes_.copy(slot->memory->data, host, static_cast<std::size_t>(bytes), stream_);
}

versemi_status session::begin_read(buffer_id id, std::int64_t bytes, host_read* read) {
  if (capture_ != nullptr) return fail_capture("the host reads a result");
  if (id == 0 && bytes == 0) {
    const versemi_status status = reads_.take(0, read);
    return status.code != VERSEMI_OK ? status : check(cudaEventRecord(read->arrived, stream_), "cudaEventRecord");
  }
  buffer* slot = at(id);
  if (slot == nullptr) return not_live(static_cast<double>(id));
  versemi_status status = check_range(*slot, bytes);
  if (status.code == VERSEMI_OK && slot->memory == nullptr) status = fill_memory(*slot, storage::float32);
  if (status.code == VERSEMI_OK) status = reads_.take(bytes, read);
  if (status.code != VERSEMI_OK) return status;
  const void* data = slot->memory->data;
  memory_block* converted = nullptr;
  if (slot->format == storage::bfloat16) {
    const std::int64_t elements = (bytes + 3) / 4;
    converted = pool_.take(elements * 4);
    status = converted == nullptr ? no_memory(elements * 4) : convert(*this, data, slot->format, converted->data, elements);
    if (converted != nullptr) data = converted->data;
  }
  if (status.code == VERSEMI_OK)
    status = check(cudaMemcpyAsync(read->pinned, data, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, stream_),
                   "download");
  if (status.code == VERSEMI_OK) status = check(cudaEventRecord(read->arrived, stream_), "cudaEventRecord");
  if (converted != nullptr) pool_.give(converted);
  if (status.code != VERSEMI_OK) reads_.give(*read);
  return status;
}

versemi_status session::wait_read(const host_read& read, void* host) const {
  versemi_status status = check(cudaSetDevice(properties_.ordinal), "cudaSetDevice");
  if (status.code == VERSEMI_OK) status = check(cudaEventSynchronize(read.arrived), "waiting for the GPU");
  if (status.code == VERSEMI_OK && read.bytes > 0) std::memcpy(host, read.pinned, static_cast<std::size_t>(read.bytes));
  return status;
}

void session::end_read(const host_read& read) { reads_.give(read); }

versemi_status session::read(buffer_id id, void* host, std::int64_t bytes) {
  host_read read;
  versemi_status status = begin_read(id, bytes, &read);
  if (status.code != VERSEMI_OK) return status;
  status = wait_read(read, host);
  end_read(read);
  return status;
}

versemi_status session::begin_upload(buffer_id id, const void* host, std::int64_t bytes, upload* job) {
  buffer* slot = at(id);
  if (slot == nullptr) return not_live(static_cast<double>(id));
  if (bytes != slot->bytes)
    return failure(VERSEMI_INVALID_ARGUMENT, "an upload of %lld bytes for a buffer of %lld", static_cast<long long>(bytes),
                   static_cast<long long>(slot->bytes));
  if (slot->uploading) return failure(VERSEMI_INVALID_ARGUMENT, "an upload into this buffer is under way");
  if (capture_ != nullptr) return fail_capture("the host uploads values");
  versemi_status status = ok();
  if (slot->shadow == nullptr) slot->shadow = pool_.take(slot->elements() * 4);
  if (slot->shadow == nullptr) return no_memory(slot->elements() * 4);
  for (cudaEvent_t* event : {&slot->arrived, &slot->consumed})
    if (*event == nullptr && status.code == VERSEMI_OK)
      status = check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreate");
  if (status.code != VERSEMI_OK) return status;
  // The block may have served a kernel that still runs.
  if (!slot->committed) status = check(cudaEventRecord(slot->consumed, stream_), "cudaEventRecord");
  if (status.code != VERSEMI_OK) return status;
  slot->uploading = true;
  slot->uploaded = false;
  *job = {id, slot->shadow, host, bytes, slot->arrived, slot->consumed};
  return ok();
}

versemi_status session::run_upload(const upload& job) {
  versemi_status status = check(cudaSetDevice(properties_.ordinal), "cudaSetDevice");
  if (status.code == VERSEMI_OK) status = check(cudaStreamWaitEvent(copies_, job.consumed, 0), "cudaStreamWaitEvent");
  if (status.code == VERSEMI_OK)
    status = uploads_.copy(job.shadow->data, job.host, static_cast<std::size_t>(job.bytes), copies_);
  return status.code != VERSEMI_OK ? status : check(cudaEventRecord(job.arrived, copies_), "cudaEventRecord");
}

void session::end_upload(const upload& job, bool arrived) {
  buffer* slot = at(job.target);
  if (slot != nullptr) {
    slot->uploading = false;
    slot->uploaded = arrived;
    return;
  }
  // It was released meanwhile.
  cudaStreamWaitEvent(stream_, job.arrived, 0);
  pool_.give(job.shadow);
  cudaEventDestroy(job.arrived);
  cudaEventDestroy(job.consumed);
}

versemi_status session::commit(buffer_id id) {
  buffer* slot = at(id);
  if (slot == nullptr) return not_live(static_cast<double>(id));
  if (!slot->uploaded) return failure(VERSEMI_INVALID_ARGUMENT, "nothing was uploaded for this buffer");
  if (capture_ != nullptr) return fail_capture("the host uploads values");
  versemi_status status = slot->memory == nullptr ? fill_memory(*slot, storage::float32) : store_as(*slot, storage::float32);
  if (status.code == VERSEMI_OK) status = check(cudaStreamWaitEvent(stream_, slot->arrived, 0), "cudaStreamWaitEvent");
  if (status.code == VERSEMI_OK)
    status = check(cudaMemcpyAsync(slot->memory->data, slot->shadow->data, static_cast<std::size_t>(slot->bytes),
                                   cudaMemcpyDeviceToDevice, stream_),
                   "taking over an upload");
  if (status.code == VERSEMI_OK) status = check(cudaEventRecord(slot->consumed, stream_), "cudaEventRecord");
  slot->uploaded = false;
  slot->committed = true;
  return status;
}

}  // namespace cuda
}  // namespace versemi
