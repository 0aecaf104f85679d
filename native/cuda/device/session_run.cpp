// A call of the kernel table: which row, in which formats the buffers lie, and what must be converted for it.
#include <algorithm>

#include "device/convert.h"
#include "device/session.h"

namespace versemi {
namespace cuda {
namespace {

// How many of a call's buffers are outputs; they stand last. The order is that of src/tfjs/table/kernel-table.ts.
std::int32_t output_count(std::int32_t op, std::int32_t count) {
  switch (op) {
    case VERSEMI_CONV3D_GRAD_WEIGHT:
    case VERSEMI_DYNAMIC_HEAD_GRAD:
    case VERSEMI_OVERLAP_SUMS_GRAD:
    case VERSEMI_PACK_GRADIENTS:
      return 2;
    case VERSEMI_INSTANCE_NORM_RELU:
    case VERSEMI_BATCH_NORM_RELU:
    case VERSEMI_BATCH_NORM_RELU_GRAD:
      return 3;
    case VERSEMI_CONV3D_NORM_RELU:
      return 4;
    case VERSEMI_ADAM_STEP:
      return count - 1;
    default:
      return 1;
  }
}

}  // namespace

// The first row that does not refuse, or nullptr with every reason in `status`.
const kernel* session::choose(std::int32_t op, const double* attributes, std::int32_t attribute_count,
                              versemi_status* status) const {
  std::string reasons;
  std::int32_t count = 0;
  const kernel* const* rows = rows_of(op, &count);
  for (std::int32_t i = 0; i < count; i++) {
    const kernel* row = rows[i];
    const char* reason = row->refuses == nullptr ? nullptr : row->refuses(*this, attributes, attribute_count);
    if (reason == nullptr) return row;
    reasons += std::string(reasons.empty() ? "" : "; ") + row->name + ": " + reason;
  }
  *status = failure(VERSEMI_UNSUPPORTED, "%s", reasons.empty() ? "the device has no kernel for this op" : reasons.c_str());
  return nullptr;
}

versemi_status session::refuses(std::int32_t op, const double* attributes, std::int32_t attribute_count) const {
  versemi_status status = ok();
  choose(op, attributes, attribute_count, &status);
  return status;
}

// Memory and format of one buffer, after the plan.
versemi_status session::prepare(operand& each, bool output) {
  buffer& slot = buffers_[static_cast<std::size_t>(each.number)];
  tensor& wanted = *each.of_call;
  versemi_status status = ok();
  if (capture_ != nullptr && slot.memory != nullptr) {
    if (output && slot.memory->constant && slot.memory->graph == &capture_->blocks)
      return fail_capture("a kernel writes into values that came from the host");
    touch_outside(slot);
  }
  if (slot.memory == nullptr) {
    // An input that was never filled holds what it holds.
    status = fill_memory(slot, output ? wanted.format : storage::float32);
    if (status.code != VERSEMI_OK) return status;
  }
  // In place on the narrow format: what is there counts, at full precision.
  if (output && slot.format == storage::bfloat16 && wanted.format == storage::float32)
    status = store_as(slot, storage::float32);
  if (status.code != VERSEMI_OK) return status;
  if (slot.format == wanted.format) {
    wanted.data = slot.memory->data;
    return ok();
  }
  each.converted = pool_.take(slot.elements() * bytes_per_element(wanted.format));
  if (each.converted == nullptr) return no_memory(slot.elements() * bytes_per_element(wanted.format));
  wanted.data = each.converted->data;
  return output ? ok() : convert(*this, slot.memory->data, slot.format, wanted.data, slot.elements());
}

versemi_status session::run(std::int32_t op, const buffer_id* ids, const std::int64_t* elements, std::int32_t count,
                            const double* attributes, std::int32_t attribute_count) {
  if (capture_ != nullptr && !capture_failure_.empty()) return failure(VERSEMI_UNSUPPORTED, "%s", capture_failure_.c_str());
  versemi_status status = ok();
  const kernel* row = choose(op, attributes, attribute_count, &status);
  if (row == nullptr) return status;
  const std::int32_t inputs = count - output_count(op, count);
  tensors_.assign(static_cast<std::size_t>(count), tensor());
  operands_.assign(static_cast<std::size_t>(count), operand());
  for (std::int32_t i = 0; i < count; i++) {
    operand& each = operands_[static_cast<std::size_t>(i)];
    each.of_call = &tensors_[static_cast<std::size_t>(i)];
    each.elements = elements[i];
    if (ids[i] == 0) continue;
    const buffer* slot = at(ids[i]);
    if (slot == nullptr) return not_live(static_cast<double>(ids[i]));
    each.number = number_of(*slot);
    each.of_call->elements = slot->elements();
    each.of_call->data = slot->memory == nullptr ? nullptr : slot->memory->data;
    if (i < inputs) each.of_call->format = slot->format;
  }
  if (row->plan != nullptr) {
    row->plan(*this, tensors_.data(), count, attributes, attribute_count);
  } else {
    for (tensor& each : tensors_) each.format = storage::float32;
  }
  for (std::int32_t i = 0; i < count && status.code == VERSEMI_OK; i++) {
    operand& each = operands_[static_cast<std::size_t>(i)];
    if (each.number >= 0 && each.of_call->elements > 0) status = prepare(each, i >= inputs);
  }
  scratch_refused_ = 0;
  if (status.code == VERSEMI_OK) status = row->run(*this, tensors_.data(), count, attributes, attribute_count);
  if (status.code == VERSEMI_OUT_OF_MEMORY && scratch_refused_ > 0) status = no_memory(scratch_refused_);
  for (std::int32_t i = 0; i < count; i++) {
    operand& each = operands_[static_cast<std::size_t>(i)];
    if (each.converted == nullptr) continue;
    // The elements that the op writes; what stands behind them stays.
    if (i >= inputs && status.code == VERSEMI_OK)
      status = convert(*this, each.of_call->data, each.of_call->format,
                       buffers_[static_cast<std::size_t>(each.number)].memory->data, each.elements);
    pool_.give(each.converted);
  }
  if (settings_.blocking && capture_ == nullptr && status.code == VERSEMI_OK)
    status = check(cudaStreamSynchronize(stream_), row->name);
  return status;
}

}  // namespace cuda
}  // namespace versemi
