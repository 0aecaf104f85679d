#include "device/session.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "device/convert.h"

namespace versemi {
namespace cuda {
namespace {

// An id fits a JavaScript number: number + 1 in the low 24 bits, the generation of that number above, so that the id of a
// released buffer is recognised when its number is used again. 0 is never an id.
constexpr int number_bits = 24;
constexpr std::int64_t number_mask = (std::int64_t{1} << number_bits) - 1;
constexpr std::int64_t generations = std::int64_t{1} << 28;
constexpr std::int64_t largest_buffer = std::int64_t{1} << 50;
constexpr std::size_t write_segment = std::size_t{4} << 20;
constexpr std::size_t upload_segment = std::size_t{16} << 20;

}  // namespace

std::unique_ptr<session> session::create(const session_settings& settings, versemi_status* status) {
  int device = 0;
  const std::string reason = unavailable_reason(&device);
  if (!reason.empty()) {
    *status = failure(VERSEMI_DEVICE_FAILED, "%s", reason.c_str());
    return nullptr;
  }
  device_properties properties;
  cudaDeviceProp found;
  int pools = 0;
  cudaStream_t stream = nullptr, copies = nullptr;
  *status = check(cudaSetDevice(device), "cudaSetDevice");
  const auto step = [&](cudaError_t error, const char* what) {
    if (status->code == VERSEMI_OK) *status = check(error, what);
  };
  step(cudaGetDeviceProperties(&found, device), "the properties of the GPU");
  step(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, device), "the properties of the GPU");
  if (status->code == VERSEMI_OK) step(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  if (status->code == VERSEMI_OK) step(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking), "a stream");
  if (status->code != VERSEMI_OK) {
    if (stream != nullptr) cudaStreamDestroy(stream);
    return nullptr;
  }
  properties.ordinal = device;
  properties.compute_capability = found.major * 10 + found.minor;
  properties.multiprocessors = found.multiProcessorCount;
  properties.shared_bytes_per_block = static_cast<int>(found.sharedMemPerBlockOptin);
  properties.memory_bytes = static_cast<std::int64_t>(found.totalGlobalMem);
  properties.level2_bytes = found.l2CacheSize;
  std::snprintf(properties.name, sizeof properties.name, "%s", found.name);
  if (pools != 0) {
    // What was freed stays with the process until trim.
    cudaMemPool_t pool = nullptr;
    std::uint64_t threshold = ~std::uint64_t{0};
    if (cudaDeviceGetDefaultMemPool(&pool, device) == cudaSuccess)
      cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold);
  }
  return std::unique_ptr<session>(new session(settings, properties, stream, copies, pools != 0));
}

session::session(const session_settings& settings, const device_properties& properties, cudaStream_t stream,
                 cudaStream_t copies, bool stream_ordered)
    : settings_(settings),
      properties_(properties),
      stream_{stream},
      copies_{copies},
      pool_(stream, stream_ordered, settings.memory_limit_bytes),
      writes_(write_segment),
      uploads_(upload_segment) {
  pool_.reclaim = [this] { return drop_idle_graph(); };
}

session::~session() {
  if (capture_ != nullptr) {
    std::int64_t id = 0;
    fail_capture("the device was disposed of");
    end_capture(&id);
  }
  cudaStreamSynchronize(copies_);
  cudaStreamSynchronize(stream_);
  for (auto& [id, each] : graphs_) invalidate(*each);
  for (buffer& each : buffers_) {
    if (each.arrived != nullptr) cudaEventDestroy(each.arrived);
    if (each.consumed != nullptr) cudaEventDestroy(each.consumed);
  }
}

session::buffer* session::at(buffer_id id) {
  const std::int64_t number = (id & number_mask) - 1;
  if (id <= 0 || number < 0 || number >= static_cast<std::int64_t>(buffers_.size())) return nullptr;
  buffer& slot = buffers_[static_cast<std::size_t>(number)];
  return slot.live && slot.generation == id >> number_bits ? &slot : nullptr;
}

versemi_status session::not_live(double id) {
  return failure(VERSEMI_INVALID_ARGUMENT, "buffer %.0f is not live (released before?)", id);
}

versemi_status session::allocate(std::int64_t bytes, buffer_id* id) {
  *id = 0;
  if (bytes < 0 || bytes > largest_buffer)
    return failure(VERSEMI_INVALID_ARGUMENT, "a buffer of %.0f bytes", static_cast<double>(bytes));
  // Nothing is taken yet, but what can never be had is refused at once.
  if (bytes / 2 > std::min(settings_.memory_limit_bytes, properties_.memory_bytes)) return no_memory(bytes);
  if (free_numbers_.empty()) {
    if (static_cast<std::int64_t>(buffers_.size()) >= number_mask)
      return failure(VERSEMI_OUT_OF_MEMORY, "%lld live buffers", static_cast<long long>(live_));
    free_numbers_.push_back(static_cast<std::int64_t>(buffers_.size()));
    buffers_.emplace_back();
  }
  const std::int64_t number = free_numbers_.back();
  free_numbers_.pop_back();
  buffer& slot = buffers_[static_cast<std::size_t>(number)];
  const std::int64_t generation = slot.generation;
  slot = buffer();
  slot.generation = generation;
  slot.bytes = bytes;
  slot.live = true;
  live_++;
  *id = generation << number_bits | (number + 1);
  return ok();
}

versemi_status session::release(buffer_id id) {
  buffer* slot = at(id);
  if (slot == nullptr) return not_live(static_cast<double>(id));
  const std::int64_t number = number_of(*slot);
  const versemi_status guard = check_guard(*slot);
  if (slot->graphs > 0) invalidate_users(number);
  if (slot->memory != nullptr) pool_.give(slot->memory);
  if (!slot->uploading) {  // else these belong to the upload, see end_upload
    if (slot->shadow != nullptr) {
      if (slot->uploaded) cudaStreamWaitEvent(stream_, slot->arrived, 0);
      pool_.give(slot->shadow);
    }
    if (slot->arrived != nullptr) cudaEventDestroy(slot->arrived);
    if (slot->consumed != nullptr) cudaEventDestroy(slot->consumed);
  }
  slot->memory = slot->shadow = nullptr;
  slot->arrived = slot->consumed = nullptr;
  slot->live = false;
  slot->generation = (slot->generation + 1) % generations;
  free_numbers_.push_back(number);
  live_--;
  return guard;
}

bool session::find(buffer_id id, std::int64_t* bytes) const {
  *bytes = 0;
  if (id == 0) return true;
  const buffer* slot = const_cast<session*>(this)->at(id);
  if (slot == nullptr) return false;
  *bytes = slot->bytes;
  return true;
}

versemi_status session::check_range(const buffer& slot, std::int64_t bytes) const {
  if (bytes <= slot.bytes) return ok();
  return failure(VERSEMI_INVALID_ARGUMENT, "a buffer of %lld bytes does not hold %lld bytes",
                 static_cast<long long>(slot.bytes), static_cast<long long>(bytes));
}

void* session::scratch(int slot, std::size_t bytes) {
  memory_block*& block = scratch_[slot];
  if (block == nullptr || block->capacity < static_cast<std::int64_t>(bytes)) {
    if (block != nullptr) pool_.give(block);
    block = pool_.take(static_cast<std::int64_t>(bytes));
    if (block == nullptr) {
      scratch_refused_ = static_cast<std::int64_t>(bytes);
      return nullptr;
    }
  }
  if (pool_.capturing()) pool_.hold(block);
  return block->data;
}

session_memory session::memory() const {
  session_memory result;
  for (const memory_block* block : scratch_)
    if (block != nullptr) result.scratch += block->asked;
  result.buffers = live_;
  result.in_use = pool_.use().in_use - result.scratch;
  result.pooled = pool_.use().reserved - result.in_use;
  result.peak = pool_.use().peak;
  return result;
}

void session::trim() {
  if (capture_ != nullptr) return;
  cudaStreamSynchronize(stream_);
  for (memory_block*& block : scratch_) {
    if (block != nullptr) pool_.give(block);
    block = nullptr;
  }
  pool_.trim();
  pool_.restart_peak();
}

std::string session::description() const {
  static const char* const operand_names[] = {"bfloat16", "TF32", "float32"};
  char text[400];
  std::snprintf(text, sizeof text, "%s, compute capability %d.%d, %d multiprocessors, %.0f GiB, %s", properties_.name,
                properties_.compute_capability / 10, properties_.compute_capability % 10, properties_.multiprocessors,
                static_cast<double>(properties_.memory_bytes) / (1 << 30), operand_names[static_cast<int>(settings_.operands)]);
#if defined(VERSEMI_CUDA_EMULATED)
  return std::string("emulated, ") + text;
#else
  return text;
#endif
}

}  // namespace cuda
}  // namespace versemi
