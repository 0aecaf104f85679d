#include "device/session.h"

#include <cstdio>

namespace versemi {
namespace cuda {
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
  auto streams = std::make_unique<device_streams>();
  *status = check(cudaSetDevice(device), "cudaSetDevice");
  const auto step = [&](cudaError_t error, const char* what) {
    if (status->code == VERSEMI_OK) *status = check(error, what);
  };
  step(cudaGetDeviceProperties(&found, device), "the properties of the GPU");
  step(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, device), "the properties of the GPU");
  for (cudaStream_t* stream : {&streams->kernels, &streams->copies})
    if (status->code == VERSEMI_OK) step(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "a stream");
  if (status->code != VERSEMI_OK) return nullptr;
  properties.ordinal = device;
  properties.compute_capability = found.major * 10 + found.minor;
  properties.multiprocessors = found.multiProcessorCount;
  properties.shared_bytes_per_block = static_cast<int>(found.sharedMemPerBlockOptin);
  properties.memory_bytes = static_cast<std::int64_t>(found.totalGlobalMem);
  properties.level2_bytes = found.l2CacheSize;
  std::snprintf(properties.name, sizeof properties.name, "%s", found.name);
  if (pools != 0) {
    // The runtime keeps freed memory for this process until trim.
    cudaMemPool_t pool = nullptr;
    std::uint64_t threshold = ~std::uint64_t{0};
    if (cudaDeviceGetDefaultMemPool(&pool, device) == cudaSuccess)
      cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold);
  }
  return std::unique_ptr<session>(new session(settings, properties, std::move(streams), pools != 0));
}

session::session(const session_settings& settings, const device_properties& properties, std::unique_ptr<device_streams> streams,
                 bool stream_ordered)
    : settings_(settings),
      filter_(settings.forbidden_rows),
      properties_(properties),
      owned_streams_(std::move(streams)),
      streams_(*owned_streams_),
      pool_(streams_.kernels, stream_ordered, settings.memory_limit_bytes),
      graphs_(streams_.kernels, pool_),
      buffers_(properties_, streams_, pool_, graphs_, settings.memory_limit_bytes, settings.poison),
      formats_(*this, buffers_, pool_, graphs_),
      transfers_(*this, streams_, pool_, graphs_, buffers_, formats_),
      sums_(properties_, streams_.kernels) {
  pool_.reclaim = [this] { return graphs_.drop_idle(); };
}

session::~session() {
  sums_.leave(true);
  graphs_.close();
  cudaStreamSynchronize(streams_.copies);
  cudaStreamSynchronize(streams_.kernels);
}

versemi_status session::release(buffer_id id) {
  buffer* slot = buffers_.at(id);
  if (slot == nullptr) return buffer_table::not_live(id);
  transfers_.abandon(*slot);
  return buffers_.release(*slot);
}

versemi_status session::sum_over_ranks(buffer_id id, std::int64_t elements) {
  buffer* slot = buffers_.at(id);
  if (slot == nullptr) return buffer_table::not_live(id);
  versemi_status status = buffers_.check_range(*slot, elements * 4);
  if (status.code != VERSEMI_OK || elements == 0) return status;
  if (graphs_.capturing()) return graphs_.refuse("it sums over ranks");
  status = formats_.store_as_float32(*slot);
  return status.code != VERSEMI_OK ? status : sums_.start(static_cast<float*>(slot->memory->data), elements, &slot->summed);
}

bool session::find(buffer_id id, std::int64_t* bytes) {
  *bytes = 0;
  if (id == 0) return true;
  const buffer* slot = buffers_.at(id);
  if (slot == nullptr) return false;
  *bytes = slot->bytes;
  return true;
}

std::vector<row_answer> session::rows(std::int32_t op, const double* attributes, std::int32_t attribute_count) const {
  std::int32_t count = 0;
  const kernel* const* table = rows_of(op, &count);
  return filter_.answers(
      count, [&](std::int32_t i) -> const kernel& { return *table[i]; },
      [&](const kernel& row) { return row.refuses(*this, attributes, attribute_count); });
}

// The first row that takes the call, or nullptr with every reason in `status`.
const kernel* session::choose(std::int32_t op, const double* attributes, std::int32_t attribute_count,
                              versemi_status* status) const {
  std::int32_t count = 0;
  std::string reasons;
  const kernel* const* table = rows_of(op, &count);
  const std::int32_t chosen = filter_.choose(
      count, [&](std::int32_t i) -> const kernel& { return *table[i]; },
      [&](const kernel& row) { return row.refuses(*this, attributes, attribute_count); }, &reasons);
  if (chosen >= 0) return table[chosen];
  *status = failure(VERSEMI_UNSUPPORTED, "%s", reasons.c_str());
  return nullptr;
}

versemi_status session::refuses(std::int32_t op, const double* attributes, std::int32_t attribute_count) const {
  versemi_status status = ok();
  choose(op, attributes, attribute_count, &status);
  return status;
}

versemi_status session::run(std::int32_t op, const buffer_id* ids, const std::int64_t* elements, std::int32_t count,
                            const double* attributes, std::int32_t attribute_count) {
  versemi_status status = graphs_.state();
  if (status.code != VERSEMI_OK) return status;
  const kernel* row = choose(op, attributes, attribute_count, &status);
  if (row == nullptr) return status;
  const op_description& described = *describe_op(op);  // the code was checked
  const std::int32_t inputs = described.inputs(count);
  tensors_.assign(static_cast<std::size_t>(count), tensor());
  operands_.assign(static_cast<std::size_t>(count), operand());
  for (std::int32_t i = 0; i < count; i++) {
    if (ids[i] == 0) continue;
    const buffer* slot = buffers_.at(ids[i]);
    if (slot == nullptr) return buffer_table::not_live(ids[i]);
    operands_[static_cast<std::size_t>(i)].number = buffers_.number_of(*slot);
    tensor& each = tensors_[static_cast<std::size_t>(i)];
    each.elements = slot->elements();
    each.data = slot->memory == nullptr ? nullptr : slot->memory->data;
    if (i < inputs) each.format = slot->format;
  }
  if (row->plan != nullptr) {
    row->plan(*this, tensors_.data(), count, attributes, attribute_count);
  } else {
    for (tensor& each : tensors_) each.format = storage::float32;
  }
  // The table says which buffers are activations; all others hold what a rounded number would spoil.
  for (std::int32_t i = 0; i < count; i++) {
    const buffer_description& buffer = described.buffer(i, count);
    if (tensors_[static_cast<std::size_t>(i)].format != storage::float32 && !buffer.narrow)
      return failure(VERSEMI_DEVICE_FAILED, "row %s of %s plans bfloat16 for the buffer %s, which is float32 on every device",
                     row->name, described.name, buffer.name);
  }
  for (std::int32_t i = 0; i < count && status.code == VERSEMI_OK; i++) {
    operand& each = operands_[static_cast<std::size_t>(i)];
    tensor& wanted = tensors_[static_cast<std::size_t>(i)];
    if (wanted.present()) status = formats_.borrow(buffers_.by_number(each.number), i >= inputs, &wanted, &each.converted);
  }
  buffers_.forget_refused_scratch();
  if (status.code == VERSEMI_OK) status = row->run(*this, tensors_.data(), count, attributes, attribute_count);
  if (status.code == VERSEMI_OUT_OF_MEMORY && buffers_.refused_scratch() > 0)
    status = buffers_.no_memory(buffers_.refused_scratch());
  for (std::int32_t i = 0; i < count; i++) {
    const operand& each = operands_[static_cast<std::size_t>(i)];
    if (each.converted == nullptr) continue;
    // Of an output the elements that the op writes; what stands behind them stays.
    const std::int64_t written = i >= inputs && status.code == VERSEMI_OK ? elements[i] : 0;
    const versemi_status given = formats_.give_back(buffers_.by_number(each.number), written,
                                                    tensors_[static_cast<std::size_t>(i)], each.converted);
    if (status.code == VERSEMI_OK) status = given;
  }
  if (settings_.blocking && !graphs_.capturing() && status.code == VERSEMI_OK)
    status = check(cudaStreamSynchronize(streams_.kernels), row->name);
  return status;
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
