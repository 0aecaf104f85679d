#include "device/transfers.h"

#include <cstring>

namespace versemi {
namespace cuda {
namespace {

constexpr std::size_t write_segment = std::size_t{4} << 20;
constexpr std::size_t upload_segment = std::size_t{16} << 20;

}  // namespace

transfer_queue::transfer_queue(context& device, const device_streams& streams, block_pool& pool, graph_table& graphs,
                               buffer_table& buffers, buffer_formats& formats)
    : device_(device),
      streams_(streams),
      pool_(pool),
      graphs_(graphs),
      buffers_(buffers),
      formats_(formats),
      writes_(write_segment),
      uploads_(upload_segment) {}

versemi_status transfer_queue::write(buffer_id id, const void* host, std::int64_t bytes) {
  buffer* slot = buffers_.at(id);
  if (slot == nullptr) return buffer_table::not_live(id);
  versemi_status status = buffers_.check_range(*slot, bytes);
  if (status.code != VERSEMI_OK || bytes == 0) return status;  // the host pointer of an empty view may be null
  if (graphs_.capturing()) {
    // A recorded copy would be replayed with whatever the staging memory holds by then. So the values are written once, at
    // once, into memory that nothing else in the graph uses.
    if (slot->memory == nullptr) status = buffers_.fill(*slot, storage::float32, true);
    else if (!slot->memory->constant || !graphs_.took(*slot->memory))
      return graphs_.refuse("the host writes into a buffer that was there before");
    if (status.code == VERSEMI_OK)
      status = check(cudaMemcpyAsync(slot->memory->data, host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice, streams_.copies),
                     "upload");
    return status.code != VERSEMI_OK ? status : check(cudaStreamSynchronize(streams_.copies), "upload");
  }
  status = formats_.store_as_float32(*slot);
  if (status.code != VERSEMI_OK) return status;
  return writes_.copy(slot->memory->data, host, static_cast<std::size_t>(bytes), streams_.kernels);
}

versemi_status transfer_queue::begin_read(buffer_id id, std::int64_t bytes, host_read* read) {
  if (graphs_.capturing()) return graphs_.refuse("the host reads a result");
  if (id == 0 && bytes == 0) {
    const versemi_status status = reads_.take(0, read);
    return status.code != VERSEMI_OK ? status : check(cudaEventRecord(read->arrived, streams_.kernels), "cudaEventRecord");
  }
  buffer* slot = buffers_.at(id);
  if (slot == nullptr) return buffer_table::not_live(id);
  versemi_status status = buffers_.check_range(*slot, bytes);
  if (status.code == VERSEMI_OK && slot->memory == nullptr) status = buffers_.fill(*slot, storage::float32);
  if (status.code == VERSEMI_OK) status = reads_.take(bytes, read);
  if (status.code != VERSEMI_OK) return status;
  const void* data = slot->memory->data;
  memory_block* converted = nullptr;
  if (slot->format == storage::bfloat16) {
    const std::int64_t elements = (bytes + 3) / 4;
    converted = pool_.take(elements * 4);
    status = converted == nullptr ? buffers_.no_memory(elements * 4) : convert(device_, data, slot->format, converted->data, elements);
    if (converted != nullptr) data = converted->data;
  }
  if (status.code == VERSEMI_OK)
    status = check(cudaMemcpyAsync(read->pinned, data, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, streams_.kernels),
                   "download");
  if (status.code == VERSEMI_OK) status = check(cudaEventRecord(read->arrived, streams_.kernels), "cudaEventRecord");
  if (converted != nullptr) pool_.give(converted);
  if (status.code != VERSEMI_OK) reads_.give(*read);
  return status;
}

versemi_status transfer_queue::wait_read(const host_read& read, void* host) const {
  versemi_status status = use_device();
  if (status.code == VERSEMI_OK) status = check(cudaEventSynchronize(read.arrived), "waiting for the GPU");
  if (status.code == VERSEMI_OK && read.bytes > 0) std::memcpy(host, read.pinned, static_cast<std::size_t>(read.bytes));
  return status;
}

versemi_status transfer_queue::read(buffer_id id, void* host, std::int64_t bytes) {
  host_read read;
  versemi_status status = begin_read(id, bytes, &read);
  if (status.code != VERSEMI_OK) return status;
  status = wait_read(read, host);
  end_read(read);
  return status;
}

versemi_status transfer_queue::begin_upload(buffer_id id, const void* host, std::int64_t bytes, upload* job) {
  buffer* slot = buffers_.at(id);
  if (slot == nullptr) return buffer_table::not_live(id);
  if (bytes != slot->bytes)
    return failure(VERSEMI_INVALID_ARGUMENT, "an upload of %lld bytes for a buffer of %lld", static_cast<long long>(bytes),
                   static_cast<long long>(slot->bytes));
  if (slot->uploading) return failure(VERSEMI_INVALID_ARGUMENT, "an upload into this buffer is under way");
  if (graphs_.capturing()) return graphs_.refuse("the host uploads values");
  versemi_status status = ok();
  if (slot->shadow == nullptr) slot->shadow = pool_.take(slot->elements() * 4);
  if (slot->shadow == nullptr) return buffers_.no_memory(slot->elements() * 4);
  for (cudaEvent_t* event : {&slot->arrived, &slot->consumed})
    if (*event == nullptr && status.code == VERSEMI_OK)
      status = check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreate");
  if (status.code != VERSEMI_OK) return status;
  // The shadow's block may be in use by a kernel that still runs.
  if (!slot->committed) status = check(cudaEventRecord(slot->consumed, streams_.kernels), "cudaEventRecord");
  if (status.code != VERSEMI_OK) return status;
  slot->uploading = true;
  slot->uploaded = false;
  *job = {id, slot->shadow, host, bytes, slot->arrived, slot->consumed};
  return ok();
}

versemi_status transfer_queue::run_upload(const upload& job) {
  versemi_status status = use_device();
  if (status.code == VERSEMI_OK) status = check(cudaStreamWaitEvent(streams_.copies, job.consumed, 0), "cudaStreamWaitEvent");
  if (status.code == VERSEMI_OK)
    status = uploads_.copy(job.shadow->data, job.host, static_cast<std::size_t>(job.bytes), streams_.copies);
  return status.code != VERSEMI_OK ? status : check(cudaEventRecord(job.arrived, streams_.copies), "cudaEventRecord");
}

void transfer_queue::end_upload(const upload& job, bool arrived) {
  buffer* slot = buffers_.at(job.target);
  if (slot != nullptr) {
    slot->uploading = false;
    slot->uploaded = arrived;
    return;
  }
  // The buffer was released while the upload ran.
  cudaStreamWaitEvent(streams_.kernels, job.arrived, 0);
  pool_.give(job.shadow);
  cudaEventDestroy(job.arrived);
  cudaEventDestroy(job.consumed);
}

versemi_status transfer_queue::commit(buffer_id id) {
  buffer* slot = buffers_.at(id);
  if (slot == nullptr) return buffer_table::not_live(id);
  if (!slot->uploaded) return failure(VERSEMI_INVALID_ARGUMENT, "nothing was uploaded for this buffer");
  if (graphs_.capturing()) return graphs_.refuse("the host uploads values");
  versemi_status status = formats_.store_as_float32(*slot);
  if (status.code == VERSEMI_OK) status = check(cudaStreamWaitEvent(streams_.kernels, slot->arrived, 0), "cudaStreamWaitEvent");
  if (status.code == VERSEMI_OK)
    status = check(cudaMemcpyAsync(slot->memory->data, slot->shadow->data, static_cast<std::size_t>(slot->bytes),
                                   cudaMemcpyDeviceToDevice, streams_.kernels),
                   "taking over an upload");
  if (status.code == VERSEMI_OK) status = check(cudaEventRecord(slot->consumed, streams_.kernels), "cudaEventRecord");
  slot->uploaded = false;
  slot->committed = true;
  return status;
}

void transfer_queue::abandon(buffer& slot) {
  if (!slot.uploading) {
    if (slot.shadow != nullptr) {
      if (slot.uploaded) cudaStreamWaitEvent(streams_.kernels, slot.arrived, 0);
      pool_.give(slot.shadow);
    }
    for (cudaEvent_t event : {slot.arrived, slot.consumed})
      if (event != nullptr) cudaEventDestroy(event);
  }
  slot.shadow = nullptr;
  slot.arrived = slot.consumed = nullptr;
}

}  // namespace cuda
}  // namespace versemi
